"""`kill -9` of `voltloop run` at random moments, each followed by `voltloop resume`: nothing runs twice, nothing is lost.

    python benchmarks/kill_and_resume.py [--kills 10] [--trials 12] [--channels 4] [--seed 0] [--spec SPEC.toml]

One campaign is killed as often as asked, each time at a moment drawn from the seed, and then resumed to its end. What is
counted is read from the cycler's own file (physical starts by key) and from the lab's store.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import show
from flows import Lab
from orchestrator.domain.trial import TrialStatus

VOLTLOOP = [sys.executable, "-m", "flows"]


def killed_after(command: list[str], seconds: float) -> bool:
    """Run a command and kill its whole process with SIGKILL after a while; False if it ended before."""
    process = subprocess.Popen([*VOLTLOOP, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def faults_of(lab_folder: Path, name: str) -> list[str]:
    """What is wrong with a campaign that ended; empty if nothing is."""
    faults = []
    with Lab.open(lab_folder, create=False) as lab:
        campaign, trials = lab.store.campaign(name), lab.store.trials(name)
        if campaign.status != "completed":
            faults.append(f"the campaign is {campaign.status}: {campaign.status_reason}")
        starts: Counter[str] = Counter()
        for cycler in lab.cyclers_for(campaign.spec).values():
            starts.update(cycler.physical_starts())
        faults += [f"the key {key} was started {count} times" for key, count in starts.items() if count > 1]
        by_trial = Counter(key.rsplit("/", 1)[0] for key in starts)
        faults += [f"trial {trial} ran {count} times" for trial, count in by_trial.items() if count > 1]
        for trial in trials:
            if trial.status is not TrialStatus.COMPLETED or not trial.measured:
                faults.append(f"trial {trial.number} is {trial.status} without a result: {trial.stopped_because}")
            recording = lab.store.recording_of(name, trial.number)
            if recording is not None:
                lab.archive.read(recording)
        faults += [f"channel {c.cycler}/{c.name} is {c.state}" for c in lab.store.channels() if c.state != "free"]
        if len(trials) != campaign.spec.budget.trials:
            faults.append(f"{len(trials)} trials of {campaign.spec.budget.trials}")
    return faults


def main() -> int:
    """Kill, resume, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", type=float, default=1.0, help="least seconds before a kill")
    parser.add_argument("--longest", type=float, default=20.0, help="most seconds before a kill")
    parser.add_argument("--spec", type=Path, default=None, help="a spec to run instead of the demo")
    options = parser.parse_args()
    moments, done = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder) / "lab"
        size = ["--trials", str(options.trials), "--channels", str(options.channels), "--seed", str(options.seed)]
        first = ["run", str(options.spec)] if options.spec else ["demo", *size]
        name = None
        for _ in range(options.kills):
            wait = moments.uniform(options.shortest, options.longest)
            command = ["resume", name] if name else first
            done += killed_after([*command, "--lab", str(lab)], wait)
            name = name or registered(lab)
        final = subprocess.run(
            [*VOLTLOOP, *(["resume", name] if name else first), "--lab", str(lab), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        if final.returncode:
            print(final.stderr)
            return 1
        result = json.loads(final.stdout.splitlines()[-1])
        faults = faults_of(lab, result["campaign"])
    show([{"kills": done, "trials": len(result["trials"]), "completed": sum(t["status"] == "completed" for t in result["trials"]),
           "faults": len(faults)}], "kill -9 and resume")  # fmt: skip
    for fault in faults:
        print(f"fault: {fault}")
    return int(bool(faults))


def registered(lab: Path) -> str | None:
    """The campaign's name, once it is in the store."""
    if not (lab / "voltloop.db").exists():
        return None
    with Lab.open(lab) as opened:
        campaigns = opened.store.campaigns()
    return campaigns[-1].name if campaigns else None


if __name__ == "__main__":
    sys.exit(main())
