"""The nouns of a battery lab: pure values with units, and the protocols that others implement."""

from orchestrator.domain.campaign_spec import (
    Approval,
    Budget,
    CampaignSpec,
    Causal,
    CyclerSpec,
    Experiment,
    Prognosis,
)
from orchestrator.domain.candidate import Candidate, CandidateTable
from orchestrator.domain.cell_design import CellDesign
from orchestrator.domain.clock import AcceleratedClock, Clock, SystemClock, VirtualClock
from orchestrator.domain.cycler import Capabilities, Cycler, RunRef, RunRequest, RunState, RunStatus
from orchestrator.domain.errors import Fault, SpecError, UnsafeProtocolError, VoltloopError
from orchestrator.domain.linear_constraint import LinearConstraint
from orchestrator.domain.objectives import Estimate, Objective, OutcomeConstraint
from orchestrator.domain.parameters import (
    ChoiceParameter,
    ContextParameter,
    DerivedParameter,
    IntegerParameter,
    RangeParameter,
)
from orchestrator.domain.protocol import (
    ConstantCurrent,
    ConstantVoltage,
    Impedance,
    Loop,
    Protocol,
    Rest,
    SafetyLimits,
)
from orchestrator.domain.recording import Recording
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.sharing import Sharing
from orchestrator.domain.surrogate_spec import SurrogateSpec
from orchestrator.domain.trial import Trial, TrialStatus

__all__ = [
    "AcceleratedClock", "Approval", "Budget", "CampaignSpec", "Candidate", "CandidateTable", "Capabilities", "Causal",
    "CellDesign", "ChoiceParameter", "Clock", "ConstantCurrent", "ConstantVoltage", "ContextParameter", "Cycler", "CyclerSpec",
    "DerivedParameter", "Estimate", "Experiment", "Fault", "Impedance", "IntegerParameter", "LinearConstraint", "Loop",
    "Objective", "OutcomeConstraint", "Prognosis", "Protocol", "RangeParameter", "Recording", "Rest", "RunRef",
    "RunRequest", "RunState", "RunStatus", "SafetyLimits", "SearchSpace", "Sharing", "SpecError", "SurrogateSpec", "SystemClock",
    "Trial", "TrialStatus", "UnsafeProtocolError", "VirtualClock", "VoltloopError",
]  # fmt: skip
