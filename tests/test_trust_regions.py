"""The mathematics of lecture 09: Fisher matrices, conjugate gradient, and the bound that trust regions rest on."""

import dataclasses
import math

import pytest
import torch

from pgcourse import distributions, exact, gradients, policies
from pgcourse.envs import tabular
from pgcourse.rng import Rng

D = torch.float64


def shaken(policy, seed=3, scale=0.7):
    """Weights at random, another set for each replica."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return policy


def size(policy):
    return sum(parameter[0].numel() for parameter in policy.parameters())


def as_matrix(product, replicas, count):
    """The matrix that a product multiplies with, column by column."""
    return torch.stack([product(column.expand(replicas, -1)) for column in torch.eye(count, dtype=D)], -1)


# -------------------------------------------------------------------------------------------------------------- Fisher


@pytest.mark.parametrize("time_limit", [None, 6])
def test_explicit_fisher_of_a_table_of_logits(time_limit):
    """Closed form: diag(p) - p p^T for each state, times how often the state occurs."""
    mdp = tabular.random_mdp(4, 3, seed=0, time_limit=time_limit)
    policy = shaken(policies.for_env(mdp, Rng(range(2), dtype=D), hidden=()))
    found = exact.fisher(mdp, policy, 0.9)[:, :12, :12]  # the weights; behind them stand the biases
    p = exact.action_probabilities(mdp, policy).detach()
    visits = exact.visitation(mdp, p, 0.9)
    visits = visits if time_limit is None else visits.sum(1)
    expected = torch.zeros(2, 4, 3, 4, 3, dtype=D)
    for s in range(4):
        share = visits[:, s] / visits.sum(1)
        expected[:, s, :, s] = share[:, None, None] * (torch.diag_embed(p[:, s]) - p[:, s, :, None] * p[:, s, None, :])
    torch.testing.assert_close(found, expected.reshape(2, 12, 12))


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_product_is_the_explicit_fisher_of_an_enumerated_mdp(hidden):
    mdp = tabular.random_mdp(5, 3, seed=1, time_limit=8)
    policy = shaken(policies.for_env(mdp, Rng(range(3), dtype=D), hidden))
    explicit = exact.fisher(mdp, policy, 0.9)
    weight = exact.state_weight(mdp, policy, 0.9).detach()
    product = gradients.fisher_vector_product(policy, mdp.observation.expand(3, -1, -1), weight=weight)
    torch.testing.assert_close(as_matrix(product, 3, size(policy)), explicit)
    assert torch.linalg.eigvalsh(explicit).min() > -1e-12
    assert explicit.abs().max() > 0.01


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_product_is_the_hessian_of_the_mean_kl(kind):
    """One replica's Hessian by autograd, with all parameters in one vector; log_std is among them."""
    rng = Rng(range(2), dtype=D)
    policy = shaken(policies.Categorical(rng, 3, 4, (5,)) if kind == "categorical" else policies.Gaussian(rng, 3, 2, (5,)))
    observation = Rng(range(2), stream=1, dtype=D).normal(6, 4, 3)
    shapes = {name: parameter.shape[1:] for name, parameter in policy.named_parameters()}

    def divergence(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        one = {name: part.reshape(1, *shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        fixed = torch.func.functional_call(policy, {k: v.detach() for k, v in one.items()}, (observation[1:],))
        return fixed.kl(torch.func.functional_call(policy, one, (observation[1:],))).mean()

    flat = torch.cat([parameter[1].detach().flatten() for parameter in policy.parameters()])
    hessian = torch.autograd.functional.hessian(divergence, flat)
    found = as_matrix(gradients.fisher_vector_product(policy, observation), 2, size(policy))[1]
    torch.testing.assert_close(found, hessian)
    if kind == "gaussian":  # closed form: the Fisher information of log_std is 2, and nothing goes together with it
        place = [name for name in shapes for _ in range(shapes[name].numel())]
        std = torch.tensor([name == "log_std" for name in place])
        torch.testing.assert_close(found[std][:, std], 2 * torch.eye(2, dtype=D))
        assert found[std][:, ~std].abs().max() < 1e-12


def test_half_the_quadratic_form_is_the_kl_of_a_small_step():
    """Finite differences in float64: KL(theta || theta + h v) / h^2 -> v^T F v / 2, with an error of order h."""
    policy = shaken(policies.Categorical(Rng(range(3), dtype=D), 3, 4, (5,)))
    observation, v = Rng(range(3), stream=1, dtype=D).normal(40, 3), Rng(range(3), stream=2, dtype=D).normal(size(policy))
    half = 0.5 * (v * gradients.fisher_vector_product(policy, observation)(v)).sum(1)
    errors = []
    for h in (1e-3, 1e-4):
        moved = policies.Categorical(Rng(range(3), dtype=D), 3, 4, (5,))
        moved.load_state_dict(policy.state_dict())
        with torch.no_grad():
            parts = v.split([parameter[0].numel() for parameter in moved.parameters()], 1)
            for parameter, part in zip(moved.parameters(), parts, strict=True):
                parameter.add_(part.reshape(parameter.shape), alpha=h)
            kl = policy(observation).kl(moved(observation)).mean(1)
        errors.append((kl / h**2 / half - 1).abs().max().item())
    assert errors[0] < 0.05
    assert errors[1] < 0.2 * errors[0]


def test_the_product_is_the_variance_of_the_score():
    """z-test: v^T F v against the mean of (v . score)^2 over 20,000 samples. |z| > 5: false alarms below 1e-6."""
    policy = shaken(policies.Gaussian(Rng(0, dtype=D), 2, 2, (3,)))
    observation = torch.tensor([[[0.3, -1.0]]], dtype=D)
    v = Rng(0, stream=2, dtype=D).normal(size(policy))
    quadratic = (v * gradients.fisher_vector_product(policy, observation)(v)).sum()
    law = policy(observation)
    noise = Rng(0, stream=3, dtype=D).normal(20_000, 2)
    actions = law.sample(noise)  # [1, N, 2]
    # v . score is linear in the law's own scores: the chain rule once for each of its four parameters
    outputs = torch.cat([law.mean.flatten(), law.log_std.flatten()])
    parameters = list(policy.parameters())
    rows = [torch.autograd.grad(o, parameters, retain_graph=True, allow_unused=True, materialize_grads=True) for o in outputs]
    along = torch.stack([sum((g.flatten() * p).sum() for g, p in _pairs(row, v[0])) for row in rows])
    z = (actions - law.mean) / law.std
    scores = torch.cat([z / law.std, z.square() - 1], -1).detach()[0]  # [N, 4]
    squares = (scores @ along).square()
    assert abs((squares.mean() - quadratic) / (squares.std() / 20_000**0.5)) < 5
    assert quadratic > 20 * squares.std() / 20_000**0.5


def _pairs(row, v):
    return zip(row, v.split([part[0].numel() for part in row]), strict=True)


def test_damping_adds_to_the_diagonal_and_replicas_stay_apart():
    policy = shaken(policies.Categorical(Rng(range(3), dtype=D), 3, 4, (5,)))
    observation, v = Rng(range(3), stream=1, dtype=D).normal(40, 3), Rng(range(3), stream=2, dtype=D).normal(size(policy))
    plain = gradients.fisher_vector_product(policy, observation)(v)
    torch.testing.assert_close(gradients.fisher_vector_product(policy, observation, 0.3)(v), plain + 0.3 * v)
    observation[1], v[1] = torch.nan, torch.nan
    found = gradients.fisher_vector_product(policy, observation)(v)
    assert torch.equal(found[[0, 2]], plain[[0, 2]])
    assert found[1].isnan().any()


def test_what_has_no_fisher_matrix_is_refused():
    policy = policies.Deterministic(Rng(0), 2, 1)
    with pytest.raises(TypeError, match="Deterministic has no kl"):
        gradients.fisher_vector_product(policy, torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"damping is -0\.1"):
        gradients.fisher_vector_product(policies.Categorical(Rng(0), 2, 3), torch.zeros(1, 3, 2), -0.1)


# -------------------------------------------------------------------------------------------------- conjugate gradient


def systems(replicas=5, count=12, spread=100.0):
    """Symmetric positive definite matrices with eigenvalues from 1 to ``spread``, and right-hand sides."""
    rng = Rng(range(replicas), dtype=D)
    q = torch.linalg.qr(rng.normal(count, count)).Q
    values = torch.logspace(0, math.log10(spread), count, dtype=D)
    return q * values @ q.mT, rng.normal(count)


def multiply(matrix):
    return lambda v: torch.einsum("rij,rj->ri", matrix, v)


def test_conjugate_gradient_solves():
    matrix, target = systems()
    x = gradients.conjugate_gradient(multiply(matrix), target, iterations=40, tolerance=1e-12)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, target), rtol=1e-9, atol=1e-9)


def test_as_many_iterations_as_there_are_different_eigenvalues():
    _, target = systems(count=9)
    values = torch.tensor([1.0, 4.0, 30.0], dtype=D).repeat(3)
    matrix = torch.diag(values).expand(5, -1, -1)
    errors = [(gradients.conjugate_gradient(multiply(matrix), target, k) - target / values).norm().item() for k in (2, 3)]
    assert errors[0] > 1e-3
    assert errors[1] < 1e-12


def test_every_iteration_comes_nearer_in_the_norm_of_the_matrix():
    matrix, target = systems()
    solution = torch.linalg.solve(matrix, target)
    distance = []
    for k in range(1, 13):
        miss = gradients.conjugate_gradient(multiply(matrix), target, k, tolerance=0.0) - solution
        distance.append((miss * multiply(matrix)(miss)).sum(1))
    assert (torch.stack(distance).diff(dim=0) <= 0).all()


def test_a_replica_that_has_converged_stops_and_the_others_go_on():
    matrix, target = systems()
    matrix[2] = 3 * torch.eye(12, dtype=D)  # one iteration is enough for it
    path = [gradients.conjugate_gradient(multiply(matrix), target, k, tolerance=1e-9) for k in (1, 2, 30)]
    assert torch.equal(path[0][2], path[1][2])
    assert torch.equal(path[0][2], path[2][2])
    assert not torch.equal(path[1][0], path[2][0])
    alone = gradients.conjugate_gradient(multiply(matrix[3:4]), target[3:4], 30, tolerance=1e-9)
    torch.testing.assert_close(alone[0], path[2][3])


def test_a_replica_that_cannot_go_on_stays_and_the_others_do_not_notice():
    matrix, target = systems()
    matrix[1], matrix[2], matrix[3] = torch.nan, -torch.eye(12, dtype=D), 0
    target[4] = 0
    x = gradients.conjugate_gradient(multiply(matrix), target, 40, tolerance=1e-12)
    assert torch.equal(x[1:], torch.zeros_like(x[1:]))
    torch.testing.assert_close(x[0], torch.linalg.solve(matrix[0], target[0]))


def test_float32_does_not_run_away_after_convergence():
    matrix, target = systems(spread=3.0)
    matrix, target = matrix.float(), target.float()
    x = gradients.conjugate_gradient(multiply(matrix), target, 500, tolerance=0.0)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, target), rtol=1e-3, atol=1e-4)


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="iterations is 0"):
        gradients.conjugate_gradient(lambda v: v, torch.ones(1, 2), 0)


