"""Groups of features in a spec: read, checked against the space, refused with a clear word."""

import pytest

from orchestrator import CampaignSpec, CandidateTable, Objective, SurrogateSpec
from orchestrator.domain import SpecError
from orchestrator.domain.spec_file import read_spec
from orchestrator.domain.value import from_plain, to_plain

FEATURES = ("formula", "sinter_degC", "time_h")
ROWS = [("LiCoO2", 700.0, 5.0), ("LiNiO2", 800.0, 9.0)]
TABLE = CandidateTable([dict(zip(FEATURES, row, strict=True)) for row in ROWS], FEATURES)
SPEC = """
name = "groups"
[space]
parameters = [{name = "x", type = "range", lower = 0, upper = 1}, {name = "z", type = "range", lower = 0, upper = 1}]
[[objectives]]
metric = "m"
goal = "maximize"
[surrogate]
"""


def of(groups):
    return CampaignSpec("groups", TABLE, (Objective("m", "maximize"),), surrogate=SurrogateSpec(groups=groups))


def test_groups_are_kept():
    """They survive the way through JSON, and none is the default."""
    spec = of({"composition": ["formula"], "process": ["sinter_degC", "time_h"]})
    assert spec.surrogate.groups == {"composition": ("formula",), "process": ("sinter_degC", "time_h")}
    assert from_plain(CampaignSpec, to_plain(spec)) == spec
    assert CampaignSpec("groups", TABLE, (Objective("m", "maximize"),)).surrogate.groups == {}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"a": ["colour"]}, "names 'colour', which is not learned from. Known: formula, sinter_degC, time_h."),
        ({"a": ["formula"], "b": ["formula"]}, "name 'formula' 2 times."),
        ({"a": []}, "is empty."),
        ({"other": ["formula"]}, "is a name that the report uses itself."),
        ({"together": ["formula"]}, "is a name that the report uses itself."),
        ({" ": ["formula"]}, "has a group without a name."),
        ({"a": "formula"}, "a"),
    ],
)
def test_wrong_groups_are_refused(groups, words):
    """Each fault says what is wrong, and an unknown name what there is."""
    with pytest.raises(SpecError) as refused:
        of(groups)
    assert words in str(refused.value)


def test_groups_are_read_from_a_file(tmp_path):
    """As `groups = { ... }` below `[surrogate]`; an unknown name is told with its line."""
    path = tmp_path / "spec.toml"
    path.write_text(SPEC + 'groups = { first = ["x"] }\n')
    assert read_spec(path).surrogate.groups == {"first": ("x",)}
    path.write_text(SPEC + 'groups = { first = ["y"] }\n')
    with pytest.raises(SpecError, match=r"line 9.*first.*'y'.*Known: x, z"):
        read_spec(path)
