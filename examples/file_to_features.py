"""From a cycler's file to features: a file is written, read as a recording, its cycles counted and summed up."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapters.formats import open_recording, write_bdf_csv
from orchestrator.features import cycle_summary, discharge_curves, number_cycles

hours = np.arange(0, 8, 1 / 120)
charging = hours % 4 < 2
columns = {
    "test_time_second": 3600 * hours,
    "voltage_volt": np.where(charging, 3.0 + 0.6 * (hours % 2), 4.1 - 0.6 * (hours % 2)),
    "current_ampere": np.where(charging, 1e-3, -1e-3),  # a coin cell of 2 mAh
}
with tempfile.TemporaryDirectory() as folder:
    write_bdf_csv(Path(folder) / "coin.csv", [columns])
    recording = open_recording(Path(folder) / "coin.csv")  # any format, an ingested Parquet file as well
recording = replace(recording, columns={**recording.columns, "cycle_count": number_cycles(recording.columns)})
table = cycle_summary(recording)
curves_Ah = discharge_curves(recording.columns, [1, 2], np.linspace(2.9, 4.1, 5))
print(table.select("cycle_count", "discharge_capacity_Ah", "resistance_ohm"), file=sys.stdout)
print(f"discharged at 3.5 V: {1e3 * curves_Ah[:, 2].round(5)} mAh", file=sys.stdout)
