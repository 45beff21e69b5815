"""Proposals through Ax: its search space, its trials, its generators; our beliefs plugged in. The only door to Ax.

The Ax experiment is rebuilt from the history at every proposal, with one bulk attach: it is a cache, never the record.
The first candidates come from Ax's Sobol generator. Then Ax asks `BeliefAdapter`, in which the campaign's own surrogates and
their noisy expected (hypervolume) improvement answer: the quantity that qLogNEI and qLogNEHVI estimate, in a fraction of the
time. With strategy "ax" it asks modular BoTorch instead: those acquisitions themselves, as Ax ships them. Outcome constraints
are a weight here, not a wall: what must never happen belongs to the safe proposer.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ax.adapter.base import Adapter, GenResults
from ax.adapter.data_utils import ExperimentData
from ax.adapter.registry import Generators
from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.metric import Metric
from ax.core.objective import Objective as AxObjective
from ax.core.observation import ObservationData, ObservationFeatures
from ax.core.optimization_config import MultiObjectiveOptimizationConfig, OptimizationConfig
from ax.core.outcome_constraint import OutcomeConstraint as AxConstraint
from ax.core.parameter import ChoiceParameter as AxChoice
from ax.core.parameter import ParameterType
from ax.core.parameter import RangeParameter as AxRange
from ax.core.parameter_constraint import ParameterConstraint
from ax.core.search_space import SearchSpace as AxSpace
from ax.exceptions.core import AxError
from ax.generators.base import Generator
from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from gpytorch.constraints import GreaterThan
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.priors import LogNormalPrior
from torch import Tensor
from torch.nn import Module

import orchestrator.proposal.botorch_model  # noqa: F401 - BoTorch never compiles its kernel
from orchestrator.domain import (
    CampaignSpec,
    Candidate,
    ChoiceParameter,
    Estimate,
    IntegerParameter,
    RangeParameter,
    SearchSpace,
)
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.learning.seeding import reproducible
from orchestrator.proposal.beliefs import Beliefs, fit_beliefs
from orchestrator.proposal.dossier import proposals_of
from orchestrator.proposal.history import History, Point, Proposal
from orchestrator.proposal.sobol import first_design
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.space_search import most_promising

SMALLEST_DESIGN = 5
_LEAST_NOISE = 1e-6
# A tenth of Ax's own search effort: with linear constraints its default takes half a minute for a batch of four.
_SEARCH = {"optimizer_kwargs": {"num_restarts": 4, "raw_samples": 128, "options": {"maxiter": 40}}}


class KnownNoiseGP(SingleTaskGP):
    """Ax's default model, with one more noise variance, learned: what differs from cell to cell beyond the stated errors."""

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        train_Yvar: Tensor | None = None,
        covar_module: Module | None = None,
        outcome_transform: OutcomeTransform | None = None,
        input_transform: InputTransform | None = None,
    ) -> None:
        stated = None if train_Yvar is None else train_Yvar.clamp_min(_LEAST_NOISE)
        super().__init__(
            train_X,
            train_Y,
            stated,
            covar_module=covar_module,
            outcome_transform=outcome_transform,
            input_transform=input_transform,
        )
        if stated is not None:
            noise = stated_noise(self)
            likelihood = FixedNoiseGaussianLikelihood(noise, learn_additional_noise=True, batch_shape=self._aug_batch_shape)
            spread = likelihood.second_noise_covar
            spread.register_constraint("raw_noise", GreaterThan(_LEAST_NOISE, initial_value=1e-2))
            spread.register_prior("noise_prior", LogNormalPrior(-4.0, 1.0), "noise")
            self.likelihood = likelihood.to(train_X)


def stated_noise(model: SingleTaskGP) -> Tensor:
    """The known noise variances of a model, after its own transforms."""
    likelihood: Any = model.likelihood
    return likelihood.noise_covar.noise


class BeliefGenerator(Generator):
    """What Ax wants to know of a generator that lives in its adapter."""

    @property
    def can_predict(self) -> bool:
        """Surrogates predict."""
        return True

    @property
    def can_model_in_sample(self) -> bool:
        """They smooth what was measured."""
        return True


