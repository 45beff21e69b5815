"""A cathode by ask and tell: a composition that sums to one, a dopant that may be left out, and a room nobody controls.

The cell is a formula made up for this example; in a lab its result would come from a test.
"""

from orchestrator import (
    Campaign,
    CampaignSpec,
    Candidate,
    ChoiceParameter,
    ContextParameter,
    Estimate,
    LinearConstraint,
    Objective,
    RangeParameter,
    SearchSpace,
)

METALS = [RangeParameter(name, 0.0, 1.0) for name in ("nickel", "manganese", "cobalt")]
spec = CampaignSpec(
    name="cathode-mixture",
    space=SearchSpace(
        parameters=[
            *METALS,
            ChoiceParameter("doped", ["no", "yes"]),
            RangeParameter("aluminium", 0.01, 0.1, only_if={"doped": ["yes"]}),
            ContextParameter("room_degC", 15.0, 35.0, value=22.0, unit="degC"),
        ],
        constraints=[
            LinearConstraint("nickel + manganese + cobalt + aluminium == 1"),
            LinearConstraint("nickel + manganese + cobalt == 1", only_if={"doped": ["no"]}),
            "cobalt <= 0.3",
        ],
    ),
    objectives=[Objective("capacity_mAh_g", "maximize")],
    strategy="expected_improvement",
    seed=7,
)


def tested(candidate: Candidate) -> Estimate:
    """What a made-up cell gives: best with much nickel and a little aluminium; a warm room helps every one of them."""
    given = candidate.parameters
    capacity = 200 - 150 * (given["nickel"] - 0.75) ** 2 - 60 * (given.get("aluminium", 0.0) - 0.04) ** 2 / 0.04
    return Estimate(capacity - 40 * (given["cobalt"] - 0.1) ** 2 + 0.8 * (given["room_degC"] - 22), sem=0.5)


campaign = Campaign(spec)
for day in range(6):
    room = {"room_degC": 20.0 + 2 * (day % 3)}  # read off the wall; the proposer takes it as it is
    for candidate in campaign.propose(2, context=room):
        campaign = campaign.observe(candidate, {"capacity_mAh_g": tested(candidate)})
print(campaign.recommend(None, measured_only=False).why)
