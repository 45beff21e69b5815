"""Campaign: ask, tell, choose. Frozen: every method returns new values; no loop, no store, no clock.

campaign = Campaign(spec)
candidates = campaign.propose(4)
campaign = campaign.observe(candidates[0], {"cycle_life": Estimate(812, sem=30)})
campaign.recommend()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.decision import (
    NoFeasibleChoiceError,
    ParetoFront,
    Preference,
    Recommendation,
    Tested,
    infer_reference_point,
    pareto_front,
    recommend,
)
from orchestrator.decision.preference import CONFIDENCE
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import Candidate, CandidateTable
from orchestrator.domain.errors import Fault, SpecError, UnsafeProtocolError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.learning.seeding import one_thread

if TYPE_CHECKING:
    from orchestrator.proposal.history import History, Proposal, Proposer

# Results after which a reference point that no threshold gives is inferred, and then stays.
RESULTS_FOR_REFERENCE = 4
_FRUITLESS = (TrialStatus.FAILED, TrialStatus.ABORTED, TrialStatus.CANCELLED)


@dataclass(frozen=True)
class Campaign:
    """A campaign's spec and trials, asked and told.

    Args:
        spec: what may vary, what is wanted, what must never happen.
        trials: as the store gives them; none for a fresh campaign.
        reference_point: of the hypervolume, by metric; where no threshold gives it, it is inferred once and kept.
    """

    spec: CampaignSpec
    trials: tuple[Trial, ...] = ()
    reference_point: Mapping[str, float] | None = None

    def propose(
        self, n: int = 1, pending: Sequence[Candidate] = (), context: Mapping[str, float] | None = None
    ) -> list[Candidate]:
        """The next candidates to test, at most `n`.

        Args:
            n: how many are wanted.
            pending: proposed and not yet observed; unfinished trials count without being named.
            context: what context parameters are set to this once; the spec's values where left out.

        Raises:
            NoSafeCandidateError: if nothing can be proposed that is safe with confidence.
            SpecError: if a pending candidate is not of this space, or a context no parameter of it.
        """
        return [proposal.candidate for proposal in self.proposals(n, pending, context)]

    def proposals(
        self, n: int = 1, pending: Sequence[Candidate] = (), context: Mapping[str, float] | None = None
    ) -> list[Proposal]:
        """The next candidates with their origin, the belief about them and the dossier of the decision."""
        if context:
            return replace(self, spec=_in_context(self.spec, context)).proposals(n, pending)
        if isinstance(n, bool) or not isinstance(n, int):
            raise SpecError(Fault("n", f"is a number of candidates, like 4 (got {n!r})."))
        if n < 0:
            raise SpecError(Fault("n", f"must not be negative (got {n})."))
        for candidate in pending:
            self._check(candidate, "pending")
        if not n:
            return []
        with one_thread():
            return self._proposer().propose(n, self._history(pending))

    def observe(self, candidate: Candidate, outcome: Mapping[str, Estimate]) -> Campaign:
        """The campaign with a result more.

        It completes the candidate's first trial in which it fills gaps or replaces predictions only: an unfinished trial, one
        that lacks these metrics, one that so far was predicted. What was measured is never replaced: a further result is a
        replicate, a trial of its own. Metrics that the campaign does not name are kept and not used.

        Raises:
            SpecError: if the candidate is not of this space, or the outcome holds no metric of the campaign.
        """
        candidate = self._check(candidate, "candidate")
        _check_outcome(outcome, self.spec)
        trial = self._trial_to_complete(candidate, outcome)
        if trial is None:
            return self._with(Trial(self._next_number, candidate, TrialStatus.COMPLETED, origin="told", outcome=dict(outcome)))
        return self._with(replace(trial, status=TrialStatus.COMPLETED, outcome={**trial.outcome, **outcome}))

    def fail(self, candidate: Candidate, reason: str) -> Campaign:
        """The campaign with a failed test: the candidate's unfinished trial, or a new one. It is not proposed again."""
        candidate = self._check(candidate, "candidate")
        fresh = Trial(self._next_number, candidate, TrialStatus.PROPOSED, origin="told")
        trial = next((t for t in self.trials if t.candidate == candidate and not t.status.ended), fresh)
        return self._with(replace(trial, status=TrialStatus.FAILED, stopped_because=reason))

    def predict(self, candidates: Sequence[Candidate]) -> list[dict[str, Estimate]]:
        """What the surrogate believes of candidates; a metric without any result is left out.

        A candidate that states no context is taken in the present one.

        Raises:
            SpecError: if a candidate is not of this space.
        """
        checked = [self._check(_with_context(self.spec, c), "candidates") for c in candidates]
        with one_thread():
            return self._proposer().predict(checked, self._history(()))

    def kernel_shares(self) -> dict[str, dict[str, Estimate]]:
        """What share of each metric's variance each group of features explains, by metric and group.

        The groups are those of `spec.surrogate`, `other` for what none names, and `together` for what groups do together and
        none does alone. The shares of a metric, over the candidates that have a result, sum to 1; `sem` is a share's standard
        deviation. Empty without groups.
        """
        from orchestrator.proposal.kernel_shares import kernel_shares

        with one_thread():
            return kernel_shares(self._history(()))

    def safe(self, candidates: Sequence[Candidate]) -> list[bool]:
        """Whether each candidate keeps every safe limit with confidence, by what is known now.

        A safe seed does, unless its own result says otherwise.

        Raises:
            SpecError: if a candidate is not of this space.
        """
        from orchestrator.proposal.second_look import still_safe

        checked = [self._check(_with_context(self.spec, c), "candidates") for c in candidates]
        with one_thread():
            return still_safe(checked, self._history(()))

    def front(self) -> ParetoFront:
        """The non-dominated feasible trials, by measured values."""
        outcomes = {t.number: t.outcome for t in self._ended}
        return pareto_front(self.spec.objectives, self.spec.constraints, outcomes, self._reference_point())

    def recommend(
        self, preference: Preference | None = None, measured_only: bool = True, confidence: float = CONFIDENCE
    ) -> Recommendation:
        """Choose by a preference; without one the best posterior mean of one objective, the knee of several.

        Args:
            preference: `EpsilonConstraint` or `WeightedSum`.
            measured_only: choose among measured trials; False (one objective) takes the best posterior mean, tested or not.
            confidence: with which the campaign's constraints must hold.

        Raises:
            NoFeasibleChoiceError: if no trial keeps the constraints and the preference.
        """
        if not measured_only:
            return self._untested_optimum(preference, confidence)
        known = [t for t in self._ended if t.measured and self._placed(t.candidate)]
        measured = [t for t in known if self._may_run(self.spec.space.at_present(t.candidate))]
        if known and not measured:
            raise NoFeasibleChoiceError(
                "every measured trial lies outside the space or the safety limits as they are since the campaign was amended, so "
                "there is nothing to choose from. Test more."
            )
        posterior = self.predict([self.spec.space.at_present(t.candidate) for t in measured]) if measured else []
        tested = [Tested(t.number, t.candidate, p, t.measured) for t, p in zip(measured, posterior, strict=True)]
        return recommend(self.spec, tested, preference, confidence)

    def _untested_optimum(self, preference: Preference | None, confidence: float) -> Recommendation:
        from orchestrator.proposal.optimum import best_believed

        if preference is not None or len(self.spec.objectives) != 1:
            problem = "is for one objective and no preference."
            raise SpecError(Fault("measured_only=False", problem, "State a preference among measured trials instead."))
        with one_thread():
            candidate = best_believed(self._history(()), confidence)
        expected = self.predict([candidate])[0]
        goal = self.spec.objectives[0]
        trial = next((t.number for t in self._ended if t.candidate == candidate and t.measured), None)
        state = f"tested by trial {trial}" if trial else "not tested yet: test this next"
        why = f"{candidate.describe(self.spec.space.units)} has the best expected {goal.metric} of all candidates ({state})."
        return Recommendation(candidate, expected, f"{goal.goal} {goal.metric}", why, trial)

    @property
    def _ended(self) -> list[Trial]:
        return [t for t in self.trials if t.status.ended and t.status is not TrialStatus.FAILED]

    def _placed(self, candidate: Candidate) -> bool:
        """Whether the present space has a place for it: an amended one may not."""
        space = self.spec.space
        return space.row_of(candidate) is not None if isinstance(space, CandidateTable) else space.places(candidate)

    def _may_run(self, candidate: Candidate) -> bool:
        """Whether a candidate could be tested today: an amended space or limit may forbid what was tested before."""
        from orchestrator.representation.requests import protocol_for

        if self.spec.space.violations(candidate):
            return False
        try:
            if self.spec.safety_limits.named:
                protocol_for(self.spec, candidate)
        except UnsafeProtocolError:
            return False
        except SpecError:
            return True  # what stands for no protocol, as where a campaign is told its results, no protocol's limit forbids
        return True

    @property
    def _next_number(self) -> int:
        return max((t.number for t in self.trials), default=0) + 1

    def _with(self, trial: Trial) -> Campaign:
        others = tuple(t for t in self.trials if t.number != trial.number)
        changed = replace(self, trials=tuple(sorted((*others, trial), key=lambda t: t.number)))
        return changed.with_reference_point()

    def with_reference_point(self) -> Campaign:
        """The campaign with its reference point fixed, as soon as it can be."""
        return replace(self, reference_point=self._reference_point())

    def _trial_to_complete(self, candidate: Candidate, outcome: Mapping[str, Estimate]) -> Trial | None:
        """The first trial of the candidate in which an outcome replaces nothing that was measured."""
        same = (t for t in self.trials if t.candidate == candidate and t.status not in _FRUITLESS)
        return next((t for t in same if all(m not in t.measured for m in outcome)), None)

    def _reference_point(self) -> Mapping[str, float] | None:
        if self.reference_point is not None:
            return self.reference_point
        outcomes = {t.number: t.outcome for t in self._ended}
        fixed = all(o.threshold is not None for o in self.spec.objectives)
        return infer_reference_point(self.spec.objectives, outcomes) if fixed or len(outcomes) >= RESULTS_FOR_REFERENCE else None

    def _check(self, candidate: Candidate, where: str) -> Candidate:
        if not isinstance(candidate, Candidate):
            remedy = 'Write Candidate({"c1": 2.0}), or Candidate({}, "row id") for a row of a table.'
            raise SpecError(Fault(where, f"must be a Candidate (got {candidate!r}).", remedy))
        problems = self.spec.space.violations(candidate)
        if problems:
            raise SpecError([Fault(where, f"{problem}.") for problem in problems])
        return self.spec.space.complete(candidate)

    def _history(self, pending: Sequence[Candidate]) -> History:
        from orchestrator.proposal.history import read_history

        return read_history(self.spec, self.trials, pending, self._reference_point())

    def _proposer(self) -> Proposer:
        from orchestrator.proposal.strategy import proposer_for

        return proposer_for(self.spec)


