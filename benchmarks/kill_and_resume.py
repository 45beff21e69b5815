"""`kill -9` of `voltloop run` at random moments, each followed by `voltloop resume`: nothing runs twice, nothing is lost.

    python benchmarks/kill_and_resume.py [--kills 10] [--trials 12] [--channels 4] [--seed 0] [--spec SPEC.toml]

A campaign is killed at moments drawn from the seed until it has ended by itself, then looked at; campaigns follow until as many
kills have struck as asked. What is counted is read from the cycler's own file (physical starts by key) and from the lab's store.
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


def tortured(options: argparse.Namespace, seed: int, moments: random.Random, kills: int) -> dict[str, object]:
    """One campaign, killed at most so often, then resumed to its end: what was counted, and its faults."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder) / "lab"
        size = ["--trials", str(options.trials), "--channels", str(options.channels), "--seed", str(seed)]
        first = ["run", str(options.spec)] if options.spec else ["demo", *size]
        name, done = None, 0
        while done < kills:
            command = ["resume", name] if name else first
            wait = moments.uniform(options.shortest, options.longest)
            if not killed_after([*command, "--lab", str(lab)], wait):
                break
            done += 1
            name = name or registered(lab)
        name = name or registered(lab)
        command = [*VOLTLOOP, *(["resume", name] if name else first), "--lab", str(lab), "--json"]
        final = subprocess.run(command, capture_output=True, text=True, check=False)
        if final.returncode:
            return {
                "kills": done,
                "trials": 0,
                "completed": 0,
                "faults": [f"resume ended with {final.returncode}: {final.stderr}"],
            }
        result = json.loads(final.stdout.splitlines()[-1])
        completed = sum(t["status"] == "completed" for t in result["trials"])
        faults = faults_of(lab, result["campaign"])
        return {"kills": done, "trials": len(result["trials"]), "completed": completed, "faults": faults}


def main() -> int:
    """Kill, resume, and count, campaign after campaign until so many kills have struck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", type=float, default=1.0, help="least seconds before a kill")
    parser.add_argument("--longest", type=float, default=12.0, help="most seconds before a kill")
    parser.add_argument("--spec", type=Path, default=None, help="a spec to run instead of the demo")
    options = parser.parse_args()
    moments, rows, kills = random.Random(options.seed), [], 0
    while kills < options.kills and len(rows) < 3 * options.kills:
        row = tortured(options, options.seed + len(rows), moments, options.kills - kills)
        kills += int(str(row["kills"]))
        rows.append({"campaign": len(rows) + 1, **row})
    show([{**row, "faults": len(row["faults"])} for row in rows], "kill -9 and resume")  # type: ignore[arg-type]
    for row in rows:
        for fault in row["faults"]:  # type: ignore[attr-defined]
            print(f"campaign {row['campaign']}: {fault}")
    print(f"{kills} kills of {options.kills} asked")
    return int(kills < options.kills or any(row["faults"] for row in rows))


def registered(lab: Path) -> str | None:
    """The campaign's name, once it is in the store."""
    if not (lab / "voltloop.db").exists():
        return None
    with Lab.open(lab) as opened:
        campaigns = opened.store.campaigns()
    return campaigns[-1].name if campaigns else None


if __name__ == "__main__":
    sys.exit(main())
