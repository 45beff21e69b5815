"""Sharing a lab's channels: the deal, and the spec's section."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import CampaignSpec, CandidateTable, Objective, Sharing, SpecError
from orchestrator.domain.sharing import Claim, deal_channels
from orchestrator.domain.spec_file import read_spec
from orchestrator.domain.value import from_plain, to_plain

CYCLERS = ("a", "b", "c")
TABLE = CandidateTable(({"x": 1.0}, {"x": 2.0}), ("x",))


@st.composite
def labs(draw, cyclers=CYCLERS, most_claims=6):
    """Free channels and claims of a lab, and what time it is there."""
    free = [(cycler, str(n)) for cycler in cyclers for n in range(draw(st.integers(0, 6)))]
    free = draw(st.permutations(free))
    claims = []
    for i in range(draw(st.integers(1, most_claims))):
        held = draw(st.integers(0, 5))
        claims.append(
            Claim(
                campaign=f"campaign {i}",
                cyclers=frozenset(draw(st.sets(st.sampled_from(cyclers), min_size=1))),
                held=held,
                wanted=held + draw(st.integers(-2, 8)),
                priority=draw(st.floats(1e-3, 1e3)),
                since_h=draw(st.floats(0.0, 100.0)),
            )
        )
    return free, claims, draw(st.floats(0.0, 100.0))


@given(labs())
def test_the_deal_gives_each_channel_once_to_somebody_who_wants_it(lab):
    """No channel twice, only of cyclers claimed, never past what is wanted, in the lab's order."""
    free, claims, now_h = lab
    deal = deal_channels(free, claims, now_h)
    given_out = [channel for channels in deal.values() for channel in channels]
    assert len(given_out) == len(set(given_out))
    for claim in claims:
        mine = deal[claim.campaign]
        assert mine == [channel for channel in free if channel in mine]
        assert {cycler for cycler, _ in mine} <= claim.cyclers
        assert not mine or claim.held + len(mine) <= claim.wanted


@given(labs())
def test_no_channel_stays_idle_that_somebody_wants(lab):
    """Work conservation: a channel is left over only if everybody who could use it has what it wants."""
    free, claims, now_h = lab
    deal = deal_channels(free, claims, now_h)
    left = set(free) - {channel for channels in deal.values() for channel in channels}
    for cycler, _ in left:
        assert all(c.held + len(deal[c.campaign]) >= c.wanted for c in claims if cycler in c.cyclers)


@given(labs(cyclers=("a",)))
def test_shares_are_proportional_to_priorities(lab):
    """Nobody was dealt its last channel while another that wants more held fewer for its priority."""
    free, claims, now_h = lab
    deal = deal_channels(free, claims, now_h)
    final = {c.campaign: c.held + len(deal[c.campaign]) for c in claims}
    for rich in (c for c in claims if deal[c.campaign]):
        for poor in (c for c in claims if final[c.campaign] < c.wanted):
            assert (final[rich.campaign] - 1) / rich.priority <= final[poor.campaign] / poor.priority


@given(labs(cyclers=("a",)))
def test_who_holds_nothing_comes_before_who_holds_something(lab):
    """However small its priority: if anybody who held a channel is dealt one, no other that wants one goes without."""
    free, claims, now_h = lab
    deal = deal_channels(free, claims, now_h)
    if any(claim.held and deal[claim.campaign] for claim in claims):
        assert all(c.held + len(deal[c.campaign]) >= 1 for c in claims if c.wanted > 0)


def test_one_campaign_alone_gets_everything_it_wants():
    """In the lab's order."""
    free = [("b", "1"), ("a", "1"), ("b", "2")]
    assert deal_channels(free, [Claim("x", frozenset("ab"), 0, 9)], 0.0) == {"x": free}
    assert deal_channels(free, [Claim("x", frozenset("ab"), 1, 2)], 0.0) == {"x": free[:1]}
    assert deal_channels(free, [], 0.0) == {}


def test_who_can_use_any_cycler_leaves_the_one_that_others_need():
    """Both are served, whoever comes first."""
    claims = [Claim("both", frozenset("ab"), 0, 1), Claim("only a", frozenset("a"), 0, 1)]
    deal = deal_channels([("a", "1"), ("b", "1")], claims, 0.0)
    assert deal == {"both": [("b", "1")], "only a": [("a", "1")]}


@pytest.mark.parametrize("seed", range(5))
def test_where_campaigns_outnumber_channels_they_take_turns_by_priority(seed):
    """Two channels, priorities 1 to 4: each campaign has its turns, in proportion, and no wait is much longer than a round."""
    rng = random.Random(seed)
    priorities = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 4.0, "e": 4.0, "f": 4.0}
    since = dict.fromkeys(priorities, 0.0)
    busy: list[tuple[float, str]] = []
    turns, longest = dict.fromkeys(priorities, 0), dict.fromkeys(priorities, 0.0)
    now = 0.0
    while sum(turns.values()) < 1600:
        while len(busy) < 2:
            held = [name for _, name in busy]
            claims = [Claim(n, frozenset("x"), held.count(n), held.count(n) + 5, p, since[n]) for n, p in priorities.items()]
            name = next(n for n, channels in deal_channels([("x", "1")], claims, now).items() if channels)
            turns[name] += 1
            longest[name] = max(longest[name], now - since[name])
            since[name] = now
            busy.append((now + rng.uniform(0.9, 1.1), name))
        busy.sort()
        now = busy.pop(0)[0]
    total = sum(priorities.values())
    for name, priority in priorities.items():
        assert turns[name] / 1600 == pytest.approx(priority / total, rel=0.25)
        assert longest[name] < 2 * total / priority / 2


def test_the_section_of_a_spec(tmp_path):
    """As TOML; what is left out is the default, and faults come with their line and remedy."""
    path = tmp_path / "x.toml"
    text = 'name = "x"\n[space]\nparameters = [{ type = "range", name = "c", lower = 1.0, upper = 2.0 }]\n'
    text += '[[objectives]]\nmetric = "m"\ngoal = "minimize"\n[sharing]\n'
    path.write_text(text + "priority = 2.5\nquota = 3\n")
    assert read_spec(path).sharing == Sharing(2.5, 3)
    path.write_text(text)
    assert read_spec(path).sharing == Sharing(1.0, None)
    path.write_text(text + "priority = 0\nquota = 0\n")
    with pytest.raises(SpecError) as refused:
        read_spec(path)
    assert "line 8: sharing.priority: is a weight above 0 (got 0)" in str(refused.value)
    assert "line 9: sharing.quota: is a number of channels, 1 or more (got 0)" in str(refused.value)


def test_a_spec_that_says_nothing_of_sharing_keeps_its_hash():
    """Stored specs of older labs must still be what was stored; a spec that does say something comes back as it was."""
    plain = CampaignSpec("x", TABLE, (Objective("m", "maximize"),))
    assert "sharing" not in to_plain(plain)
    assert CampaignSpec("x", TABLE, (Objective("m", "maximize"),), sharing=Sharing(1.0)).sha256 == plain.sha256
    greedy = CampaignSpec("x", TABLE, (Objective("m", "maximize"),), sharing=Sharing(2.0, 4))
    assert greedy.sha256 != plain.sha256
    assert from_plain(CampaignSpec, to_plain(greedy)) == greedy