# ----------------------------------------------------------------------------------------------- the bound (9.1) - (9.6)

DISCOUNT = 0.9


def problems():
    """A random MDP without a time limit, 300 old policies and 300 new ones, from hardly moved to unrelated."""
    mdp = tabular.random_mdp(5, 3, seed=2, time_limit=None)
    generator = torch.Generator().manual_seed(0)
    old, direction = (2 * torch.randn(300, 5, 3, generator=generator, dtype=D) for _ in range(2))
    far = torch.logspace(-3, 0, 300, dtype=D)[:, None, None]
    return mdp, old.softmax(-1), (old + far * direction).softmax(-1)


def surrogate(mdp, old, new):
    """sum_s d_old(s) sum_a new(a | s) A_old(s, a)"""
    return (exact.visitation(mdp, old, DISCOUNT) * (new * exact.advantage(mdp, old, DISCOUNT)).sum(-1)).sum(-1)


def kl(old, new):
    return distributions.Categorical(old.log()).kl(distributions.Categorical(new.log()))


def gap(mdp, old, new):
    return exact.expected_return(mdp, new, DISCOUNT) - exact.expected_return(mdp, old, DISCOUNT)


def coefficient(mdp, old):
    """C = 4 discount max|A| / (1 - discount)^2; Schulman et al. (2015), theorem 1."""
    return 4 * DISCOUNT * exact.advantage(mdp, old, DISCOUNT).abs().amax((-1, -2)) / (1 - DISCOUNT) ** 2