class BeliefAdapter(Adapter):
    """The campaign's surrogates and acquisition as an Ax adapter.

    Args:
        experiment: the history as Ax holds it.
        history: the same, with what Ax has no place for: which tests failed, and in which order they ended.
        encoding: of the campaign's space.
    """

    def __init__(self, experiment: Experiment, history: History, encoding: SpaceEncoding) -> None:
        self.history, self.encoding = history, encoding
        self.beliefs = Beliefs(encoding, {}, {})
        super().__init__(experiment=experiment, generator=BeliefGenerator(), expand_model_space=False)

    def _fit(self, search_space: AxSpace, experiment_data: ExperimentData) -> None:
        self.beliefs = fit_beliefs(self.history, self.encoding)

    def _gen(
        self,
        n: int,
        search_space: AxSpace,
        pending_observations: dict[str, list[ObservationFeatures]],
        fixed_features: ObservationFeatures | None,
        optimization_config: OptimizationConfig | None,
        model_gen_options: dict[str, Any] | None,
    ) -> GenResults:
        waiting = self._candidates(next(iter(pending_observations.values()), []))
        found = most_promising(n, self.history, self.beliefs, self.encoding, waiting)
        features = [ObservationFeatures(_parameters(choice.candidate, self.encoding.space)) for choice in found]
        return GenResults(features, [1.0] * len(found), gen_metadata={"gain": [choice.gain for choice in found]})

    def _predict(
        self, observation_features: list[ObservationFeatures], use_posterior_predictive: bool = False
    ) -> list[ObservationData]:
        predicted = self.beliefs.predict(self.encoding.encode(self._candidates(observation_features)))
        return [
            ObservationData(
                metric_signatures=list(beliefs),
                means=np.array([estimate.mean for estimate in beliefs.values()]),
                covariance=np.diag([estimate.sem**2 for estimate in beliefs.values()]),
            )
            for beliefs in predicted
        ]

    def _candidates(self, features: Sequence[ObservationFeatures]) -> list[Candidate]:
        return [_candidate(self.encoding.space, dict(f.parameters)) for f in features]


