"""Specs from TOML: every fault at once, each with its line."""

from pathlib import Path

import pytest

from orchestrator.domain import CampaignSpec, SpecError
from orchestrator.domain.spec_file import read_spec
from orchestrator.domain.value import from_plain, to_plain

SOUND = """\
name = "fast"
seed = 3

[space]
constraints = ["c1 >= c2"]
[[space.parameters]]
name = "c1"
type = "range"
lower = 1.0
upper = 6.0
unit = "C"
[[space.parameters]]
name = "c2"
type = "range"
lower = 1.0
upper = 6.0

[[objectives]]
metric = "cycle_life"
goal = "maximize"
[[constraints]]
metric = "temperature_max_degC"
upper = 40.0
safe = true
[[safe_seed]]
c1 = 1.0
c2 = 1.0

[[cyclers]]
name = "sim"
kind = "simulated"
channels = 8
"""


def faults_of(tmp_path: Path, text: str) -> dict[int | None, str]:
    file = tmp_path / "spec.toml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    return {fault.line: str(fault) for fault in caught.value.faults}


def test_a_sound_spec_is_read_and_travels_as_json(tmp_path):
    """What the file says is in the spec, and the spec survives the store."""
    file = tmp_path / "spec.toml"
    file.write_text(SOUND)
    spec = read_spec(file)
    assert (spec.name, spec.seed, spec.space.names) == ("fast", 3, ("c1", "c2"))
    assert spec.cyclers[0].options == {"channels": 8}
    assert spec.safe_candidates[0].parameters == {"c1": 1.0, "c2": 1.0}
    assert from_plain(CampaignSpec, to_plain(spec)) == spec


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('constraints = ["c1 >= c2"]', 'constraints = ["c1 >= c7"]', 5, "unknown parameter 'c7'"),
        (
            "lower = 1.0\nupper = 6.0\nunit",
            "lower = 8.0\nupper = 6.0\nunit",
            6,
            "lower must be below upper (got lower = 8, upper = 6)",
        ),
        ('constraints = ["c1 >= c2"]', 'constraints = ["c1 >= c2", "c2 >= c1 + 1"]', 5, "no point inside the bounds"),
        ("[[safe_seed]]\nc1 = 1.0\nc2 = 1.0\n", "", None, "safe_seed: is missing, but the constraint on temperature_max_degC"),
        ("c1 = 1.0\nc2 = 1.0", "c1 = 1.0\nc2 = 3.0", 25, "constraint 'c1 >= c2' does not hold"),
        ('goal = "maximize"', 'goal = "maximise"', 20, "must be 'minimize' or 'maximize' (got 'maximise')"),
        ("seed = 3", "sed = 3", 2, "sed: is not a section of a spec"),
        (
            'type = "range"\nlower = 1.0\nupper = 6.0\n\n',
            'type = "rnge"\n\n',
            12,
            "type must be range, integer, choice, derived or context",
        ),
        ('name = "fast"', 'name = "../fast"', 1, "is not a usable name"),
    ],
)
def test_each_fault_has_its_line_and_remedy(tmp_path, old, new, line, message):
    """A fault names the field, what was given and the line it stands in."""
    assert old in SOUND
    found = faults_of(tmp_path, SOUND.replace(old, new))
    assert list(found) == [line]
    assert message in found[line]


def test_faults_of_all_sections_come_together(tmp_path):
    """Nobody has to run `check` once per mistake."""
    text = (
        SOUND.replace("upper = 40.0\n", "")
        .replace("seed = 3", "seed = -3")
        .replace('"maximize"', '"max"')
        .replace("lower = 1.0", "lower = 9.0")
    )
    assert set(faults_of(tmp_path, text)) == {2, 6, 12, 20, 21}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"name = ", "not valid TOML"), (b"\xff\xfe\x00", "not text in UTF-8"), (b"", "name: is missing")],
)
def test_what_is_no_spec_is_said_to_be_none(tmp_path, content, message):
    """Broken files get one message, not a traceback."""
    file = tmp_path / "spec.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        read_spec(file)


def test_a_missing_file_is_named(tmp_path):
    """The message names the file and the way to make one."""
    with pytest.raises(SpecError, match=r"no spec file '.*nope.toml'. `voltloop init NAME`"):
        read_spec(tmp_path / "nope.toml")


def test_tables_are_found_beside_the_spec(tmp_path):
    """A table's path is relative to the spec; its other numbers stay out of the candidates."""
    (tmp_path / "rows.csv").write_text("id,x,result\na,1,5\nb,2,6\n")
    file = tmp_path / "spec.toml"
    objective = '[[objectives]]\nmetric = "result"\ngoal = "maximize"\n'
    file.write_text(f'name = "t"\n[space]\ntable = "rows.csv"\nfeatures = ["x"]\n{objective}')
    assert [read_spec(file).space.candidate(i).parameters for i in (0, 1)] == [{"x": 1}, {"x": 2}]
    file.write_text(f'name = "t"\n[space]\ntable = "rows.csv"\nfeatures = ["y"]\n{objective}')
    with pytest.raises(SpecError, match=r"'y' is not a column. Columns: id, result, x"):
        read_spec(file)
