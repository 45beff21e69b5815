"""What of the public datasets is no table: discharge curves on a voltage grid, time series, impedance spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import Recording
from orchestrator.store.datasets_tables import Paths, Tables

if TYPE_CHECKING:
    from orchestrator.features.impedance import Spectrum

Array = NDArray[np.float64]
SPLITS = ("train", "test1", "test2")


@dataclass(frozen=True)
class DischargeCurves:
    """Discharge capacity over voltage of cells that were cycled alike; nothing is smoothed or left out.

    Attributes:
        cell_ids: k names.
        voltage_V: falling, (v,).
        cycle_count: (c,).
        discharge_capacity_Ah: (k, c, v).
        quality_flags: (k, c), sums of `QualityFlag`s; 0 where nothing is wrong with a curve.
        fine_voltage_V: falling, (w,).
        fine_cycle_count: which cycles there are on the fine grid, (2,).
        fine_discharge_capacity_Ah: (k, 2, w).
    """

    cell_ids: tuple[str, ...]
    voltage_V: Array
    cycle_count: NDArray[np.int64]
    discharge_capacity_Ah: Array
    quality_flags: NDArray[np.int64]
    fine_voltage_V: Array
    fine_cycle_count: NDArray[np.int64]
    fine_discharge_capacity_Ah: Array

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which curves no flag speaks against, (k, c)."""
        return np.asarray(self.quality_flags == QualityFlag.NONE)


def severson_curves(paths: Paths) -> dict[str, DischargeCurves]:
    """Severson's curves by split; the impossible ones are flagged."""
    anomalous = pl.read_csv(paths["severson_qv_anomalous_cycles.csv"])
    flagged = set(anomalous.select("cell_id", "cycle").iter_rows())
    with np.load(paths["severson_qv.npz"]) as file:
        return {split: _split(file, split, flagged) for split in SPLITS}


def _split(file: Mapping[str, NDArray[Any]], split: str, flagged: set[tuple[Any, ...]]) -> DischargeCurves:
    curves = file[f"{split}_Q"].astype(np.float64)
    names = _names(split, len(curves))
    cycles = file["cycles"].astype(np.int64)
    impossible = [[(name, cycle) in flagged for cycle in cycles.tolist()] for name in names]
    return DischargeCurves(
        names,
        file["V"].astype(np.float64),
        cycles,
        curves,
        np.where(impossible, int(QualityFlag.IMPOSSIBLE_CAPACITY), int(QualityFlag.NONE)),
        file["V_full"].astype(np.float64),
        np.array([10, 100]),
        file[f"{split}_Q10_Q100"].astype(np.float64),
    )


def _names(split: str, cells: int) -> tuple[str, ...]:
    return tuple(f"{split}_{number:02d}" for number in range(1, cells + 1))


def severson_tables(paths: Paths) -> Tables:
    """Cells with their cycle lives (null in test2), and the curves that are impossible."""
    lives: list[dict[str, Any]] = []
    with np.load(paths["severson_qv.npz"]) as file:
        for split in SPLITS:
            cells = len(file[f"{split}_Q"])
            life = file[f"{split}_life"].tolist() if f"{split}_life" in file else [None] * cells
            named = zip(_names(split, cells), life, strict=True)
            lives += [{"cell_id": name, "split": split, "cycle_life": each} for name, each in named]
    renaming = {"cycle": "cycle_count", "Qmax_Ah": "discharge_capacity_max_Ah", "Qmin_Ah": "discharge_capacity_min_Ah"}
    anomalous = pl.read_csv(paths["severson_qv_anomalous_cycles.csv"]).rename({**renaming, "n_bad_points": "bad_points"})
    return {"cells": pl.DataFrame(lives), "anomalous_cycles": anomalous}


_A123 = {
    "Test_Time": "test_time_second",
    "Voltage": "voltage_volt",
    "Current": "current_ampere",
    "Step_Index": "step_index",
    "Temperature": "surface_temperature_celsius",
    "Charge_Capacity": "charging_capacity_ah",
    "Discharge_Capacity": "discharging_capacity_ah",
}


