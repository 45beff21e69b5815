"""The network steps down only, learns from what was measured only, and its members learn nothing of one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.prognostics.trajectory_network import Inputs, Targets, Training, TrajectoryNetworks, losses, train

MEMBERS, ROWS, BINS, NODES = 3, 7, 5, 6


def made_inputs(padding: float = 0.0) -> Inputs:
    """Rows of 2 to 5 bins, padded."""
    draw = torch.Generator().manual_seed(0)
    sequence = torch.randn(MEMBERS, ROWS, BINS, 3, generator=draw, dtype=torch.float64)
    lengths = torch.tensor([5, 2, 4, 5, 3, 2, 5])
    sequence[:, torch.arange(BINS) >= lengths[:, None]] = padding
    summary = torch.randn(MEMBERS, ROWS, 2, generator=draw, dtype=torch.float64)
    return Inputs(sequence, lengths, summary, torch.randn(MEMBERS, ROWS, generator=draw, dtype=torch.float64))


def made_targets(padding: float = 0.0) -> Targets:
    """Falling shapes; one row is not learned from by member 0, two rows are censored and seen in part."""
    shape = torch.linspace(0.9, 0, NODES, dtype=torch.float64).expand(MEMBERS, ROWS, NODES).clone()
    shape = shape + 0.05 * torch.randn(shape.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = torch.full((MEMBERS, ROWS), NODES)
    seen[:, 5:], seen[0, 2] = 3, 0
    shape[torch.arange(NODES) >= seen[..., None]] = padding
    ended = seen == NODES
    life = torch.randn(MEMBERS, ROWS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Targets(shape, seen, life, ended, seen == 3, torch.full((MEMBERS, 1), 0.5, dtype=torch.float64))


def networks(seeds: tuple[int, ...] = (1, 2, 3)) -> TrajectoryNetworks:
    """Untrained, but for a head that says something."""
    found = TrajectoryNetworks(list(seeds), 3, 2, np.full((len(seeds), NODES), 1 / NODES), hidden=4)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("step", "life"):
            found.weights[name] += torch.randn(1, 4, 1, generator=draw, dtype=torch.float64)
    return found


def gradients(inputs: Inputs, targets: Targets, forced: bool) -> list[torch.Tensor]:
    """Of every weight."""
    own = networks()
    known = targets.measured if forced else None
    losses(own, inputs, targets, known, 0.3).sum().backward()
    return [p.grad for p in own.parameters() if p.grad is not None]


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("padding", [1e9, float("nan"), float("-inf")])
def test_padding_changes_no_gradient(forced: bool, padding: float) -> None:
    """What was not measured, and what stands behind a row's last bin, may be anything: gradients are the same, bit for bit."""
    usual = gradients(made_inputs(), made_targets(), forced)
    other = gradients(made_inputs(padding), made_targets(padding), forced)
    assert len(usual) == len(networks().parameters())
    assert all(torch.equal(a, b) and bool(torch.isfinite(a).all()) for a, b in zip(usual, other, strict=True))


def test_the_future_changes_no_past() -> None:
    """With the truth given at every step, another truth at step k changes what follows it, and nothing up to it."""
    own, inputs, targets = networks(), made_inputs(), made_targets()
    known = torch.ones_like(targets.shape, dtype=torch.bool)
    changed = targets.shape.clone()
    changed[..., 3] += 0.5
    (_, a), (_, b) = own(inputs, targets.shape, known), own(inputs, changed, known)
    assert torch.equal(a[..., :5], b[..., :5])
    assert not torch.allclose(a[..., 5], b[..., 5])


def test_no_step_rises_whatever_the_weights() -> None:
    """With weights drawn ten times too large, every step still falls."""
    own = networks()
    with torch.no_grad():
        for p in own.parameters():
            p.mul_(10)
    _, shape = own(made_inputs())
    assert bool((shape.diff(dim=2) <= 0).all())
    assert torch.equal(shape[..., 0], torch.ones(MEMBERS, ROWS, dtype=torch.float64))


def test_untrained_networks_say_the_mean_shape_and_the_prior() -> None:
    """With a head of zeros, which is where training starts."""
    steps = np.array([[0.1, 0.1, 0.1, 0.2, 0.2, 0.3]] * MEMBERS)
    life, shape = TrajectoryNetworks([1, 2, 3], 3, 2, steps, hidden=4)(made_inputs())
    np.testing.assert_allclose(-shape.detach().diff(dim=2).numpy(), np.broadcast_to(steps[:, None], (MEMBERS, ROWS, NODES)))
    assert torch.equal(life, made_inputs().prior)


def test_the_truth_is_taken_away_in_training() -> None:
    """Given always at first, never in the last part: what is judged is what runs freely."""
    how = Training(epochs=100, forced_share=0.6)
    shares = [how.forcing(epoch) for epoch in range(100)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[60:] == [0.0] * 40


def test_training_lowers_the_free_running_loss() -> None:
    """For every member."""
    own, inputs, targets = networks(), made_inputs(), made_targets()
    before = losses(own, inputs, targets, None, 0.3).detach()
    train(own, inputs, targets, Training(epochs=60), seed=0)
    assert bool((losses(own, inputs, targets, None, 0.3) < before).all())


def test_members_learn_nothing_of_one_another() -> None:
    """A member trained beside others says what it says when trained alone."""
    inputs, targets = made_inputs(), made_targets()
    together, alone = networks(), networks((2,))
    train(together, inputs, targets, Training(epochs=20), seed=0)
    one = Inputs(inputs.sequence[1:2], inputs.lengths, inputs.summary[1:2], inputs.prior[1:2])
    train(alone, one, Targets(*(each[1:2] for each in targets)), Training(epochs=20), seed=0)
    for a, b in zip(together(inputs), alone(one), strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-8, atol=1e-10)
