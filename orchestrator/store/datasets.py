"""Public datasets in this project's words: tables, recordings, spectra and curves, with a card that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from orchestrator.domain.errors import Fault, FormatError, SpecError, VoltloopError
from orchestrator.domain.recording import Recording
from orchestrator.store import datasets_series as series
from orchestrator.store import datasets_tables as tables
from orchestrator.store.datasets_catalogue import CARDS, DatasetCard
from orchestrator.store.datasets_files import DataFile, found
from orchestrator.store.datasets_series import DischargeCurves

if TYPE_CHECKING:
    from orchestrator.features.impedance import Spectrum

__all__ = ["DataFile", "Dataset", "DatasetCard", "DischargeCurves", "dataset_card", "known_datasets", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """A dataset, read. What it does not have is empty.

    Attributes:
        card: what it is, whose it is, what is wrong with it.
        paths: where its files lie, by their names in the card.
        tables: with units in the columns' names; what was not measured is null.
        recordings: time series under Battery Data Format names, rows as the cycler wrote them, missing values NaN.
        spectra: impedance spectra by the number that the table `spectra` gives them.
        curves: discharge curves on a voltage grid, by split.
    """

    card: DatasetCard
    paths: Mapping[str, Path]
    tables: Mapping[str, pl.DataFrame]
    recordings: Mapping[str, Recording]
    spectra: Mapping[int, Spectrum]
    curves: Mapping[str, DischargeCurves]


def known_datasets() -> tuple[str, ...]:
    """The names that `open_dataset` takes, in alphabetical order."""
    return tuple(sorted(CARDS))


def dataset_card(name: str) -> DatasetCard:
    """What is known of a dataset; nothing is opened.

    Raises:
        SpecError: if no dataset has that name.
    """
    if name not in CARDS:
        near = get_close_matches(name, CARDS, n=3)
        remedy = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known_datasets())}."
        raise SpecError(Fault(name, "is no dataset that is known.", remedy))
    return CARDS[name]


def open_dataset(name: str, *, cache: str | Path | None = None) -> Dataset:
    """A public dataset, from the folder that `VOLTLOOP_DATA_DIR` names (else `../shared/data` beside a checkout) or by download.

    Every file must have the content that is known: its sha256 is compared wherever it comes from. Nothing is copied into the
    project or the lab; downloads are kept in a cache folder and made once.

    Args:
        name: one of `known_datasets()`.
        cache: where downloads are kept; None: the user's cache folder (`pooch.os_cache("voltloop")`).

    Raises:
        SpecError: if there is no such dataset, or a file is in no folder and cannot be downloaded.
        FormatError: if a file's content is not what is known, or cannot be read.

    Example:
        >>> curves = open_dataset("severson_qv").curves["train"]  # doctest: +SKIP
        >>> curves.discharge_capacity_Ah[curves.sound].shape  # doctest: +SKIP
        (4056, 200)
    """
    card = dataset_card(name)
    where = Path(cache) if cache else None
    paths = {file.name: found(file, card.origin, where) for file in card.files}
    read = partial(_read, card, paths)
    return Dataset(
        card,
        paths,
        read({**tables.TABLES, **series.TABLES}),
        read(series.RECORDINGS),
        read(series.SPECTRA),
        read(series.CURVES),
    )


def _read(card: DatasetCard, paths: Mapping[str, Path], readers: Mapping[str, Any]) -> dict[Any, Any]:
    """What one kind of reader makes of a dataset; nothing if it has none of that kind."""
    if card.name not in readers:
        return {}
    try:
        found: dict[Any, Any] = readers[card.name](paths)
    except VoltloopError:
        raise
    except (ValueError, KeyError, OSError, pl.exceptions.PolarsError) as error:
        files = ", ".join(f"'{path}'" for path in paths.values())
        raise FormatError(f"{files} cannot be read as the dataset {card.name}: {error}") from error
    return found
