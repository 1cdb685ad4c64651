import pytest
import torch

from pgcourse import exact, gradients, policies
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
def test_reinforce_is_unbiased(discount, causal):
    """z-test of every coordinate against the exact gradient over 4,000 batches of 8 episodes.

    The replica axis carries the batches: one policy, copied. False-alarm rate 1e-6 over all coordinates of the six cases:
    P(|z| > 6) = 2e-9 each, at most 6 * 18 of them, with room for the t-distribution and the skewness of the estimates.
    """
    mdp = tabular.random_mdp(4, 2, seed=1, time_limit=5)
    draws = 4000
    rng = Rng(range(draws), stream=int(discount * 10), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    with torch.no_grad():
        for parameter in policy.parameters():
            one = 0.7 * torch.randn(parameter.shape[1:], generator=torch.Generator().manual_seed(3), dtype=D)
            parameter.copy_(one.expand_as(parameter))
    estimates = gradients.score_function(policy, episodes(mdp, policy, rng, 8), discount, causal)
    truth = exact.policy_gradient(mdp, policy, discount)[0]
    accuracy = gradients.bias_and_variance(estimates, truth)
    assert accuracy.z.abs().max() < 6
    # the test can fail: dropping the discount's power is a bias it sees
    if discount < 1 and causal:
        assert truth.abs().max() > 20 * accuracy.standard_error.max()


def test_dropping_the_power_of_the_discount_is_biased_and_seen():
    mdp = tabular.random_mdp(4, 2, seed=1, time_limit=5)
    rng = Rng(range(4000), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    batch = episodes(mdp, policy, rng, 8)
    from pgcourse import returns

    log_probability = policy(batch.observation).log_prob(batch.action)
    weight = returns.to_go(batch.reward, 0.5, valid=batch.valid)
    estimates = gradients.per_replica(gradients.score_surrogate(log_probability, weight, batch.valid), policy)
    assert gradients.bias_and_variance(estimates, exact.policy_gradient(mdp, policy, 0.5)[0]).z.abs().max() > 8


def test_surrogate_by_hand():
    log_probability = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.tensor([[10.0, 20.0], [30.0, 40.0]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False]])
    surrogate = gradients.score_surrogate(log_probability, weight, valid)
    assert surrogate.item() == (1 * 10 + 3 * 30 + 2 * 20) / 2  # sum over time, mean over the two episodes
    surrogate.backward()
    assert log_probability.grad.tolist() == [[5.0, 10.0], [15.0, 0.0]]
    assert weight.grad is None


def test_padding_that_is_not_finite_does_not_reach_the_gradient():
    log_probability = torch.tensor([[1.0], [torch.inf]], requires_grad=True)
    valid = torch.tensor([[True], [False]])
    gradients.score_surrogate(log_probability, torch.ones(2, 1), valid).backward()
    assert log_probability.grad.tolist() == [[1.0], [0.0]]


def test_bias_and_variance_by_hand():
    accuracy = gradients.bias_and_variance(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([1.0, 0.0]))
    assert accuracy.bias.tolist() == [1.0, 0.0]
    assert accuracy.variance.tolist() == [2.0, 0.0]
    assert accuracy.standard_error.tolist() == [1.0, 0.0]
    assert accuracy.z.tolist() == [1.0, 0.0]


def test_one_estimate_has_no_variance():
    with pytest.raises(ValueError, match="at least 2"):
        gradients.bias_and_variance(torch.zeros(1, 3), torch.zeros(3))
