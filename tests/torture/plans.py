"""A seed's plan: the lab, its campaigns, what goes wrong and what the people do, all drawn before anything runs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from adapters.peers.injected_faults import LINE_FAULTS, FaultKind, InjectedFault, random_faults
from orchestrator.domain import Approval, Budget, CampaignSpec, Experiment, Objective, SafetyLimits, SearchSpace
from orchestrator.domain.parameters import RangeParameter

CYCLER = "bench"
METRIC = "result"
RATE = "charge_rate_C"
LOWER_C, UPPER_C = 0.5, 3.0
MAX_CURRENT_A = 3.3
FAULT_RATES = {
    FaultKind.CHANNEL_DEAD: 30.0,
    FaultKind.POWER_LOSS: 15.0,
    FaultKind.CYCLER_UNREACHABLE: 60.0,
    FaultKind.ACKNOWLEDGEMENT_LOST: 90.0,
    FaultKind.ACKNOWLEDGEMENT_LATE: 60.0,
    FaultKind.RESULT_TWICE: 250.0,
    FaultKind.CLOCK_JUMP: 15.0,
}
_DOWN, _LOST = FaultKind.CYCLER_UNREACHABLE, FaultKind.ACKNOWLEDGEMENT_LOST
POINTS = 200  # crash and stall points that the systematic seeds go through
_STRIDE = 37  # without a common factor with POINTS: a few seeds sample all of it, a thousand enumerate it


@dataclass(frozen=True)
class Deed:
    """Something a person does when its time has come.

    Attributes:
        kind: `stop_trial`, `stop_campaign`, `tighten_bounds`, `tighten_limits`, `relax`, `quarantine`.
        size: a number in 0..1 that says which one, or how far.
    """

    at_h: float
    kind: str
    campaign: str
    size: float


@dataclass(frozen=True)
class Plan:
    """Everything about a seed but the scheduler's own throws.

    Attributes:
        family: `random`, or `crash_at` / `stall_at` for the systematic seeds, whose point of crash or stall is `point`.
        horizon_h: no fault, crash or stall after this lab time.
        backlog: approved trials that wait in each campaign from the start.
        hosts: the host of each process; processes of one host know of each other's death.
        searchable, revocable: what the cycler can do.
        careful: whether the cycler itself refuses a busy channel; a careless one starts there all the same.
        records: whether it gives rows beside its results.
        duration_h: of tests, shortest and longest.
    """

    seed: int
    family: str
    point: int | None
    horizon_h: float
    channels: tuple[str, ...]
    specs: tuple[CampaignSpec, ...]
    backlog: int
    hosts: tuple[str, ...]
    persons: int
    searchable: bool
    revocable: bool
    careful: bool
    records: bool
    duration_h: tuple[float, float]
    crash: float
    stall: float
    switch: float
    refusal: float
    skew_s: dict[str, float] = field(default_factory=dict)
    faults: tuple[InjectedFault, ...] = ()
    deeds: tuple[Deed, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The campaigns' names."""
        return tuple(spec.name for spec in self.specs)

    @property
    def line_faults(self) -> tuple[InjectedFault, ...]:
        """What strikes the line between driver and device."""
        return tuple(fault for fault in self.faults if fault.kind in LINE_FAULTS)


def plan_of(seed: int) -> Plan:
    """The plan of a seed: of five seeds three are random, one crashes at one point, one stalls at one point."""
    dice = random.Random(f"{seed}/plan")
    turn, kind = divmod(seed, 5)
    if kind >= 3:
        return _systematic(seed, ("crash_at", "stall_at")[kind - 3], (turn * _STRIDE) % POINTS, dice)
    return _random(seed, dice)


