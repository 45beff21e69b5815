"""What may run: the last check before a cycler is asked, made again at dispatch against today's limits."""

from __future__ import annotations

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.cycler import Capabilities, RunRequest
from orchestrator.domain.errors import Fault
from orchestrator.domain.protocol import SafetyLimits


def dispatch_faults(spec: CampaignSpec, request: RunRequest, cycler: Capabilities) -> list[Fault]:
    """Why a request must not go to a cycler; empty when it may.

    Checked: the candidate lies in today's space, the protocol carries every limit the spec states at least as tightly,
    and the cycler enforces each of them itself.
    """
    faults = [Fault("candidate", f"{problem}.") for problem in spec.space.violations(request.candidate)]
    carried = request.protocol.limits
    if carried.within(spec.safety_limits) != carried:
        faults.append(Fault("protocol.limits", f"looser than today's: {_looser(carried, spec.safety_limits)}."))
    return faults + capability_faults(spec, cycler)


def _looser(carried: SafetyLimits, today: SafetyLimits) -> str:
    """The limits that a test carries less tightly than today's, in words."""
    tight = carried.within(today).named
    said = []
    for name, limit in tight.items():
        if (had := carried.named.get(name)) != limit:
            said.append(f"{name} {'not limited' if had is None else f'{had:g}'}, today's limit {limit:g}")
    return "; ".join(said)


def capability_faults(spec: CampaignSpec, cycler: Capabilities) -> list[Fault]:
    """The limits a spec states that a cycler cannot enforce itself."""
    missing = [name for name in spec.safety_limits.named if name not in cycler.limits]
    enforced = ", ".join(sorted(cycler.limits)) or "none"
    return [
        Fault(
            f"safety_limits.{name}",
            f"the cycler '{cycler.name}' cannot enforce this limit itself (it enforces: {enforced}).",
            "Choose a cycler that can, or remove the limit.",
        )
        for name in missing
    ]