class AxProposer:
    """Generates through Ax in a continuous or mixed search space.

    Args:
        spec: of a campaign in a search space.
        as_shipped: whether Ax asks modular BoTorch, not the campaign's own beliefs.
    """

    def __init__(self, spec: CampaignSpec, as_shipped: bool = False) -> None:
        if not isinstance(spec.space, SearchSpace):
            raise TypeError("Ax proposes in a search space; a table has a proposer of its own")
        self.space, self.as_shipped = spec.space, as_shipped
        self.encoding = SpaceEncoding(spec.space)

    def propose(self, n: int, history: History) -> list[Proposal]:
        """The n candidates to test next: a Sobol design first, then what BoTorch finds."""
        missing = self._design(history) - len(history.points)
        first = self._sobol(min(n, missing) if history.complete else n, history) if missing > 0 or not history.complete else []
        rest = n - len(first)
        return [*first, *(self._informed(rest, history, first) if rest else [])]

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about candidates; a metric without any estimate is left out."""
        return fit_beliefs(history, self.encoding).predict(self.encoding.encode(list(candidates)))

    def _design(self, history: History) -> int:
        wanted = max(SMALLEST_DESIGN, 2 * len(self.space.free))
        return min(wanted, max(1, history.spec.budget.trials // 2))

    def _sobol(self, n: int, history: History) -> list[Proposal]:
        why = "first design: spread evenly over the space"
        discrete = not any(isinstance(p, RangeParameter) for p in self.space.free)
        if discrete or not self.space.is_plain:  # Ax draws until it has as many different points as asked for, be there fewer
            found = first_design(self.space, n, history)
            return proposals_of([(c, why) for c in found], "Sobol", "ax", history)
        with reproducible(history.spec.seed), _quiet():
            experiment = ax_experiment(history, self.space)
            known = {p.candidate for p in history.points}
            generator = Generators.SOBOL(experiment=experiment, seed=history.spec.seed)
            try:  # from the sequence's start: constraints reject points, so the number of candidates is no position in it
                drawn = self._candidates(generator.gen(n=n + len(known)).arms)
                found = [c for c in drawn if c not in known][:n]
            except AxError:  # constraints that leave almost nothing of the box: rejection finds no point
                found = first_design(self.space, n, history)
        return proposals_of([(c, why) for c in found], "Sobol", "ax", history)

    def _informed(self, n: int, history: History, first: Sequence[Proposal]) -> list[Proposal]:
        waiting = [p.candidate for p in first]
        with reproducible(history.seed("ax")), _quiet():
            if self.as_shipped:
                found, beliefs, details = self._by_botorch(n, history, waiting)
            else:
                found, beliefs, details = self._by_beliefs(n, history, waiting)
        if not found and not first:
            raise NeedsPersonError("no candidate is left to propose: each has failed. Widen the space, or end the campaign.")
        chosen = [(c, "promises the largest improvement over what has been tested") for c in found]
        return proposals_of(chosen, "BoTorch" if self.as_shipped else "noisy improvement", "ax", history, beliefs, details)

    def _by_beliefs(self, n: int, history: History, waiting: Sequence[Candidate]) -> _Generated:
        if not self.space.is_plain:  # Ax has no words for such a space
            beliefs = fit_beliefs(history, self.encoding)
            choices = most_promising(n, history, beliefs, self.encoding, waiting)
            return [choice.candidate for choice in choices], beliefs, [{"improvement": choice.gain} for choice in choices]
        adapter = BeliefAdapter(ax_experiment(history, self.space), history, self.encoding)
        run = adapter.gen(n, pending_observations=self._pending(history, waiting))
        gains = (run.gen_metadata or {})["gain"]
        return self._candidates(run.arms), adapter.beliefs, [{"generator": "BeliefAdapter", "improvement": g} for g in gains]

    def _by_botorch(self, n: int, history: History, waiting: Sequence[Candidate]) -> _Generated:
        experiment = ax_experiment(history, self.space)
        generator = Generators.BOTORCH_MODULAR(experiment=experiment, data=experiment.lookup_data(), surrogate_spec=_surrogate())
        under_way = [p.candidate for p in history.pending if _has_choices_of(self.space, p.candidate)]
        pending = self._pending(history, [*under_way, *waiting])
        wanted, found = n, []
        for _ in range(3):
            run = generator.gen(n=wanted, pending_observations=pending, model_gen_options=_SEARCH)
            found = [c for c in self._candidates(run.arms) if c not in history.failed][:n]
            if len(found) >= n:
                break
            wanted += n
        details = [{"generator": run._generator_key or Generators.BOTORCH_MODULAR.value} for _ in found]  # noqa: SLF001
        return found, fit_beliefs(history, self.encoding), details

    def _pending(self, history: History, waiting: Sequence[Candidate]) -> dict[str, list[ObservationFeatures]] | None:
        # Ax encodes them in place, metric by metric: each needs its own.
        given = [_parameters(c, self.space) for c in waiting]
        return {m: [ObservationFeatures(parameters=dict(g)) for g in given] for m in history.spec.metrics} if given else None

    def _candidates(self, arms: Sequence[Arm]) -> list[Candidate]:
        return [_candidate(self.space, arm.parameters) for arm in arms]


_Generated = tuple[list[Candidate], Beliefs, list[dict[str, Any]]]


def _candidate(space: SearchSpace, parameters: Mapping[str, Any]) -> Candidate:
    """Ax's numbers as plain ones, rounding at the bounds undone, derived parameters computed."""
    plain: dict[str, Any] = {}
    for parameter in space.free:
        given = parameters[parameter.name]
        if isinstance(parameter, RangeParameter):
            given = float(min(max(given, parameter.lower), parameter.upper))
        plain[parameter.name] = given
    return space.complete(Candidate(plain))


def _surrogate() -> SurrogateSpec:
    return SurrogateSpec(model_configs=[ModelConfig(botorch_model_class=KnownNoiseGP)])


def ax_space(space: SearchSpace) -> AxSpace:
    """The search space as Ax states it; derived parameters are replaced in the constraints."""
    constraints = [
        ParameterConstraint(inequality=" + ".join(f"{c!r}*{n}" for n, c in form.coefficients.items()) + f" <= {-form.constant!r}")
        for form in space.inequalities
    ]
    return AxSpace(parameters=[_ax_parameter(p) for p in space.free], parameter_constraints=constraints)


def _ax_parameter(parameter: RangeParameter | IntegerParameter | ChoiceParameter) -> Any:
    if isinstance(parameter, ChoiceParameter):
        kind = ParameterType.STRING if isinstance(parameter.values[0], str) else ParameterType.FLOAT
        values = [v if isinstance(v, str) else float(v) for v in parameter.values]
        return AxChoice(parameter.name, kind, values, is_ordered=parameter.ordered, sort_values=parameter.ordered)
    kind = ParameterType.INT if isinstance(parameter, IntegerParameter) else ParameterType.FLOAT
    log = isinstance(parameter, RangeParameter) and parameter.log
    return AxRange(parameter.name, kind, parameter.lower, parameter.upper, log_scale=log)


