"""One table of examples feeds the generic tests; torch.distributions is the reference."""

import math

import pytest
import torch
from torch import distributions as reference

from pgcourse.distributions import Bernoulli, Categorical, Deterministic, MultivariateNormal, Normal, stack
from pgcourse.rng import Noise, Rng

D = torch.float64
MEAN = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, -0.2]], dtype=D)
LOG_STD = torch.tensor([[0.1, -0.5, 0.0], [0.7, -1.0, 0.2]], dtype=D)
LOGITS = torch.tensor([[0.0, 1.0, -2.0, 0.5], [3.0, 3.0, 0.0, -1.0]], dtype=D)

EXAMPLES = [
    (Normal(MEAN, LOG_STD), reference.Independent(reference.Normal(MEAN, LOG_STD.exp()), 1)),
    (Categorical(LOGITS), reference.Categorical(logits=LOGITS)),
]
OTHERS = [
    (Normal(MEAN + 0.5, LOG_STD - 0.3), reference.Independent(reference.Normal(MEAN + 0.5, (LOG_STD - 0.3).exp()), 1)),
    (Categorical(LOGITS.flip(-1)), reference.Categorical(logits=LOGITS.flip(-1))),
]
both = pytest.mark.parametrize(("ours", "theirs"), EXAMPLES, ids=["Normal", "Categorical"])


def draw(law, n):
    event = (3,) if isinstance(law, Normal) else ()
    noise = Rng([11], dtype=D).draw(Noise(law.noise_kind, event), n, 2)[0]
    return law.sample(noise)


@both
def test_log_probability_and_entropy(ours, theirs):
    value = draw(ours, 5)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())


@pytest.mark.parametrize("which", [0, 1], ids=["Normal", "Categorical"])
def test_kl_both_directions_and_to_itself(which):
    (p, p_reference), (q, q_reference) = EXAMPLES[which], OTHERS[which]
    torch.testing.assert_close(p.kl(q), reference.kl_divergence(p_reference, q_reference))
    torch.testing.assert_close(q.kl(p), reference.kl_divergence(q_reference, p_reference))
    assert p.kl(p).abs().max() < 1e-12


def test_categorical_frequencies():
    """Chi-square of 50,000 draws against 8 probabilities in two rows; false-alarm rate 1e-6 (6 degrees of freedom: 38.3)."""
    law = EXAMPLES[1][0]
    n = 50_000
    counts = torch.nn.functional.one_hot(draw(law, n), 4).sum(0)
    expected = n * law.probabilities
    assert ((counts - expected) ** 2 / expected).sum() < 38.3


def test_categorical_at_the_edges_of_the_noise():
    law = Categorical(torch.tensor([[0.0, 0.0, -math.inf]]))
    noise = torch.tensor([[0.0], [0.4999], [0.5], [1 - 2**-24]])
    assert law.sample(noise).flatten().tolist() == [0, 0, 1, 1]  # the impossible outcome never comes


def test_normal_moments():
    """Mean and variance of 100,000 draws within 5.5 standard errors: false-alarm rate 5e-7 over 12 numbers."""
    law, n = EXAMPLES[0][0], 100_000
    z = (draw(law, n) - law.mean) / law.std
    assert z.mean(0).abs().max() < 5.5 / n**0.5
    assert (z.var(0) - 1).abs().max() < 5.5 * (2 / n) ** 0.5


def test_rsample_carries_the_gradient_and_sample_does_not():
    mean = MEAN.clone().requires_grad_()
    law = Normal(mean, LOG_STD)
    noise = torch.ones_like(mean)
    assert not law.sample(noise).requires_grad
    law.rsample(noise).sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))


def test_log_probability_broadcasts_over_actions():
    table = Categorical(LOGITS.log_softmax(-1)).log_prob(torch.arange(4)[:, None].expand(4, 2))
    torch.testing.assert_close(table.T, LOGITS.log_softmax(-1))


def test_deterministic():
    law = Deterministic(MEAN)
    assert torch.equal(law.sample(), MEAN)
    assert torch.equal(law.log_prob(MEAN), torch.zeros(2, dtype=D))
    assert torch.equal(law.log_prob(MEAN + 1), torch.full((2,), -math.inf, dtype=D))


@both
def test_stack_is_one_distribution_of_all(ours, theirs):
    many = stack([ours, ours], 1)
    value = draw(ours, 1)[0]
    torch.testing.assert_close(many.log_prob(torch.stack([value, value], 1))[:, 1], ours.log_prob(value))


FACTOR = torch.tensor([[1.2, 0.0, 0.0], [-0.7, 0.4, 0.0], [0.3, 1.1, 0.9]], dtype=D)


def test_multivariate_normal_is_torchs():
    ours, theirs = MultivariateNormal(MEAN, FACTOR), reference.MultivariateNormal(MEAN, scale_tril=FACTOR)
    value = Rng(0, dtype=D).normal(5, 2, 3)[0]
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy().expand(2), theirs.entropy())
    torch.testing.assert_close(ours.covariance, theirs.covariance_matrix[0])
    assert torch.equal(ours.mode, MEAN)


def test_multivariate_normal_sends_noise_through_its_factor():
    ours = MultivariateNormal(torch.zeros(3, dtype=D), FACTOR)
    columns = ours.rsample(torch.eye(3, dtype=D))  # one unit of noise after the other
    torch.testing.assert_close(columns.mT, FACTOR)
    junk = MultivariateNormal(torch.zeros(3, dtype=D), FACTOR + torch.ones(3, 3, dtype=D).triu(1))
    assert torch.equal(junk.rsample(torch.eye(3, dtype=D)), columns)


def test_bernoulli_is_torchs():
    logits = LOGITS.clone()
    ours, theirs = Bernoulli(logits), reference.Independent(reference.Bernoulli(logits=logits), 1)
    value = ours.sample(Rng(0, dtype=D).uniform(7, 2, 4)[0])
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert ours.mode.tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]


def test_bernoulli_frequencies():
    """100,000 draws of eight coins, each within 5.5 standard errors: false-alarm rate 3e-7."""
    law, n = Bernoulli(LOGITS), 100_000
    p = law.probabilities
    share = law.sample(Rng(0, dtype=D).uniform(n, 2, 4)[0]).mean(0)
    assert ((share - p).abs() < 5.5 * (p * (1 - p) / n).sqrt()).all()


def test_of_two_outcomes_the_first_is_drawn_below_its_probability():
    logits = torch.tensor([0.3, -1.1], dtype=torch.float64)
    probability = logits.softmax(-1)[0]
    noise = torch.stack((probability * 0, probability - 1e-9, probability + 1e-9, probability * 0 + 1 - 1e-16))
    assert Categorical(logits.expand(4, 2)).sample(noise).tolist() == [0, 0, 1, 1]