def _random(seed: int, dice: random.Random) -> Plan:
    channels = tuple(str(n + 1) for n in range(dice.randint(2, 4)))
    names = ("one", "two") if dice.random() < 0.3 else ("one",)
    horizon_h = dice.uniform(3.0, 7.0)
    hosts = tuple(dice.choice(("alpha", "beta")) for _ in range(dice.choice((2, 2, 3))))
    hard = dice.random()
    plan = Plan(
        seed=seed,
        family="random",
        point=None,
        horizon_h=horizon_h,
        channels=channels,
        specs=tuple(_spec(name, dice, most=6 // len(names)) for name in names),
        backlog=dice.choice((0, 0, 2, 3)),
        hosts=hosts,
        persons=dice.choice((1, 2)),
        searchable=dice.random() < 0.55,
        revocable=dice.random() < 0.7,
        careful=dice.random() < 0.5,
        records=dice.random() < 0.35,
        duration_h=(0.3, 1.2),
        crash=hard * 0.012,
        stall=dice.random() * 0.008,
        switch=dice.uniform(0.05, 0.4),
        refusal=dice.choice((0.0, 0.0, 0.005)),
        skew_s={host: dice.uniform(-200.0, 200.0) for host in ("alpha", "beta")},
        faults=_faults(seed, channels, horizon_h, dice.random()),
        deeds=_deeds(names, horizon_h, dice),
    )
    return _harsh(plan, dice) if dice.random() < 0.25 else plan


def _harsh(plan: Plan, dice: random.Random) -> Plan:
    """A cycler that cannot be searched, long stalls, a line that is down half the time, and limits tightened again and again."""
    outages = [InjectedFault(_DOWN, 0.1 + 1.5 * n + dice.uniform(0.0, 1.0), None, dice.uniform(0.1, 0.5)) for n in range(5)]
    lost = [InjectedFault(_LOST, dice.uniform(0.0, 8.0), None, 1.0) for _ in range(24)]
    tightened = [
        Deed(dice.uniform(0.1, 6.0), "tighten_bounds", dice.choice(plan.names), dice.uniform(0.5, 1.0)) for _ in range(2)
    ]
    return replace(
        plan,
        searchable=False,
        revocable=dice.random() < 0.85,
        persons=2,
        crash=0.006,
        stall=0.010,
        backlog=3,
        horizon_h=8.5,
        faults=tuple(sorted(outages + lost, key=lambda fault: fault.at_h)),
        deeds=tuple(sorted(tightened, key=lambda deed: deed.at_h)),
    )


def _systematic(seed: int, family: str, point: int, dice: random.Random) -> Plan:
    """A small quiet campaign, one of whose processes is killed or stalled at one point of its run."""
    return Plan(
        seed=seed,
        family=family,
        point=point,
        horizon_h=6.0,
        channels=("1", "2"),
        specs=(_spec("one", dice, most=3),),
        backlog=0,
        hosts=("alpha", dice.choice(("alpha", "beta"))),
        persons=1,
        searchable=dice.random() < 0.6,
        revocable=dice.random() < 0.7,
        careful=dice.random() < 0.5,
        records=dice.random() < 0.25,
        duration_h=(0.3, 0.8),
        crash=0.0,
        stall=0.0,
        switch=0.1,
        refusal=0.0,
        faults=_faults(seed, ("1", "2"), 3.0, 0.5) if dice.random() < 0.3 else (),
        deeds=_deeds(("one",), 1.5, dice) if dice.random() < 0.5 else (),
    )


def _spec(name: str, dice: random.Random, most: int) -> CampaignSpec:
    mode = dice.choice(("none", "none", "none", "first", "every"))
    return CampaignSpec(
        name=name,
        space=SearchSpace((RangeParameter(RATE, LOWER_C, UPPER_C),)),
        objectives=(Objective(METRIC, "maximize", threshold=0.0),),
        budget=Budget(trials=dice.randint(2, most)),
        experiment=Experiment("cc_cv", "lfp_a123", max_cycles=5, checkup_every_cycles=5),
        safety_limits=SafetyLimits(max_current_A=MAX_CURRENT_A),
        approval=Approval(mode, 2),
        prefetch=dice.choice((0, 0, 3)),
    )


def _faults(seed: int, channels: tuple[str, ...], horizon_h: float, severity: float) -> tuple[InjectedFault, ...]:
    rates = {kind: 2 * severity * rate for kind, rate in FAULT_RATES.items()}
    drawn = random_faults(seed, channels, horizon_h, rates, duration_h=0.7)
    return tuple(_ended(fault, horizon_h) for fault in drawn)


def _ended(fault: InjectedFault, horizon_h: float) -> InjectedFault:
    """Over by the horizon; a late answer is an hour late at most."""
    if fault.duration_h is None:
        return fault
    size = 0.3 if fault.kind is FaultKind.ACKNOWLEDGEMENT_LATE else fault.size
    return replace(fault, duration_h=max(1e-6, min(fault.duration_h, horizon_h - fault.at_h)), size=size)


def _deeds(names: tuple[str, ...], horizon_h: float, dice: random.Random) -> tuple[Deed, ...]:
    kinds = ["stop_trial", "tighten_bounds", "tighten_limits", "relax", "quarantine", "tighten_bounds"]
    drawn = [
        Deed(dice.uniform(0.0, horizon_h), dice.choice(kinds), dice.choice(names), dice.random())
        for _ in range(dice.randint(0, 5))
    ]
    if dice.random() < 0.08:
        drawn.append(Deed(dice.uniform(1.0, horizon_h), "stop_campaign", dice.choice(names), 0.0))
    return tuple(sorted(drawn, key=lambda deed: deed.at_h))
