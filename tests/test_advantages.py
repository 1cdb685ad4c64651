"""Every advantage estimator against the exact advantage: its bias and its variance, with a critic that is right and one that is
not; the ends of GAE; what terminations and truncations do to the values that are learned."""

import itertools
from dataclasses import replace

import pytest
import torch

from pgcourse import exact, policies, returns
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

D = torch.float64
DISCOUNT = 0.9
MDP = tabular.random_mdp(4, 2, seed=5, time_limit=None)
"""Four states, one of them terminal."""
PI = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]], dtype=D)
ERROR = torch.tensor([0.6, -0.8, 1.1, 0.4], dtype=D)
"""Of a wrong critic, by state."""


def acting(table, rng):
    """A policy that follows a table of probabilities [S, A]."""
    policy = policies.Categorical(rng, *table.shape, hidden=())
    policy.body.weights[0].data[:] = table.log()
    return policy


def critic(wrong):
    return exact.state_value(MDP, PI, DISCOUNT) + wrong * ERROR * ~MDP.terminal


def estimates(batch, value, discount, estimator):
    """One of the estimators, [R, T, E], on what a rollout saw."""
    now, following = ((o * value).sum(-1) for o in (batch.observation, batch.next_observation))
    ends = (batch.terminated, batch.truncated)
    kind, amount = estimator
    if kind == "td":
        return returns.td_error(batch.reward, now, following, discount, batch.terminated)
    if kind == "n":
        return returns.n_step(batch.reward, following, discount, amount, *ends) - now
    if kind == "lambda":
        return returns.lambda_return(batch.reward, now, following, discount, amount, *ends) - now
    return returns.gae(batch.reward, now, following, discount, amount, *ends)


ESTIMATORS = [("td", 0), ("n", 1), ("n", 2), ("n", 5), ("n", 60), ("gae", 0.0), ("gae", 0.6), ("gae", 1.0), ("lambda", 0.6)]
STEPS, START = 60, 20_000


@pytest.fixture(scope="module")
def batch():
    """Many first steps in every state, each followed by enough (an episode lasts 3 steps on average)."""
    assert MDP.terminal.sum() == 1
    start = (~MDP.terminal).to(D)
    mdp = replace(MDP, initial_probability=start / start.sum())
    rng = Rng([0], dtype=D)
    return rollout(mdp, acting(PI, rng), rng, STEPS, START)[0]


def moments(estimator, value):
    """Its exact mean and variance [S, A]."""
    kind, amount = estimator
    if kind in ("td", "n"):
        return exact.advantage_estimate(MDP, PI, value, DISCOUNT, steps=1 if kind == "td" else amount)
    return exact.advantage_estimate(MDP, PI, value, DISCOUNT, amount)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("wrong", [False, True])
def test_mean_and_variance_are_the_exact_ones(batch, estimator, wrong):
    """First steps only, so all samples are independent: a z-test of the mean and of the variance in each of the six (s, a).

    18 tests of 12 numbers, |z| < 5.5: a false alarm once in 120,000 seeds.
    """
    value = critic(wrong)
    first = estimates(batch, value, DISCOUNT, estimator)[0, 0]
    state, action = batch.observation[0, 0].argmax(-1), batch.action[0, 0]
    mean, variance = moments(estimator, value)
    for s in range(4):
        if MDP.terminal[s]:
            continue
        for a in range(2):
            x = first[(state == s) & (action == a)]
            assert len(x) > 1000
            squares = (x - mean[s, a]).square()
            assert abs(x.mean() - mean[s, a]) < 5.5 * x.std() / len(x) ** 0.5
            assert abs(squares.mean() - variance[s, a]) < 5.5 * squares.std() / len(x) ** 0.5 + 1e-12


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_with_the_true_values_every_one_is_unbiased(estimator):
    mean, _ = moments(estimator, critic(False))
    torch.testing.assert_close(mean, exact.advantage(MDP, PI, DISCOUNT))


def test_with_a_wrong_critic_the_bias_is_what_the_lecture_says():
    """n steps: discount^n E[error(s_n)] - error(s). To the end: minus error(s), the same for every action."""
    advantage, error = exact.advantage(MDP, PI, DISCOUNT), ERROR * ~MDP.terminal
    moves = torch.einsum("sa,sak->sk", PI, MDP.transition)
    reached = torch.einsum("sak,k->sa", MDP.transition, error)  # E[error(s_1) | s, a]
    for n in range(1, 6):
        mean, _ = exact.advantage_estimate(MDP, PI, critic(True), DISCOUNT, steps=n)
        ahead = error
        for _ in range(n - 1):
            ahead = moves @ ahead
        reached = torch.einsum("sak,k->sa", MDP.transition, ahead)
        torch.testing.assert_close(mean - advantage, DISCOUNT**n * reached - error[:, None])
    mean, _ = exact.advantage_estimate(MDP, PI, critic(True), DISCOUNT)
    torch.testing.assert_close(mean - advantage, -error[:, None].expand(-1, 2))


def test_the_exact_moments_of_gae_mix_those_of_n_steps():
    """The mean of GAE is (1 - lambda) sum_n lambda^(n-1) times the means of the n-step estimates."""
    value, mixture = critic(True), torch.zeros(4, 2, dtype=D)
    for n in range(1, 70):
        mixture += 0.4 * 0.6 ** (n - 1) * exact.advantage_estimate(MDP, PI, value, DISCOUNT, steps=n)[0]
    torch.testing.assert_close(exact.advantage_estimate(MDP, PI, value, DISCOUNT, 0.6)[0], mixture)
    for trace_decay in (0.0, 0.6, 1.0):
        long = exact.advantage_estimate(MDP, PI, value, DISCOUNT, trace_decay, steps=400)
        torch.testing.assert_close(exact.advantage_estimate(MDP, PI, value, DISCOUNT, trace_decay), long)


