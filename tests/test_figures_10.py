"""Lecture 10's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import numpy as np
import pytest
import torch

from pgcourse import figures_10, plots

F64 = torch.float64


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.5])
@pytest.mark.parametrize("ratio", [0.3, 0.9, 1.1, 1.7])
def test_one_step_of_the_surrogate(advantage, ratio):
    """Its value by cases, its slope by autograd."""
    value, slope = figures_10.surrogate(ratio, advantage, 0.2)
    bound = min(ratio, 1.2) if advantage > 0 else max(ratio, 0.8)
    assert value == pytest.approx(bound * advantage)
    r = torch.tensor(ratio, dtype=F64, requires_grad=True)
    torch.minimum(r * advantage, r.clamp(0.8, 1.2) * advantage).backward()
    assert slope == pytest.approx(r.grad.item())


def test_the_first_step_on_a_batch_is_a_step_of_the_policy_gradient():
    """By autograd on the same draws; and with the first ratio at 1, clipped and not clipped begin alike."""
    plain, promised = figures_10.one_batch(None, 16, 0.5)
    clipped, _ = figures_10.one_batch(0.2, 16, 0.5)
    pay = torch.from_numpy(figures_10.PAY)
    old = torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], dtype=F64)
    assert plain[:, 0] == pytest.approx(np.full(figures_10.BATCHES, (old @ pay).item()))
    random = np.random.default_rng(0)
    arm = torch.from_numpy(random.choice(6, size=(figures_10.BATCHES, 16), p=old.numpy()))
    advantage = pay[arm] + torch.from_numpy(random.standard_normal(arm.shape)) - old @ pay
    logits = old.log().expand(figures_10.BATCHES, 6).clone().requires_grad_()
    (logits.log_softmax(-1).gather(1, arm) * advantage).mean(1).sum().backward()
    stepped = (logits + figures_10.STEP * logits.grad).softmax(-1)
    assert plain[:, 1] == pytest.approx((stepped @ pay).detach().numpy())
    assert clipped[:, 1] == pytest.approx(plain[:, 1])
    assert promised[:, 0] == pytest.approx((old @ pay + advantage.mean(1)).numpy())


def test_what_the_lecture_says_of_the_bandit():
    """From few pulls: the plain surrogate promises ever more, rises, then falls below the clipped one, which does not fall."""
    plain, promised = (each.mean(0) for each in figures_10.one_batch(None, 24, 0.7))
    clipped = figures_10.one_batch(0.2, 24, 0.7)[0].mean(0)
    assert (np.diff(promised) > 0).all()
    assert plain.max() > plain[0] + 0.02
    assert plain[-1] < plain.max() - 0.02
    assert clipped[-1] > plain[-1]
    assert clipped[-1] > clipped.max() - 0.005
    many = figures_10.one_batch(None, 256, 0.7)[0].mean(0)
    assert many[-1] > figures_10.one_batch(0.2, 256, 0.7)[0].mean(0)[-1]  # what caution costs where the batch is large


@pytest.mark.parametrize("ratio", [0.1, 1.0, 1.9])
@pytest.mark.parametrize(("clip", "pulls", "best"), [(0.05, 8, 0.2), (0.5, 256, 0.9)])
def test_claim_draws(ratio, clip, pulls, best):
    figure, axes = plots.figure(columns=2)
    figures_10.claim(axes, ratio, clip, pulls, best)
    assert plots.svg(figure).startswith(b"<?xml")


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=2)
    log_ratio = torch.tensor([-3.0, -0.1, 0.0, 0.1, 2.0])
    figures_10.ratios(axes[0], {"clipped": (log_ratio, "score_function"), "not": (log_ratio, "biased")}, 0.2)
    heights = sum(patch.get_height() for patch in axes[0].patches[:75])
    assert heights == pytest.approx(100)  # per cent, the farthest ones too
    figures_10.intervals(axes[1], {"PPO": np.array([1.0, 2.0, 3.0]), "without": np.array([0.0, 0.5, 1.0])}, "PPO")
    assert [text.get_text() for text in axes[1].get_yticklabels()] == ["PPO", "without"]
    assert plots.svg(figure).startswith(b"<?xml")
