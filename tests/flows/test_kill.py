"""A short honest sample of the torture: real processes killed with SIGKILL and resumed (`make torture` runs the long one)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(200)
def test_torture_sample_killed_runs_resume_without_a_second_start_or_a_lost_result(tmp_path):
    """Three kills at random moments of a replayed campaign: every key started once, every trial has its result."""
    table = tmp_path / "rows.csv"
    table.write_text("x,result,hours\n" + "".join(f"{i},{10 - (i - 17) ** 2},{5 + (i * 7) % 5}\n" for i in range(40)))
    spec = tmp_path / "killed.toml"
    spec.write_text(f"""\
name = "killed"
[space]
table = "{table}"
features = ["x"]
[[objectives]]
metric = "result"
goal = "maximize"
threshold = -500.0
[budget]
trials = 30
[[cyclers]]
name = "replay"
kind = "replay"
table = "{table}"
target = "result"
noise_sd = 1.0
duration_h = "hours"
channels = 4
""")
    script = [sys.executable, str(ROOT / "benchmarks" / "kill_and_resume.py")]
    options = ["--spec", str(spec), "--kills", "3", "--shortest", "1", "--longest", "5"]
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills of 3 asked" in done.stdout
