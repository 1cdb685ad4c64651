"""The recipe of lecture 06: its weights by hand, its gradient, and that it learns."""

import pytest
import torch

from pgcourse import envs, nn, policies
from pgcourse.algorithms import pong
from pgcourse.envs.pong import Pong
from pgcourse.rng import Rng

D = torch.float64


def column(*numbers):
    return torch.tensor(numbers, dtype=D)[:, None]


def test_weights_begin_anew_at_each_point():
    """One game of six steps: a point won at step 1, one lost at step 4, the last one open."""
    reward = column(0, 1, 0, 0, -1, 0)
    weight, decided = pong.weights(reward, torch.zeros_like(reward, dtype=torch.bool), 0.5)
    assert decided[:, 0].tolist() == [True] * 5 + [False]
    raw = torch.tensor([0.5, 1, -0.25, -0.5, -1], dtype=D)
    expected = (raw - raw.mean()) / raw.std(correction=0)
    torch.testing.assert_close(weight[:5, 0], expected, rtol=1e-6, atol=1e-6)


def test_weights_stop_at_the_end_of_a_game_too():
    reward, done = column(0, 0, 0, 1), column(0, 1, 0, 0).bool()
    weight, decided = pong.weights(reward, done, 0.5)
    assert decided.all()
    raw = torch.tensor([0, 0, 0.5, 1], dtype=D)
    torch.testing.assert_close(weight[:, 0], (raw - raw.mean()) / raw.std(correction=0), rtol=1e-6, atol=1e-6)


def test_weights_are_standardised_over_time_and_games_never_over_replicas():
    rng = Rng(range(3), dtype=D)
    reward = (rng.uniform(40, 5) < 0.1).to(D) - (rng.uniform(40, 5) < 0.1).to(D)
    done = torch.zeros_like(reward, dtype=torch.bool)
    weight, decided = pong.weights(reward, done, 0.9)
    for r in range(3):
        kept = weight[r][decided[r]]
        assert kept.mean().abs() < 1e-9
        assert kept.std(correction=0) == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(pong.weights(reward[r], done[r], 0.9)[0], weight[r])


def test_a_batch_without_a_point_moves_nothing():
    reward = torch.zeros(4, 2, dtype=D)
    weight, decided = pong.weights(reward, reward.bool(), 0.9)
    assert not decided.any()
    log_probability = torch.full((4, 2), -0.7, dtype=D, requires_grad=True)
    pong.loss(log_probability, weight, decided).backward()
    assert not log_probability.grad.any()


def test_the_gradient_is_weight_times_score():
    """(6.3), step by step through a sigmoid: the loss of logits z moves them by -A (a - p) / n."""
    z = torch.tensor([[0.3, -1.0], [0.2, 0.5]], dtype=D, requires_grad=True)
    action, weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=D), torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=D)
    decided = torch.tensor([[True, True], [True, False]])
    log_probability = action * torch.nn.functional.logsigmoid(z) + (1 - action) * torch.nn.functional.logsigmoid(-z)
    pong.loss(log_probability, weight, decided).backward()
    torch.testing.assert_close(z.grad, -weight * (action - z.detach().sigmoid()) * decided / 3)


def test_impossible_settings():
    for settings, words in (
        ({"steps": 0}, "steps is 0"),
        ({"step_size": 0.0}, "step_size is 0.0"),
        ({"discount": 1.5}, r"must lie in \[0, 1\]"),
        ({"network": "deep"}, "'dense' or 'convolutional'"),
    ):
        with pytest.raises(ValueError, match=words):
            pong.Config(**settings)
    with pytest.raises(TypeError, match="not seen as a list of pixels"):
        pong.train(envs.make("CartPole-v1"), pong.Config(), Rng(0))


def test_a_replica_that_diverges_stops_alone():
    def broken(log_probability, weight, decided):
        losses = pong.loss(log_probability, weight, decided)
        return losses * torch.where((weight[:3] > 0).sum() > 8, torch.nan, 1.0)

    config = pong.Config(environments=4, steps=30, iterations=1, hidden=6)
    with pytest.warns(RuntimeWarning, match="stopped at iteration"):
        policy, history = pong.train(Pong(), config, Rng(range(6)), loss=nn.lift(broken))
    assert 0 < len(history.stopped) < 6
    assert all(parameter.isfinite().all() and len(parameter) == 6 for parameter in policy.parameters())


@pytest.mark.parametrize("network", ["dense", pytest.param("convolutional", marks=pytest.mark.full)])
def test_it_learns_to_return_the_ball(network):
    """In ten updates of four replicas 22,000 points are decided, in the first five half of that: by chance their means differ
    with a standard deviation of 0.013 at most. Five of these come by chance once in three million runs."""
    config = pong.Config(environments=64, iterations=60, network=network)
    _, history = pong.train(Pong(), config, Rng(range(4)))
    first, last = history.metrics["return"][:, :5].mean(), history.window("return", 10)[:, -1].mean()
    assert last - first > 5 * 0.013


def test_a_policy_s_parameters():
    """The lecture's count, and what the library keeps: two logits for one sigmoid, and a row for none."""
    policy = policies.Pixels(Rng(range(2)), 6400, 2)
    assert sum(p[0].numel() for p in policy.parameters()) == 6401 * 200 + 200 + 2 * 200 + 2