def test_the_performance_difference_lemma():
    mdp, old, new = problems()
    elsewhere = exact.visitation(mdp, new, DISCOUNT) * (new * exact.advantage(mdp, old, DISCOUNT)).sum(-1)
    torch.testing.assert_close(elsewhere.sum(-1), gap(mdp, old, new), rtol=1e-9, atol=1e-9)
    assert gap(mdp, old, new).abs().max() > 0.1


def test_the_surrogate_has_the_value_and_the_gradient_of_the_truth():
    mdp, old, _ = problems()
    logits = old.log().requires_grad_()
    truth = torch.autograd.grad(gap(mdp, old, logits.softmax(-1)).sum(), logits)[0]
    found = torch.autograd.grad(surrogate(mdp, old, logits.softmax(-1)).sum(), logits)[0]
    torch.testing.assert_close(found, truth)
    assert surrogate(mdp, old, old).abs().max() < 1e-12


def test_the_bound_holds_and_the_surrogate_alone_does_not():
    mdp, old, new = problems()
    bound = surrogate(mdp, old, new) - coefficient(mdp, old) * kl(old, new).amax(-1)
    assert (gap(mdp, old, new) >= bound).all()
    assert (gap(mdp, old, new) < surrogate(mdp, old, new) - 0.01).any()


