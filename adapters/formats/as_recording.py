"""A cycler's file, or an ingested one, as a recording in memory: the way from a file to features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adapters.formats.opening import open_cycler_file
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import Recording, concatenate


def open_recording(
    path: str | Path,
    nominal_capacity_Ah: float | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    time_zone: str = "UTC",
) -> Recording:
    """Read a whole file into a recording, ready for `orchestrator.features`.

    Any format of `FORMATS` is read, nothing is checked or repaired. A Parquet file that `voltloop ingest` wrote brings its
    `quality_flags`, so that features leave flagged rows out, and the nominal capacity that it was ingested with.

    Args:
        path: the file; its content says what it is.
        nominal_capacity_Ah: of the cell; goes before what an ingested file says. None where neither is known.
        columns: what columns mean where the file does not say, as `open_cycler_file` has it.
        time_zone: IANA name of the zone of dates that name none.

    Returns:
        The recording, in memory as a whole (eight bytes a value).

    Raises:
        FormatError: if the file cannot be read as what it is.
        SpecError: if the capacity is not positive, or `columns` or `time_zone` are not understood.
    """
    if nominal_capacity_Ah is not None and not _a_capacity(nominal_capacity_Ah):
        problem = f"must be a positive number of Ah (got {nominal_capacity_Ah!r})."
        raise SpecError(Fault("nominal_capacity_Ah", problem, "Leave it out where it is not known."))
    file = open_cycler_file(path, columns=columns, time_zone=time_zone)
    rows = {name: np.asarray(values) for name, values in concatenate(list(file.batches())).items()}
    if nominal_capacity_Ah is None:
        stated: Any = file.metadata.get("nominal_capacity_Ah")
        nominal_capacity_Ah = float(stated) if _a_capacity(stated) else None
    return Recording(rows, nominal_capacity_Ah=nominal_capacity_Ah)


def _a_capacity(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
