"""States beside an unsigned current: every spelling of discharge gives it its sign, what is unknown is refused, notes count."""

import pytest

from adapters.formats import open_cycler_file
from adapters.formats.states import state_of
from orchestrator.domain.errors import FormatError

HEADER = "Rec\tCycle P\tStep\tTest Time\tStep Time\tCapacity (Ah)\tCurrent (A)\tVoltage (V)\tMode\n"


def table(*rows: tuple[str, float]) -> str:
    return HEADER + "".join(f"{n}\t1\t1\t{n}\t{n}\t0\t{current}\t3.6\t{state}\n" for n, (state, current) in enumerate(rows))


@pytest.mark.parametrize(
    ("state", "texts"),
    [
        ("discharge", ["D", "DIS", "CC DChg", "Dischg", "DIS CC", "DCHG", "Discharge", "CC_Dchg", "CCDChg", "放电", "恒流放电"]),
        ("charge", ["C", "CC Chg", "CCCV_Chg", "Charge", "CHA", "EndChg", "充电"]),
        ("rest", ["R", "Rest", "P", "Pause", "OCV", "S", "静置"]),
        ("", ["", "X", "Cycle", "DCIR", "17"]),
    ],
)
def test_states_are_known_by_their_words(state, texts):
    """In any case and with any mode beside them."""
    assert {text: state_of(text) for text in texts} == dict.fromkeys(texts, state)


def test_every_discharge_is_negative_and_counted(written, read):
    """Whatever its spelling; what is negative already is not counted."""
    path = written(table(("CC Chg", 1), ("CC DChg", 1), ("Dischg", 1), ("DIS CC", -1), ("Rest", 0), ("?", 0)))
    assert read(path)["current_ampere"].tolist() == [1, -1, -1, -1, 0, 0]
    assert any("says CC DChg, DIS CC, Dischg (discharge): 2 rows" in note for note in open_cycler_file(path).notes)


def test_nothing_changed_is_said(written):
    """A note never claims what was not done."""
    assert any("no row says discharge" in note for note in open_cycler_file(written(table(("C", 1), ("R", 0)))).notes)


def test_unknown_states_beside_a_current_are_refused(written, read):
    """With the states that the file has, and both ways on."""
    path = written(table(("Foo", 1), ("C", 1)))
    with pytest.raises(FormatError, match=r"'Mode' has 'Foo'.*it has: 'C', 'Foo'.*Mode=ignore.*-current_ampere"):
        open_cycler_file(path)
    assert read(path, columns={"Mode": "ignore"})["current_ampere"].tolist() == [1, 1]
    assert read(path, columns={"Current (A)": "-current_ampere"})["current_ampere"].tolist() == [-1, -1]