def falls(penalty, mdp):
    """The smallest change of J in 30 updates of 20 policies, each along the gradient, to the best of 60 lengths by
    surrogate - penalty C max KL. States that look alike share a row of logits."""
    look = mdp.observation.argmax(-1)

    def act(theta):  # [..., looks, A] -> [..., S, A]
        return theta[..., look, :].softmax(-1)

    def objective(old, new):
        return surrogate(mdp, old, new) - penalty * coefficient(mdp, old) * kl(old.expand_as(new), new).amax(-1)

    shape = (20, mdp.observation.shape[1], mdp.transition.shape[1])
    theta = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=D)
    lengths = torch.cat([torch.zeros(1, dtype=D), torch.logspace(-6, 2, 60, dtype=D)])[:, None, None, None]
    changes = []
    for _ in range(30):
        at, old = theta.clone().requires_grad_(), act(theta)
        direction = torch.autograd.grad(surrogate(mdp, old, act(at)).sum(), at)[0]
        candidates = (theta + lengths * direction).clamp(-8, 8)
        theta = candidates[objective(old, act(candidates)).argmax(0), torch.arange(20)]
        changes.append(gap(mdp, old, act(theta)))
    changes = torch.stack(changes)
    assert changes.max() > 1e-4  # it does climb
    return changes.min()


def test_climbing_the_bound_never_falls_and_climbing_the_surrogate_does():
    """With a row for each state the surrogate's best is policy iteration, which cannot fall either. Where states share their
    parameters it can, and in the aliased gridworld it does."""
    aliased = tabular.aliased_gridworld(time_limit=None)
    assert falls(1.0, aliased) >= -1e-12
    assert falls(0.0, dataclasses.replace(aliased, observation=torch.eye(8, dtype=D))) >= -1e-3
    assert falls(0.0, aliased) < -0.1
