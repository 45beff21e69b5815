"""A person who amends a running campaign: bounds or safety limits tightened, and relaxed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.amend import Patience, amend_campaign
from tests.torture.plans import LOWER_C, MAX_CURRENT_A, RATE, UPPER_C, Deed

if TYPE_CHECKING:
    from flows import Lab
    from tests.torture.actors import Bench


def amend(bench: Bench, lab: Lab, deed: Deed) -> None:
    """Carry an amendment out; what is in force from then on is known once it has returned."""
    world, name = bench.world, deed.campaign
    file = bench.folder / f"changes-{world.points}.toml"
    file.write_text(_changes(deed))
    patience = Patience(limit_s=900.0, poll_s=45.0, clock=lambda: world.now_s, sleep=world.sleep)
    report = amend_campaign(lab, name, file, by="the torturer", stop_forbidden=deed.size < 0.3, patience=patience)
    bench.judge.amended(name)
    world.counts["amendments"] += 1
    world.counts["queued trials forbidden"] += len(report.withdrawn)
    world.counts["running trials flagged"] += len(report.flagged)
    world.note(f"amended {name}: {[str(change) for change in report.amendment.changes]}, withdrawn {list(report.withdrawn)}")


def _changes(deed: Deed) -> str:
    """The file of changes: how far is the deed's size."""
    if deed.kind == "tighten_limits":
        return f"[safety_limits]\nmax_current_A = {MAX_CURRENT_A - 2.0 * deed.size:.3f}\n"
    if deed.kind == "tighten_bounds":
        span = (UPPER_C - LOWER_C) * 0.4 * deed.size
        return _bounds(LOWER_C + span, UPPER_C - span)
    return f"[safety_limits]\nmax_current_A = {MAX_CURRENT_A}\n" + _bounds(LOWER_C, UPPER_C)


def _bounds(lower_C: float, upper_C: float) -> str:
    return f'[[space.parameters]]\nname = "{RATE}"\nlower = {lower_C:.4f}\nupper = {upper_C:.4f}\n'