def test_more_rewards_trade_bias_for_variance():
    """A wrong critic: the bias that depends on the action falls with lambda. The true one: the variance rises, since errors of
    different steps are then uncorrelated."""
    advantage, running = exact.advantage(MDP, PI, DISCOUNT), ~MDP.terminal
    biases, variances = [], []
    for trace_decay in (0.0, 0.5, 0.9, 1.0):
        bias = exact.advantage_estimate(MDP, PI, critic(True), DISCOUNT, trace_decay)[0] - advantage
        biases.append((bias - (PI * bias).sum(-1, keepdim=True))[running].square().sum().item())
        variances.append(exact.advantage_estimate(MDP, PI, critic(False), DISCOUNT, trace_decay)[1][running])
    assert biases == sorted(biases, reverse=True)
    assert biases[-1] < 1e-20
    assert all((small < large).all() for small, large in itertools.pairwise(variances))


def test_replicas_are_apart_in_the_exact_moments():
    values = torch.stack((critic(False), critic(True)))
    both = exact.advantage_estimate(MDP, PI.expand(2, -1, -1), values, DISCOUNT, 0.7)
    for r in range(2):
        for whole, alone in zip(both, exact.advantage_estimate(MDP, PI, values[r], DISCOUNT, 0.7), strict=True):
            torch.testing.assert_close(whole[r], alone)


def test_what_the_exact_moments_refuse():
    with pytest.raises(ValueError, match="has a time limit"):
        exact.advantage_estimate(replace(MDP, time_limit=5), PI, critic(False), 0.9)
    with pytest.raises(ValueError, match="trace_decay is 2"):
        exact.advantage_estimate(MDP, PI, critic(False), 0.9, 2.0)
    with pytest.raises(ValueError, match="discount is 2"):
        exact.advantage_estimate(MDP, PI, critic(False), 2.0)


def endless(limit):
    """One place, 1 a step, for ever."""
    return tabular.Tabular([[[1.0]]], [[1.0]], [1.0], [False], time_limit=limit)


def fit(batch, trace_decay, ends, rounds=400):
    """The value of the one place that agrees with its own targets, by many rounds of taking their mean."""
    value = torch.zeros((), dtype=D)
    for _ in range(rounds):
        table = value.expand_as(batch.reward)
        target = returns.lambda_return(batch.reward, table, table, DISCOUNT, trace_decay, *ends)
        value = target.mean()
    return value.item()


@pytest.mark.parametrize("trace_decay", [0.0, 0.9, 1.0])
def test_a_truncation_read_as_a_termination_teaches_too_low_a_value(trace_decay):
    """AC01: 1 / (1 - 0.9) = 10 is right. With V = 0 after the cut: the mean over the episode of what is left until then."""
    rng = Rng([0], dtype=D)
    batch, _ = rollout(endless(5), acting(torch.ones(1, 1), rng), rng, 20, 2)
    assert batch.truncated.sum() == 8
    right = fit(batch, trace_decay, (batch.terminated, batch.truncated))
    wrong = fit(batch, trace_decay, (batch.truncated, batch.terminated))
    assert abs(right - 10) < 1e-6
    if trace_decay == 1.0:
        left = torch.arange(1, 6, dtype=D)
        assert abs(wrong - ((1 - DISCOUNT**left) / (1 - DISCOUNT)).mean().item()) < 1e-9
    else:  # V = 1 + 0.9 * 4/5 V for lambda = 0
        assert abs(fit(batch, 0.0, (batch.truncated, batch.terminated)) - 1 / (1 - DISCOUNT * 0.8)) < 1e-9
        assert wrong < 5


def test_nothing_comes_back_over_the_end_of_an_episode():
    """Whatever follows an end, of either kind, estimates before it stay as they are; and an unread next_value too."""
    rng = Rng([1], dtype=D)
    reward, value, following = rng.normal(3, 6, 1)[0]
    for which in ("terminated", "truncated"):
        end = torch.zeros(6, 1, dtype=torch.bool)
        end[2] = True
        no = torch.zeros_like(end)
        ends = (end, no) if which == "terminated" else (no, end)
        other = [x.clone() for x in (reward, value, following)]
        for x in other:
            x[3:] += 100
        if which == "terminated":
            other[2][2] += 100  # V after a termination counts 0, whatever the critic says
        for trace_decay in (0.0, 0.7, 1.0):
            before = returns.gae(reward, value, following, DISCOUNT, trace_decay, *ends)
            after = returns.gae(*other, DISCOUNT, trace_decay, *ends)
            torch.testing.assert_close(before[:3], after[:3])
            assert not torch.allclose(before[3:], after[3:])
        if which == "truncated":
            other[2][2] += 100
            assert not torch.allclose(before[:3], returns.gae(*other, DISCOUNT, 1.0, *ends)[:3])


def test_the_batchs_end_bootstraps_like_a_truncation():
    reward, value, following = Rng([2], dtype=D).normal(3, 5, 2)[0]
    no = torch.zeros(5, 2, dtype=torch.bool)
    last = no.clone()
    last[-1] = True
    for trace_decay in (0.0, 0.5, 1.0):
        arguments = (reward, value, following, DISCOUNT, trace_decay, no)
        torch.testing.assert_close(returns.gae(*arguments, no), returns.gae(*arguments, last))
