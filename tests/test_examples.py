"""What the documents and examples show runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.spec_check import check_file
from orchestrator.domain.spec_file import read_spec

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = [
    pytest.param(block, id=f"{document.name}-{i}")
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL))
]


def run(source: list[str], tmp_path: Path) -> str:
    done = subprocess.run([sys.executable, *source], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS)
def test_python_in_the_documents_runs(block, tmp_path):
    """A reader may copy any block."""
    run(["-c", block], tmp_path)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(example, tmp_path):
    """Every script in `examples/` ends well and says something."""
    assert run([str(example)], tmp_path).strip()


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_example_specs_have_no_fault(example, public_data):
    """Every spec in `examples/` passes `voltloop check`."""
    assert check_file(example).name


@pytest.mark.parametrize(
    ("example", "template"), [("fast_charge", "fast-charge"), ("attia_replay", "replay"), ("cathodes", "materials")]
)
def test_examples_and_templates_are_the_same(example, template, public_data):
    """What `voltloop init` writes is what the examples show."""
    shipped = ROOT / "flows" / "templates" / f"{template}.toml"
    assert (ROOT / "examples" / f"{example}.toml").read_text() == shipped.read_text()
    assert read_spec(shipped).name


def test_every_module_is_in_the_architecture(tmp_path):
    """ARCHITECTURE.md is true to the tree: it names every module, and no module that is not there."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    modules = {
        str(path.relative_to(ROOT)).removesuffix(".py")
        for package in ("orchestrator", "adapters", "flows")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and "migrations" not in path.parts
    }
    named = set(re.findall(r"^\| `((?:orchestrator|adapters|flows)/[\w/]+)` \|", text, re.MULTILINE))
    assert named == modules