def ax_experiment(history: History, space: SearchSpace) -> Experiment:
    """The history as an Ax experiment: every observed point an arm, all estimates in one `Data`.

    Replicates of a candidate go into batches of their own: within one Ax trial an arm counts once.
    """
    metrics = [Metric(name) for name in history.spec.metrics]
    config = _optimization_config(history)
    experiment = Experiment(ax_space(space), name=history.spec.name, optimization_config=config, tracking_metrics=metrics)
    known = (p for p in history.points if _has_choices_of(space, p.candidate))
    observed = [p for p in known if any(m in p.outcome for m in history.spec.metrics)]
    rows: list[DataRow] = []
    for batch in _batches(observed):
        # All arms at once: added one by one, each would be compared with all before it.
        trial = experiment.new_batch_trial(generator_run=GeneratorRun([Arm(_parameters(p.candidate, space)) for p in batch]))
        trial.mark_running(no_runner_required=True)
        rows += [row for point, arm in zip(batch, trial.arms, strict=True) for row in _rows(point, arm, trial.index, history)]
        trial.mark_completed()
    if rows:
        experiment.attach_data(Data(data_rows=rows))
    return experiment


def _has_choices_of(space: SearchSpace, candidate: Candidate) -> bool:
    """Whether Ax can state a candidate: it has no number for a choice that an amended spec no longer offers."""
    return all(p.admits(candidate.parameters[p.name]) for p in space.free if isinstance(p, ChoiceParameter))


def _batches(points: Sequence[Point]) -> list[list[Point]]:
    """Points split so that no candidate stands twice in one batch."""
    batches: list[dict[Candidate, Point]] = []
    for point in points:
        free = next((batch for batch in batches if point.candidate not in batch), None)
        if free is None:
            batches.append({point.candidate: point})
        else:
            free[point.candidate] = point
    return [list(batch.values()) for batch in batches]


def _rows(point: Point, arm: Arm, trial: int, history: History) -> Iterator[DataRow]:
    for metric in history.spec.metrics:
        if metric in point.outcome:
            estimate = point.outcome[metric]
            yield DataRow(
                trial_index=trial,
                arm_name=arm.name,
                metric_name=metric,
                metric_signature=metric,
                mean=estimate.mean,
                se=estimate.sem,
            )


def _optimization_config(history: History) -> OptimizationConfig:
    spec = history.spec
    terms = [o.metric if o.maximize else f"-{o.metric}" for o in spec.objectives]
    constraints = [
        _ax_constraint(c.metric, sign, bound)
        for c in spec.constraints
        for sign, bound in ((">=", c.lower), ("<=", c.upper))
        if bound is not None
    ]
    objective = AxObjective(expression=", ".join(terms), metric_name_to_signature={o.metric: o.metric for o in spec.objectives})
    if len(spec.objectives) == 1:
        return OptimizationConfig(objective, constraints)
    point = history.reference_point or {}
    thresholds = [
        _ax_constraint(o.metric, ">=" if o.maximize else "<=", point[o.metric]) for o in spec.objectives if o.metric in point
    ]
    return MultiObjectiveOptimizationConfig(objective, constraints, thresholds)


def _ax_constraint(metric: str, sign: str, bound: float) -> AxConstraint:
    return AxConstraint(f"{metric} {sign} {bound!r}", metric_name_to_signature={metric: metric}, relative=False)


def _parameters(candidate: Candidate, space: SearchSpace) -> dict[str, Any]:
    """A candidate's free parameters as Ax wants them."""
    given: dict[str, Any] = {}
    for parameter in space.free:
        value = candidate.parameters[parameter.name]
        if isinstance(parameter, IntegerParameter):
            value = int(value)
        elif not isinstance(value, str):
            value = float(value)
        given[parameter.name] = value
    return given


@contextmanager
def _quiet() -> Iterator[None]:
    """Ax speaks of deprecations and duplicate arms to its developers; none of it concerns a scientist."""
    logger = logging.getLogger("ax")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