def _in_context(spec: CampaignSpec, context: Mapping[str, float]) -> CampaignSpec:
    """The campaign with its context set to other values."""
    known = {} if isinstance(spec.space, CandidateTable) else {p.name: p for p in spec.space.context}
    remedy = f"Known: {', '.join(known) or 'none'}."
    faults = [Fault(f"context.{n}", "is no context parameter of this space.", remedy) for n in context if n not in known]
    faults += [
        Fault(f"context.{n}", f"{n} = {given!r} is not {known[n].describe()}.")
        for n, given in context.items()
        if n in known and not known[n].admits(given)
    ]
    if faults or isinstance(spec.space, CandidateTable):
        raise SpecError(faults)
    return replace(spec, space=spec.space.holding(context))


def _with_context(spec: CampaignSpec, candidate: Candidate) -> Candidate:
    """A candidate in the present context, as far as it says nothing of it."""
    context = () if isinstance(spec.space, CandidateTable) else spec.space.context
    unsaid = {p.name: p.value for p in context if p.name not in candidate.parameters}
    return Candidate({**candidate.parameters, **unsaid}, candidate.id) if unsaid else candidate


def _check_outcome(outcome: Mapping[str, object], spec: CampaignSpec) -> None:
    known = f"Known: {', '.join(spec.metrics)}."
    if not any(metric in spec.metrics for metric in outcome):
        raise SpecError(Fault("outcome", f"holds no metric of the campaign (got {list(outcome)}).", known))
    faults = [
        Fault(f"outcome.{metric}", f"must be an Estimate (got {given!r}).", "Write Estimate(812, sem=30).")
        for metric, given in outcome.items()
        if not isinstance(given, Estimate)
    ]
    if faults:
        raise SpecError(faults)
