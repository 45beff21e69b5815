"""Everything that can be known wrong about a spec before anything is written or started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flows.cyclers import cycler_faults
from flows.lab import Lab
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.cycler import Cycler
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.spec_file import Check, read_spec
from orchestrator.features.metrics import known_metrics
from orchestrator.representation.requests import representation_faults
from orchestrator.safety.limits import capability_faults


def check_file(path: Path) -> CampaignSpec:
    """Read a spec and check it against everything installed: templates, metrics, cyclers and their limits.

    Raises:
        SpecError: with every fault, each with its line.
    """
    return read_spec(path, further=[_installed_faults])


def amendment_checks(lab: Lab, standing: CampaignSpec) -> list[Check]:
    """What an amended spec is checked for: what a new one is, by the lab's cyclers, none of which may lose a channel."""

    def installed(sections: Mapping[str, Any]) -> list[Fault]:
        cyclers, faults = lab.would_run_on(sections.get("cyclers", ()))
        return _faults_with(sections, cyclers, faults)

    def channels(sections: Mapping[str, Any]) -> list[Fault]:
        had = {c.capabilities.name: c.capabilities.channels for c in lab.would_run_on(standing.cyclers)[0]}
        has = {c.capabilities.name: c.capabilities.channels for c in lab.would_run_on(sections.get("cyclers", ()))[0]}
        lost = {name: [c for c in had[name] if c not in has[name]] for name in had.keys() & has.keys()}
        return [
            Fault(
                f"cyclers[{[c.name for c in sections['cyclers']].index(name)}]",
                f"'{name}' would lose {', '.join(gone)}, and tests there could not be followed.",
                f"Keep new tests off with `voltloop channels quarantine {name}/CHANNEL`.",
            )
            for name, gone in sorted(lost.items())
            if gone
        ]

    return [installed, channels]


def check_spec(spec: CampaignSpec, cyclers: Iterable[Cycler]) -> None:
    """Check a spec made in Python against the cyclers it is to run on.

    Raises:
        SpecError: with every fault.
    """
    cyclers = list(cyclers)
    faults = _metric_faults(vars(spec), cyclers) + representation_faults(spec) + _limit_faults(spec, cyclers)
    if faults:
        raise SpecError(faults)


def advice(spec: CampaignSpec) -> list[str]:
    """What a scientist should know of a sound spec before it runs."""
    notes = []
    if spec.prognosis.stopping != "never" or spec.prognosis.predict_at_cycles:
        notes.append("early prediction and stopping are not part of this version: every test runs to its end.")
    missing = [o.metric for o in spec.objectives if o.threshold is None]
    if missing and len(spec.objectives) > 1:
        notes.append(
            f"no threshold for {', '.join(missing)}: the reference point is inferred from the first results, then fixed."
        )
    if spec.experiment.cell.synthetic:
        notes.append(f"the cell '{spec.experiment.cell.name}' is synthetic: results say nothing about real cells.")
    return notes


def _installed_faults(sections: Mapping[str, Any]) -> list[Fault]:
    return _faults_with(sections, *cycler_faults(sections.get("cyclers", ())))


def _faults_with(sections: Mapping[str, Any], cyclers: list[Cycler], faults: list[Fault]) -> list[Fault]:
    """The faults of sections against cyclers, after those of the cyclers themselves."""
    faults = faults + _metric_faults(sections, cyclers)
    try:
        spec = CampaignSpec(**sections)
    except (SpecError, TypeError):
        return faults
    return faults + representation_faults(spec) + _limit_faults(spec, cyclers)


def _metric_faults(sections: Mapping[str, Any], cyclers: Iterable[Cycler]) -> list[Fault]:
    """Metrics that nothing produces: no cycler reports them, or no cycler gives the time series they are computed from."""
    offers = [cycler.capabilities for cycler in cyclers]
    computed = set(known_metrics()) if not offers or any(offer.records for offer in offers) else set()
    produced = computed.union(*(offer.metrics for offer in offers))
    remedy = f"Known: {', '.join(sorted(produced))}; others through entry points of voltloop.metrics."
    return [
        Fault(f"{section}[{i}].metric", f"nothing produces the metric '{item.metric}'.", remedy)
        for section in ("objectives", "constraints")
        for i, item in enumerate(sections.get(section) or ())
        if item.metric not in produced
    ]


def _limit_faults(spec: CampaignSpec, cyclers: Iterable[Cycler]) -> list[Fault]:
    return [fault for cycler in cyclers for fault in capability_faults(spec, cycler.capabilities)]
