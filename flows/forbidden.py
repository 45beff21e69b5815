"""What today's spec forbids of what was chosen or started under an earlier version of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flows.tick import Tick, move
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.cycler import Capabilities, Cycler
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.protocol import SafetyLimits
from orchestrator.domain.trial import WITHDRAWN, Trial, TrialStatus
from orchestrator.representation.requests import run_request
from orchestrator.safety.limits import dispatch_faults

_S = TrialStatus


def forbidden_to_start(spec: CampaignSpec, version: int, trial: Trial, cyclers: Mapping[str, Cycler]) -> str | None:
    """Why a trial that waits must not be started under a version of the spec on any of its cyclers; None if it may."""
    by_cycler = [_faults(spec, spec.safety_limits, trial, c.capabilities) for c in cyclers.values()]
    if not by_cycler or not all(by_cycler):
        return None
    return f"withdrawn: version {version} of the spec forbids it: {_in_words(min(by_cycler, key=len))}"


def forbidden_to_run(
    spec: CampaignSpec, version: int, trial: Trial, begun_under: CampaignSpec, cycler: Cycler | None
) -> str | None:
    """Why a trial that runs would not be started so under a version of the spec; None if it would.

    Args:
        spec: the version.
        version: its number.
        trial: with its candidate as of today.
        begun_under: the version under which it was begun; its test carries that version's limits.
        cycler: the one it runs on; None if the lab no longer has it.
    """
    if cycler is None:
        return None
    faults = _faults(spec, begun_under.safety_limits, trial, cycler.capabilities)
    faults += [fault for fault in _faults(spec, spec.safety_limits, trial, cycler.capabilities) if fault not in faults]
    return f"version {version} of the spec forbids it: {_in_words(faults)}" if faults else None


def withdraw_forbidden(tick: Tick) -> None:
    """Cancel what was chosen under an earlier version of the spec and is forbidden by today's."""
    for trial in tick.having(_S.PROPOSED, _S.APPROVED):
        if trial.spec_version < tick.campaign.spec_version:
            why = forbidden_to_start(tick.spec, tick.campaign.spec_version, trial, tick.bench.cyclers)
            if why:
                tick.note(move(tick, trial, _S.CANCELLED, why, WITHDRAWN))


def _faults(spec: CampaignSpec, limits: SafetyLimits, trial: Trial, cycler: Capabilities) -> list[Fault]:
    """Why today's spec forbids a trial's test that carries given limits."""
    try:
        carrying = spec if limits == spec.safety_limits else replace(spec, safety_limits=limits)
        request = run_request(carrying, trial.candidate, key=trial.key or f"{spec.name}/{trial.number}", channel="")
    except SpecError as error:
        return list(error.faults) if limits == spec.safety_limits else []
    return dispatch_faults(spec, request, cycler)


def _in_words(faults: list[Fault]) -> str:
    return "; ".join(f"{fault.where}: {fault.problem.rstrip('.')}" for fault in faults)
