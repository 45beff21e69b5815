"""What the Prefect UI shows of a campaign: progress, trial table, front. Small, and under keys that stay the same."""

from __future__ import annotations

import base64
import re
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.lab import Lab
from flows.report import report_data
from flows.result import CampaignResult, campaign_result
from orchestrator.decision.report import front_svg
from orchestrator.domain.trial import TrialStatus


def artifact_key(campaign: str, what: str) -> str:
    """A key as Prefect wants it: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{campaign}-{what}".lower()).strip("-")


def publish(lab: Lab, campaign: str) -> list[str]:
    """Write a campaign's artifacts; returns their keys."""
    result, data = campaign_result(lab, campaign), report_data(lab, campaign)
    keys = {what: artifact_key(campaign, what) for what in ("progress", "trials", "front")}
    create_markdown_artifact(
        _progress_text(result, data.synthetic), key=keys["progress"], description=f"{campaign}: {result.status}"
    )
    create_table_artifact([_row(trial) for trial in result.trials], key=keys["trials"], description=f"{campaign}: every trial")
    picture = base64.b64encode(front_svg(data).encode()).decode()
    create_markdown_artifact(
        f"![front of {campaign}](data:image/svg+xml;base64,{picture})", key=keys["front"], description="the front"
    )
    return list(keys.values())


def _progress_text(result: Any, synthetic: bool) -> str:
    running = sum(trial.status == "running" for trial in result.trials)
    ended = len(result.hypervolume)
    volume = f"{result.hypervolume[-1]:.5g}" if result.hypervolume else "none yet"
    lines = [
        f"# {result.campaign}",
        "**Synthetic cells: these numbers say nothing about real ones.**" if synthetic else "",
        f"**{result.status}**{f': {result.status_reason}' if result.status_reason else ''}",
        f"- trials: {ended} ended with an outcome, {running} running, {len(result.trials)} in all",
        f"- hypervolume (measured): {volume}",
        f"- lab time: {result.lab_time_h:.1f} h; channels busy: {100 * result.channel_utilisation:.0f} %",
        f"- report: `{result.report}`" if result.report else "",
        _waiting_text(result),
    ]
    return "\n\n".join(line for line in lines if line)


def _waiting_text(result: CampaignResult) -> str:
    """The trials that wait for a person, with their candidates, and where to answer."""
    waiting = [trial for trial in result.trials if trial.status == TrialStatus.PROPOSED]
    if not waiting:
        return ""
    names = list(dict.fromkeys(name for trial in waiting for name in trial.candidate))
    rows = [(str(trial.number), *(_shown(trial.candidate.get(name, "")) for name in names)) for trial in waiting]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [("trial", *names), ("---",) * (len(names) + 1), *rows])
    numbers = [trial.number for trial in waiting]
    where = (
        f"Approve or reject them under Deployments > decide-trials > Run: campaign `{result.campaign}`, trials `{numbers}`; "
        f"or with `voltloop approve {result.campaign} {' '.join(map(str, numbers))}` or `voltloop reject ...`."
    )
    return f"## Waiting for approval\n\n{table}\n\n{where}"


def _shown(given: Any) -> str:
    return f"{given:.4g}" if isinstance(given, float) else str(given)


def _row(trial: Any) -> dict[str, Any]:
    outcome = {name: f"{e['mean']:.4g} ± {e['sem']:.2g} {e['unit']} ({e['source']})" for name, e in trial.outcome.items()}
    shown = {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in trial.candidate.items()}
    said = {"why it stopped": trial.stopped_because or "", "decided by": trial.decided_by or ""}
    return {"trial": trial.number, "status": trial.status, **shown, **outcome, **said}
