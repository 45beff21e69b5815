"""The house's laws: import directions, one door per heavy dependency, cheap imports, file sizes and names."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "adapters", "flows")
HEAVY = ("torch", "ax", "prefect", "pymatgen", "pybamm")

# One planted import per contract: where, and what. Each must turn exactly that law red.
PLANTED = {
    "Flows on top; adapters never reach up": ("adapters/replay.py", "import flows.lab"),
    "Rooms of the orchestrator, in the order a trial walks through them": (
        "orchestrator/features/cycles.py",
        "import orchestrator.store",
    ),
    "Adapters know only the domain (the Cycler protocol lives there)": (
        "adapters/replay.py",
        "import orchestrator.safety.limits",
    ),
    "Drivers do not know each other": ("adapters/replay.py", "import adapters.simulated"),
    "The domain is pure": ("orchestrator/domain/clock.py", "import torch"),
    "Prefect enters only through flows": ("orchestrator/safety/limits.py", "import prefect"),
    "SQLModel enters only through the store": ("flows/lab.py", "import sqlmodel"),
    "Ax enters only through its proposer": ("flows/lab.py", "import ax"),
    "pymatgen enters only through the representation": ("flows/lab.py", "import pymatgen"),
    "PyBaMM enters only through the simulated cycler": ("flows/lab.py", "import pybamm"),
    "Formats know only the domain": ("adapters/formats/units.py", "import adapters.peers.line_file"),
    "fastnda and galvani enter only through the formats": ("adapters/replay.py", "import galvani"),
}


def contracts() -> list[dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def lint(tree: Path) -> str:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def copy_of_the_house(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_import_directions_hold():
    """Data flows one way: every contract is kept."""
    said = lint(ROOT)
    assert "0 broken" in said, said


def test_every_contract_fails_on_a_planted_violation(copy_of_the_house):
    """A guard that never fails guards nothing: each law turns red when it is broken."""
    assert set(PLANTED) == {contract["name"] for contract in contracts()}
    for place, statement in PLANTED.values():
        file = copy_of_the_house / place
        file.write_text(file.read_text() + f"\n{statement}\n")
    said = lint(copy_of_the_house)
    kept = [name for name in PLANTED if f"{name} BROKEN" not in said]
    assert not kept, said


def test_a_room_that_no_contract_knows_is_refused(copy_of_the_house):
    """A new room of the orchestrator must be given its place."""
    (copy_of_the_house / "orchestrator" / "attic.py").write_text('"""Nobody knows."""\n')
    assert "Rooms of the orchestrator, in the order a trial walks through them BROKEN" in lint(copy_of_the_house)


def test_every_driver_is_in_the_independence_contract():
    """A new driver adds itself to the law."""
    here = {path.stem for path in (ROOT / "adapters").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    drivers = {f"adapters.{name}" for name in here - {"__init__", "formats", "peers", "conformance"}}
    listed = next(set(c["modules"]) for c in contracts() if c["name"] == "Drivers do not know each other")
    assert listed == drivers


@pytest.mark.parametrize(
    "statement",
    [
        "import orchestrator",
        "from orchestrator import Campaign, CampaignSpec, SearchSpace, Candidate, Estimate, EpsilonConstraint",
        "from typer.testing import CliRunner; from flows.cli import app; assert CliRunner().invoke(app, ['--help']).stdout",
        "from adapters.simulated import SimulatedCycler; SimulatedCycler(channels=2)",
        "from adapters.replay import ReplayCycler",
        "import adapters.formats; assert not {'pyarrow', 'polars', 'fastnda', 'galvani'} & set(sys.modules)",
    ],
)
def test_importing_is_cheap(statement):
    """Drivers run on small lab PCs, and `--help` answers at once: nothing heavy is loaded."""
    check = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert said.strip().endswith("[]"), said


def test_files_stay_short_and_have_names_that_mean_something():
    """A file past 400 lines has found its second subject; `utils` is no subject at all."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    long = {str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > 400}
    nameless = [
        str(p) for p in sources if p.stem in {"util", "utils", "helpers", "helper", "common", "base", "misc", "manager", "core"}
    ]
    assert not long
    assert not nameless


def test_what_runs_together_is_what_was_measured_together():
    """The traps of FACTS: versions that must not drift apart."""
    from importlib.metadata import version

    assert version("prefect").startswith("3.8.")
    assert tuple(map(int, version("fastapi").split(".")[:2])) < (0, 151)
    assert version("torch").startswith("2.13.0")
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    drifted = {n: version(n) for n in ("botorch", "ax-platform", "pybamm", "sqlmodel") if version(n) != pinned[n]}
    assert not drifted
