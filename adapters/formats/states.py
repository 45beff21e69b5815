"""What a column of states says of each row: charge, discharge or rest, and with it the sign of a current written without one.

Words are compared one at a time and whole: `CC DChg`, `Dischg` and `DIS CC` say discharge, `EndChg` says charge.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.formats.cycler_file import unreadable
from adapters.formats.text_table import TextTable
from orchestrator.domain.errors import FormatError

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]*[a-z]+")
_MODES = r"(?:c[cvpr]|cccv)*"
_DISCHARGE = re.compile(rf"{_MODES}(?:d|dis|(?:dis|d)ch(?:a?r?g?(?:e|ed|ing)?)?|entlad\w*)")
_CHARGE = re.compile(rf"{_MODES}(?:c|ch(?:a?r?g?(?:e|ed|ing)?)?|(?:auf)?lad\w*)")
_REST = re.compile(r"r|rest(?:ing)?|ocv|idle|p|paused?|s|suspend(?:ed)?|stop(?:ped)?|ruhe|pau")
_SIGNS = (("discharge", ("放电", "放電")), ("charge", ("充电", "充電")), ("rest", ("静置", "搁置", "擱置", "休止", "暂停")))
_SHOWN = 8


def state_of(text: str) -> str:
    """`discharge`, `charge` or `rest` (pauses too); empty where the text says none of them. Discharge goes first."""
    if known := next((state for state, signs in _SIGNS if any(sign in text for sign in signs)), ""):
        return known
    words = [word.lower() for word in _WORD.findall(text)]
    kinds = (("discharge", _DISCHARGE), ("charge", _CHARGE), ("rest", _REST))
    return next((state for state, pattern in kinds if any(map(pattern.fullmatch, words))), "")


def discharging(states: Any) -> NDArray[np.bool_]:
    """Which rows' states say discharge, shape (n,)."""
    texts = _texts(states)
    return np.asarray(texts.is_in([value for value in texts.unique().to_list() if state_of(value) == "discharge"]).to_numpy())


def sign_note(table: TextTable, states: int, current: int) -> str:
    """What the states of a whole file do to its current: one pass over both columns.

    Args:
        table: the file's rows.
        states: the place of the column of states.
        current: the place of the current.

    Raises:
        FormatError: if a state with a current other than zero is no charge, discharge, rest or pause.
    """
    seen: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    unknown: set[str] = set()
    with suppress(FormatError):  # what is damaged is named by the reading, after the rows before it
        for _, piece in table.pieces([current], [states]):
            texts, values = _texts(piece[states]), piece[current].to_numpy(zero_copy_only=False)
            for value in texts.unique().to_list():
                here = values[texts.eq(value).to_numpy()]
                seen[value] += len(here)
                if state_of(value) == "discharge":
                    changed[value] += int((here > 0).sum())
                elif not state_of(value) and bool((here > 0).any() or (here < 0).any()):
                    unknown.add(value)
    header = table.headers[states]
    if unknown:
        raise _unknown(table, header, unknown, seen, table.headers[current])
    return _said(header, changed)


def _texts(states: Any) -> Any:
    import polars as pl

    return pl.Series(pl.from_arrow(states)).fill_null("").str.strip_chars()


def _unknown(table: TextTable, header: str, unknown: set[str], seen: Counter[str], current: str) -> FormatError:
    def shown(values: Any) -> str:
        some = [f"'{value[:40]}'" for value in sorted(values)]
        return ", ".join(some[:_SHOWN]) + (", ..." if len(some) > _SHOWN else "")

    return unreadable(
        table.head.path,
        f"column '{header}' has {shown(unknown)} beside a current, which is no charge, discharge, rest or pause known here "
        f"(it has: {shown(seen)}).",
        f'If the current has its sign already, leave the states out with `columns` (`--column "{header}=ignore"`); if it is '
        f'positive when discharging, say so (`--column "{current}=-current_ampere"`).',
    )


def _said(header: str, changed: Counter[str]) -> str:
    if not changed:
        return f"no row says discharge in '{header}': the current's sign is as in the file."
    words = ", ".join(sorted(changed)[:_SHOWN])
    if not (rows := changed.total()):
        return f"the current is nowhere positive where '{header}' says {words} (discharge): its sign is as in the file."
    return f"the current was made negative where '{header}' says {words} (discharge): {rows} rows."