def a123_recording(paths: Paths) -> dict[str, Recording]:
    """The titration as the cycler wrote it, row by row."""
    kinds = {own: pl.Int64 if own == "Step_Index" else pl.Float64 for own in _A123}
    table = pl.read_csv(paths["a123_gitt.csv.gz"], columns=list(_A123), schema_overrides=kinds)
    columns = {name: table[own].fill_null(float("nan")).to_numpy() for own, name in _A123.items() if own != "Step_Index"}
    return {"a123": Recording({**columns, "step_index": table["Step_Index"].to_numpy()}, nominal_capacity_Ah=1.1, key="a123")}


_LGM50 = {
    "ProgTime": "test_time_second",
    "Voltage": "voltage_volt",
    "Current": "current_ampere",
    "Cycle": "cycle_count",
    "Step": "step_index",
    "LogTemp001": "surface_temperature_celsius",
}


def lgm50_recordings(paths: Paths) -> dict[str, Recording]:
    """The pulses, `T25/SoC5/Cell1` and so on."""
    return {key: _pulse(key, series) for key, series in _pulses(paths["lgm50_pulse.mat"])}


def _pulse(key: str, series: Mapping[str, NDArray[Any]]) -> Recording:
    kinds = {own: np.int64 if own in ("Cycle", "Step") else np.float64 for own in _LGM50}
    columns = {name: np.asarray(series[own]).astype(kinds[own]) for own, name in _LGM50.items()}
    return Recording(columns, nominal_capacity_Ah=5.0, key=key)


def _pulses(path: Path) -> list[tuple[str, Mapping[str, NDArray[Any]]]]:
    from scipy.io import loadmat

    read = loadmat(path, simplify_cells=True)["LGM50_5Ah_Pulse"]
    return [
        (f"{temperature}/{charge}/{cell}", test["data"])
        for temperature, by_charge in read.items()
        for charge, by_cell in by_charge.items()
        for cell, test in by_cell.items()
    ]


def lgm50_tables(paths: Paths) -> Tables:
    """Which pulse was measured at what."""
    keys = [key for key, _ in _pulses(paths["lgm50_pulse.mat"])]
    parts = [key.split("/") for key in keys]
    rows = [
        {
            "key": key,
            "temperature_degC": float(at.removeprefix("T")),
            "state_of_charge_step": int(soc.removeprefix("SoC")),
            "cell": cell,
        }
        for key, (at, soc, cell) in zip(keys, parts, strict=True)
    ]
    return {"recordings": pl.DataFrame(rows)}


def denso_spectra(paths: Paths) -> dict[int, Spectrum]:
    """Impedance spectra by row number, frequencies falling."""
    from orchestrator.features.impedance import Spectrum

    table = pl.read_csv(paths["eis_denso.csv.gz"], infer_schema_length=None)
    texts = [name.removeprefix("Zreal_") for name in table.columns if name.startswith("Zreal_")]
    frequency_Hz = np.array([float(text.removesuffix("Hz")) for text in texts])
    real, imaginary = (
        table.select(f"{part}_{text}" for text in texts).to_numpy().astype(np.float64) for part in ("Zreal", "Zimag")
    )
    rows = table["row_id"].to_list()
    return {row: Spectrum(frequency_Hz, each) for row, each in zip(rows, real + 1j * imaginary, strict=True)}


TABLES: dict[str, Callable[[Paths], Tables]] = {"severson_qv": severson_tables, "lgm50_pulse": lgm50_tables}
CURVES: dict[str, Callable[[Paths], dict[str, DischargeCurves]]] = {"severson_qv": severson_curves}
RECORDINGS: dict[str, Callable[[Paths], dict[str, Recording]]] = {
    "a123_gitt": a123_recording,
    "lgm50_pulse": lgm50_recordings,
}
SPECTRA: dict[str, Callable[[Paths], dict[int, Spectrum]]] = {"eis_denso": denso_spectra}
