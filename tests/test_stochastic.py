"""Graphs: every estimator against enumeration, alone and in chains; causal costs, plates, derivatives of higher order.

z-tests: |z| < 6 has a false-alarm probability of 2e-9 a coordinate; fewer than 1000 coordinates are tested here, seeds are
fixed, and so right code would fail with probability below 2e-6 had they been drawn anew.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from pgcourse import exact, figures_13, returns, stochastic
from pgcourse import relaxations as rx
from pgcourse.distributions import Bernoulli, Categorical, Deterministic, MultivariateNormal, Normal
from pgcourse.envs.tabular import gridworld, two_step
from pgcourse.relaxations import OneHot
from pgcourse.rng import Rng
from pgcourse.stochastic import Graph

D = torch.float64
LIMIT = 6.0
R, TRIES = 32, 100
FIRST_ONLY = ("arm", "disarm", "measure_valued")
UNBIASED = [name for name in stochastic.ESTIMATORS if name not in rx.METHODS or rx.METHODS[name].unbiased]
COINS = [name for name in UNBIASED if name != "pathwise"]
CHOICES = [name for name in COINS if name not in ("arm", "disarm", "measure_valued")]
THETA = torch.tensor([0.7, -0.3], dtype=D)


def _cost(b):
    """Of two coins, or of one choice out of two: [..., 2] -> [...]."""
    return (b[..., 0] - 0.5 * b[..., 1] - 0.3).square() + 3 * b[..., 0] + (2 * b[..., 1]).sin()


def _settings(name, law):
    coins = isinstance(law, Bernoulli)
    if name == "importance_sampled":
        return {"proposal": type(law)(law.logits.detach() / 2)}
    if name in ("relax", "lax"):
        return {"control": lambda z: _cost(z.sigmoid() if coins else z.softmax(-1)[..., 0, :])}
    if name == "sum_and_sample":
        return {"keep": 1}
    if name == "mapo":
        return {"memory": rx.outcomes(law)[-1:]}
    if name.startswith("without_replacement"):
        return {"size": 2 if coins else 1}
    return {"size": 2} if name.startswith("unordered_set") else {}


def _draw(graph, law, name, along="sample", samples=2):
    if isinstance(law, OneHot) and name == "beam_search":
        samples = 1  # of two outcomes
    return graph.sample(law, name, along=along, samples=samples, **_settings(name, law))


def _tries(build, theta, *axes):
    """Value [R], gradient [R * TRIES, P] and second derivative [R * TRIES, P, P] of so many independent estimates.

    build(graph, theta [R, TRIES, 1 ..., P]) adds nodes and costs; tries are a plate.
    """
    graph = Graph(Rng(range(R), dtype=D), "try", *axes)
    theta = theta.detach().expand(R, TRIES, *[1] * len(axes), -1).clone().requires_grad_()
    build(graph, theta)
    value = graph.surrogate()
    assert value.shape == (R,)
    gradient = TRIES * torch.autograd.grad(value.sum(), theta, create_graph=True)[0].flatten(0, -2)

    def second():
        rows = [torch.autograd.grad(column.sum(), theta, retain_graph=True)[0].flatten(0, -2) for column in gradient.unbind(-1)]
        return torch.stack(rows, -2)

    return value.detach(), gradient, second


def _check(found, truth):
    """|z| < 6, number by number; those without variance must be right to rounding."""
    spread = found.std(0) / len(found) ** 0.5
    error = (found.detach().mean(0) - truth).abs()
    assert (error < LIMIT * spread + 1e-9).all(), (error / spread, error)


def _truth(value, theta):
    """An exact value, its gradient and second derivative at theta [P]."""
    theta = theta.detach().clone().requires_grad_()
    exact_value = value(theta)
    gradient = torch.autograd.grad(exact_value, theta, create_graph=True)[0]
    return exact_value.detach(), gradient.detach(), torch.autograd.functional.hessian(value, theta.detach())


# ------------------------------------------------------------------------------------------------------- one node, every way


def _one_coin_pair(theta):
    """E[_cost] of two coins, by a loop."""
    p = theta.sigmoid()
    total = 0.0
    for bits in itertools.product((0, 1), repeat=2):
        chance = math.prod(p[i] if bit else 1 - p[i] for i, bit in enumerate(bits))
        total = total + chance * _cost(torch.tensor(bits, dtype=D))
    return total


@pytest.mark.parametrize("name", COINS)
def test_every_estimator_of_coins(name):
    def build(graph, theta):
        graph.cost(_cost(_draw(graph, Bernoulli(theta), name)))

    value, gradient, second = _tries(build, THETA, "sample")
    truth, slope, curvature = _truth(_one_coin_pair, THETA)
    _check(value, truth)
    _check(gradient, slope)
    if name in FIRST_ONLY:
        with pytest.raises(RuntimeError, match=rf"{name} has a first derivative only.*score_function"):
            second()
    else:
        _check(second(), curvature)


@pytest.mark.parametrize("name", CHOICES)
def test_every_estimator_of_choices(name):
    def build(graph, theta):
        graph.cost(_cost(_draw(graph, OneHot(theta.unsqueeze(-2)), name)[..., 0, :]))

    def value(theta):
        return (theta.softmax(0) * _cost(torch.eye(2, dtype=D))).sum()

    found, gradient, second = _tries(build, THETA, "sample")
    truth, slope, curvature = _truth(value, THETA)
    _check(found, truth)
    _check(gradient, slope)
    _check(second(), curvature)


@pytest.mark.parametrize(
    "name", ["enumerate_all", "score_function", "leave_one_out", "measure_valued", "sum_and_sample", "unordered_set"]
)
def test_whole_numbers(name):
    table = torch.tensor([0.3, -1.0, 2.0], dtype=D)
    theta = torch.tensor([0.2, -0.4, 0.5], dtype=D)

    def build(graph, theta):
        settings = {"keep": 1} if name == "sum_and_sample" else {"size": 2} if name == "unordered_set" else {}
        graph.cost(table[graph.sample(Categorical(theta), name, along="sample", samples=2, **settings)])

    value, gradient, second = _tries(build, theta, "sample")
    truth, slope, curvature = _truth(lambda theta: (theta.softmax(0) * table).sum(), theta)
    _check(value, truth)
    _check(gradient, slope)
    if name != "measure_valued":
        _check(second(), curvature)


@pytest.mark.parametrize("name", ["pathwise", "score_function", "leave_one_out", "measure_valued"])
def test_gaussians(name):
    theta = torch.tensor([0.8, -0.2], dtype=D)  # mean, log std

    def build(graph, theta):
        x = graph.sample(Normal(theta[..., :1], theta[..., 1:]), name, along="sample", samples=2)
        graph.cost(x[..., 0] ** 3 + x[..., 0].sin())

    def value(theta):
        return exact.expectation(Normal(theta[:1], theta[1:]), lambda x: x[..., 0] ** 3 + x[..., 0].sin(), 60)

    found, gradient, second = _tries(build, theta, "sample")
    truth, slope, curvature = _truth(value, theta)
    _check(found, truth)
    _check(gradient, slope)
    if name == "measure_valued":
        with pytest.raises(RuntimeError, match="measure_valued has a first derivative only"):
            second()
    else:
        _check(second(), curvature)


def test_correlated_gaussian():
    theta = torch.tensor([0.3, -0.5, 0.4], dtype=D)

    def factor(theta):
        one = torch.ones_like(theta[..., 2])
        return torch.stack([torch.stack([one, 0 * one], -1), torch.stack([theta[..., 2], one], -1)], -2)

    for name in ("pathwise", "score_function"):

        def build(graph, theta, name=name):
            x = graph.sample(MultivariateNormal(theta[..., :2], factor(theta)), name)
            graph.cost(x[..., 0] * x[..., 1] + x[..., 1].square())

        _, gradient, second = _tries(build, theta)  # E = m0 m1 + l + m1^2 + l^2 + 1
        m0, m1, ell = theta
        _check(gradient, torch.stack([m1, m0 + 2 * m1, 1 + 2 * ell]))
        _check(second(), torch.tensor([[0.0, 1, 0], [1, 2, 0], [0, 0, 2]], dtype=D))


@pytest.mark.parametrize("name", [name for name in rx.METHODS if name not in ("vimco", "rebar")])
def test_in_a_graph_it_is_what_it_is_without(name):
    """Value and gradient from the same noise, to rounding. (REBAR reports another value: its three points all count.)"""
    theta = Rng(range(3), stream=8, dtype=D).normal(2).requires_grad_()
    law = Bernoulli(theta)
    shape = rx.noise_shape(name, law, 5 if name != "beam_search" else 2)
    noise = Rng(range(3), dtype=D).uniform(*shape) if shape else None
    graph = Graph(Rng(range(3), dtype=D), "sample")
    inside = Bernoulli(theta.unsqueeze(1))
    settings = _settings(name, inside)
    graph.cost(_cost(graph.sample(inside, name, along="sample", samples=5 if name != "beam_search" else 2, **settings)))
    mine, other = graph.surrogate(), rx.METHODS[name].surrogate(_cost, law, noise, **_settings(name, law))
    torch.testing.assert_close(mine, other)
    torch.testing.assert_close(*(torch.autograd.grad(each.sum(), theta)[0] for each in (mine, other)))


def test_a_constant_cost_and_others_to_compare_with_leave_no_gradient():
    """Also behind a node whose points have weights: the baseline has them, too."""
    for first in ("enumerate_all", "unordered_set", "score_function"):
        theta = CHAIN.expand(1, 1, 1, 3).clone().requires_grad_()
        graph = Graph(Rng(0, dtype=D), "a", "b")
        a = _draw(graph, Bernoulli(theta[..., :2].detach()), first, "a")
        b = graph.sample(Bernoulli(_second_logits(a, theta)), "leave_one_out", along="b", samples=3)
        graph.cost(20 + 0 * b[..., 0])
        slope = torch.autograd.grad(graph.surrogate().sum(), theta)[0]
        assert slope.abs().max() < 1e-12


def test_a_biased_one_refuses_a_second_derivative():
    with pytest.raises(RuntimeError, match="straight_through_gumbel has a first derivative only"):
        _second_of("straight_through_gumbel")


def _second_of(name):
    theta = THETA.expand(1, 1, 2).clone().requires_grad_()
    graph = Graph(Rng(0, dtype=D), "sample")
    graph.cost(_cost(graph.sample(Bernoulli(theta), name, along="sample", samples=3)))
    gradient = torch.autograd.grad(graph.surrogate().sum(), theta, create_graph=True)[0]
    return torch.autograd.grad(gradient.sum(), theta)[0]


def test_third_derivative():
    p = torch.tensor(0.7, dtype=D).sigmoid()
    third = p * (1 - p) * (1 - 6 * p * (1 - p))  # of sigmoid
    theta = torch.full((R, 1000, 1), 0.7, dtype=D, requires_grad=True)
    graph = Graph(Rng(range(R), dtype=D), "try")
    graph.cost(graph.sample(Bernoulli(theta), "leave_one_out", along="try")[..., 0])
    slope = graph.surrogate().sum()
    for _ in range(3):
        slope = torch.autograd.grad(slope.sum(), theta, create_graph=True)[0]
    _check(1000 * slope.flatten()[:, None], third)


# ------------------------------------------------------------------------------------------------------------------- chains


def _second_logits(a, theta):
    """Of the second node, given the first [..., 2]: [..., 2]."""
    return torch.stack([theta[..., 2] * a[..., 0] - a[..., 1], theta[..., 2] + a[..., 1] ** 2], -1)


def _both(a, b):
    return (a[..., 0] + b[..., 0] - 1.2 * b[..., 1]).square() + a[..., 1] * b[..., 0]


CHAIN = torch.tensor([0.7, -0.3, 0.5], dtype=D)


def _chain(theta):
    """E[_cost(a) + _both(a, b)], by two loops."""
    total = 0.0
    for a in itertools.product((0.0, 1.0), repeat=2):
        a = torch.tensor(a, dtype=D)
        pa = torch.where(a > 0.5, theta[:2].sigmoid(), 1 - theta[:2].sigmoid()).prod()
        pb = _second_logits(a, theta).sigmoid()
        inner = _cost(a)
        for b in itertools.product((0.0, 1.0), repeat=2):
            b = torch.tensor(b, dtype=D)
            inner = inner + torch.where(b > 0.5, pb, 1 - pb).prod() * _both(a, b)
        total = total + pa * inner
    return total


PAIRS = [(name, "score_function") for name in COINS] + [("score_function", name) for name in COINS[1:]]
PAIRS += [("rebar", "disarm"), ("disarm", "rebar"), ("unordered_set", "leave_one_out"), ("enumerate_all", "relax")]
PAIRS += [("leave_one_out", "leave_one_out"), ("rebar", "rebar"), ("measure_valued", "enumerate_all")]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_chains(first, second):
    def build(graph, theta):
        a = _draw(graph, Bernoulli(theta[..., :2]), first, "a")
        b = _draw(graph, Bernoulli(_second_logits(a, theta)), second, "b")
        graph.cost(_cost(a))
        graph.cost(_both(a, b))

    value, gradient, again = _tries(build, CHAIN, "a", "b")
    truth, slope, curvature = _truth(_chain, CHAIN)
    _check(value, truth)
    _check(gradient, slope)
    if {first, second} & set(FIRST_ONLY):
        with pytest.raises(RuntimeError, match="first derivative only"):
            again()
    else:
        _check(again(), curvature)


@pytest.mark.parametrize("first", ["pathwise", "score_function", "leave_one_out"])
@pytest.mark.parametrize("second", ["score_function", "enumerate_all", "rebar"])
def test_continuous_before_discrete(first, second):
    """x ~ N(theta_0, 1), then a coin with logit theta_1 x, both paired along one axis where that is possible."""
    theta = torch.tensor([0.4, 1.3], dtype=D)

    def cost(x, b):
        return (x[..., 0] - 1.5 * b[..., 0]).square() + b[..., 0]

    def build(graph, theta):
        x = graph.sample(Normal(theta[..., :1], torch.zeros_like(theta[..., :1])), first, along="x", samples=2)
        settings = {"along": "b", "samples": 1} if second != "score_function" else {}
        graph.cost(cost(x, graph.sample(Bernoulli(theta[..., 1:] * x), second, **settings)))

    def value(theta):
        def inner(x):
            p = (theta[1] * x).sigmoid()[..., 0]
            return p * cost(x, torch.ones_like(x)) + (1 - p) * cost(x, torch.zeros_like(x))

        return exact.expectation(Normal(theta[:1], torch.zeros(1, dtype=D)), inner, 60)

    found, gradient, again = _tries(build, theta, "x", "b")
    truth, slope, curvature = _truth(value, theta)
    _check(found, truth)
    _check(gradient, slope)
    _check(again(), curvature)


def test_a_plain_surrogate_has_the_wrong_second_derivative():
    """What the magic box is for: with log p in its place the first derivative is the same, the second is not."""
    theta = THETA.expand(R * TRIES, 2).clone().requires_grad_()
    law = Bernoulli(theta)
    b = law.sample(Rng(1, dtype=D).uniform(R * TRIES, 2)[0])
    _, slope, curvature = _truth(_one_coin_pair, THETA)
    for weight, right in ((law.log_prob(b), False), (rx.magic_box(law.log_prob(b)), True)):
        gradient = torch.autograd.grad((weight * _cost(b)).sum(), theta, create_graph=True)[0]
        _check(gradient, slope)
        second = torch.autograd.grad(gradient[:, 0].sum(), theta)[0]
        z = (second.mean(0) - curvature[0]) / (second.std(0) / len(second) ** 0.5 + 1e-9)
        assert bool(z.abs().max() < LIMIT) is right


# ------------------------------------------------------------------------------------------------------- causality, episodes


def _episodes(mdp, table, estimator, rng, episodes, discount, **settings):
    """An MDP as a graph; nothing is said about what came before what. Returns actions, log-probabilities, rewards as well."""
    graph, steps = Graph(rng, "episode"), mdp.time_limit
    state, noise = mdp.initial(rng.uniform(episodes)), rng.uniform(steps, episodes)
    valid = torch.ones(len(rng), episodes, dtype=torch.bool)
    log_probability, rewards = [], []
    for t in range(steps):
        law = Categorical(mdp.observe(state) @ table)
        action = graph.sample(law, estimator, **settings)
        log_probability.append((law.log_prob(action) * valid).as_subclass(torch.Tensor))
        state, reward, terminated = mdp.step(state, action, noise[:, t])
        rewards.append((reward * valid).plain())
        graph.cost(discount**t * reward * valid)
        valid = valid & ~terminated
    return graph, torch.stack(log_probability, 1), torch.stack(rewards, 1)


def test_an_episode_gives_reward_to_go_by_itself():
    mdp, rng = gridworld(), Rng(range(3), dtype=D)
    table = Rng(range(3), stream=8, dtype=D).normal(mdp.observation.shape[1], len(mdp.actions)).requires_grad_()
    graph, log_probability, reward = _episodes(mdp, table, "score_function", rng, 20, 0.9)
    mine = torch.autograd.grad(graph.surrogate().sum(), table, retain_graph=True)[0]
    weight = returns.to_go(reward, 0.9) * returns.powers(0.9, reward.shape[1], reward)
    theirs = torch.autograd.grad((log_probability * weight).sum(1).mean(-1).sum(), table)[0]
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(graph.surrogate(), returns.discounted(reward, 0.9).mean(-1))


@pytest.mark.parametrize("estimator", ["score_function", "leave_one_out"])
def test_an_episode_against_the_exact_gradient(estimator):
    mdp, rng = two_step(), Rng(range(64), dtype=D)
    one = Rng(5, dtype=D).normal(mdp.observation.shape[1], 2)[0]
    table = one.expand(64, -1, -1).clone().requires_grad_()
    along = {"along": "episode"} if estimator == "leave_one_out" else {}
    graph, _, _ = _episodes(mdp, table, estimator, rng, 30, 0.9, **along)
    found = torch.autograd.grad(graph.surrogate().sum(), table, create_graph=True)[0]
    _, slope, curvature = _truth(lambda t: exact.expected_return(mdp, t.softmax(-1), 0.9), one)
    _check(found.flatten(1), slope.flatten())
    second = torch.stack([torch.autograd.grad(x.sum(), table, retain_graph=True)[0] for x in found.flatten(1).unbind(1)], 1)
    _check(second.flatten(1), curvature.flatten())


def test_baselines_do_not_change_the_mean_and_take_noise_away():
    mdp, rng = two_step(), Rng(range(64), dtype=D)
    one = Rng(5, dtype=D).normal(mdp.observation.shape[1], 2)[0]
    spread = {}
    for name, settings in {
        "none": {},
        "number": {"baseline": 0.4},
        "tensor": {"baseline": torch.full((64, 30), 0.4, dtype=D)},
        "others": {"estimator": "leave_one_out", "along": "episode"},
    }.items():
        table = one.expand(64, -1, -1).clone().requires_grad_()
        estimator = settings.pop("estimator", "score_function")
        graph, _, _ = _episodes(mdp, table, estimator, rng.select(range(64)), 30, 1.0, **settings)
        found = torch.autograd.grad(graph.surrogate().sum(), table)[0].flatten(1)
        _check(found, _truth(lambda t: exact.expected_return(mdp, t.softmax(-1)), one)[1].flatten())
        spread[name] = float(found.var(0).sum())
    assert spread["others"] < spread["none"]


def test_a_cost_is_charged_to_what_led_to_it():
    graph = Graph(Rng(range(2)))
    a, b, c = (graph.sample(Bernoulli(torch.zeros(2, 1))) for _ in range(3))
    table = torch.arange(4.0)
    cases = {
        0: torch.ones(2),
        0b001: a[:, 0],
        0b011: (a + b)[:, 0],
        0b110: torch.where(b > 0.5, c, 1.0)[:, 0],
        0b100: table[c[:, 0].long()],
        0b010: b.detach()[:, 0] * 2,
        0b111: torch.stack([a, b, c]).sum(0)[:, 0],
        0b101: torch.cat([a, c], -1).max(-1).values,
    }
    for nodes, value in cases.items():
        assert (value._nodes if isinstance(value, stochastic.Sample) else 0) == nodes
    assert graph.sample(Bernoulli(a * 2))._nodes == 0b1001
    assert torch.nn.Linear(1, 1)(b)._nodes == 0b010
    assert torch.einsum("ri,ri->r", a, c)._nodes == 0b101
    assert next(iter(a)).add(1)._nodes == 0b001
    assert type(a.plain()) is torch.Tensor
    assert not a.plain().requires_grad
    assert "Sample" in repr(a)


# ------------------------------------------------------------------------------------------------------------------- plates


def test_a_plate_charges_each_element_with_its_own_cost():
    logits = Rng(range(3), dtype=D).normal(5, 1).requires_grad_()  # five data
    target = torch.arange(5, dtype=D)
    gradients = {}
    for reduce in (False, True):
        graph = Graph(Rng(range(3), stream=1, dtype=D), "data")
        b = graph.sample(Bernoulli(logits))
        cost = (b[..., 0] - target).square()
        graph.cost(cost.mean(1, keepdim=True) if reduce else cost)
        gradients[reduce] = torch.autograd.grad(graph.surrogate().sum(), logits)[0]
        score = b.plain() - logits.sigmoid()
        value = cost.plain().mean(1, keepdim=True) if reduce else cost.plain() / 5
        torch.testing.assert_close(gradients[reduce], (score * value.unsqueeze(-1)).detach())
    assert not torch.allclose(gradients[False], gradients[True])


@pytest.mark.parametrize("name", ["score_function", "importance_sampled", "relax"])
def test_costs_that_take_the_samples_together(name):
    """log mean_n exp f(b_n) of three samples, an objective that is not linear in them."""

    def build(graph, theta):
        b = _draw(graph, Bernoulli(theta), name, samples=3)
        graph.cost(_cost(b).logsumexp(-1, keepdim=True) - math.log(3))

    def value(theta):
        every = rx.outcomes(Bernoulli(torch.zeros(2, dtype=D)))
        p, f = Bernoulli(theta).log_prob(every).exp(), _cost(every)
        return sum(
            p[i] * p[j] * p[k] * torch.stack([f[i], f[j], f[k]]).logsumexp(0) for i, j, k in np.ndindex(4, 4, 4)
        ) - math.log(3)

    _, gradient, second = _tries(build, THETA, "sample")
    _, slope, curvature = _truth(value, THETA)
    _check(gradient, slope)
    _check(second(), curvature)


def test_leave_one_out_with_a_reduced_plate():
    """Its baseline is for the whole cost that a node is charged with, summed over the plate, and takes noise away."""
    spread = {}
    for name in ("score_function", "leave_one_out"):

        def build(graph, theta, name=name):
            b = graph.sample(Bernoulli(theta.expand(-1, -1, 4, -1, -1)), name, along="sample", samples=4)
            graph.cost((_cost(b) + 20).mean(2, keepdim=True))

        _, gradient, _ = _tries(build, THETA, "data", "sample")
        _check(gradient, _truth(_one_coin_pair, THETA)[1])
        spread[name] = float(gradient.detach().var(0).sum())
    assert spread["leave_one_out"] < 0.1 * spread["score_function"]


def test_the_order_of_axes_does_not_matter():
    found = []
    for axes, dims in ((("data", "sample"), (2, 1)), (("sample", "data"), (1, 2))):
        theta = torch.linspace(-1, 1, 6, dtype=D).reshape(3, 2).requires_grad_()  # [data, coins]
        graph = Graph(Rng(range(1), dtype=D), *axes)
        b = graph.sample(Bernoulli(theta[None].unsqueeze(dims[0])), "rebar", along="sample", samples=1)
        graph.cost(_cost(b))
        value = graph.surrogate()
        found.append((value, torch.autograd.grad(value.sum(), theta)[0]))
    torch.testing.assert_close(*found)
    control = []
    for axes, dims in ((("data", "sample"), (2, 1)), (("sample", "data"), (1, 2))):
        theta = torch.linspace(-1, 1, 6, dtype=D).reshape(3, 2).requires_grad_()
        scale = torch.arange(1.0, 4.0, dtype=D).reshape(1, 3).unsqueeze(dims[0])
        graph = Graph(Rng(range(1), dtype=D), *axes)
        law = Bernoulli(theta[None].unsqueeze(dims[0]))
        b = graph.sample(law, "relax", along="sample", samples=2, control=lambda z, scale=scale: scale * z.sigmoid().sum(-1))
        graph.cost(_cost(b))
        control.append(torch.autograd.grad(graph.surrogate().sum(), theta)[0])
    torch.testing.assert_close(*control)


def test_replicas_do_not_touch_each_other():
    def gradient(rng, theta):
        theta = theta.detach().requires_grad_()
        graph = Graph(rng, "a", "b")
        a = graph.sample(Bernoulli(theta[:, None, None, :2]), "leave_one_out", along="a", samples=3)
        b = graph.sample(Bernoulli(_second_logits(a, theta[:, None, None])), "disarm", along="b", samples=2)
        graph.cost(_both(a, b))
        value = graph.surrogate()
        return value.detach(), torch.autograd.grad(value.sum(), theta)[0]

    theta = Rng(range(4), stream=8, dtype=D).normal(3)
    value, slope = gradient(Rng(range(4), dtype=D), theta)
    for r in range(4):
        alone = gradient(Rng(r, dtype=D), theta[r : r + 1])
        torch.testing.assert_close((value[r : r + 1], slope[r : r + 1]), alone)
    order = [2, 0, 3, 1]
    torch.testing.assert_close((value[order], slope[order]), gradient(Rng(order, dtype=D), theta[order]))


def test_a_control_learns_through_the_graph():
    rng, weight, squares = Rng(range(300), dtype=D), torch.zeros(3, dtype=D, requires_grad=True), []
    optimizer = torch.optim.Adam([weight], 0.1)
    theta = THETA.expand(300, 1, 2).clone().requires_grad_()
    for _ in range(50):
        graph = Graph(rng, "sample")
        control = lambda z: weight[0] + z.sigmoid() @ weight[1:]  # noqa: E731
        graph.cost(_cost(graph.sample(Bernoulli(theta), "relax", along="sample", control=control)))
        square = rx.squared_estimate(graph.surrogate(), theta) / 300
        (weight.grad,) = torch.autograd.grad(square, weight)
        optimizer.step()
        squares.append(square.item())
    assert sum(squares[-10:]) < 0.7 * sum(squares[:10])


# --------------------------------------------------------------------------------------------------- a discrete autoencoder


def _autoencoder(rng, weights, data, name, samples):
    """The negative evidence lower bound of ten digits, as a graph."""
    encode, bias, decode, offset = weights
    graph = Graph(rng, "digit", "code")
    law = Bernoulli(((2 * data - 1) @ encode + bias).unsqueeze(2))
    code = graph.sample(law, name, along="code", samples=samples)
    pixels = Bernoulli(code @ decode.unsqueeze(1) + offset.unsqueeze(1))
    graph.cost(-pixels.log_prob(data.unsqueeze(1)))
    graph.cost(6 * math.log(2) - law.entropy())
    return graph.surrogate()


def _weights(rng):
    shapes = ((15, 6), (1, 6), (6, 15), (1, 15))
    return [(0.5 * rng.normal(*shape) * (shape[0] > 1)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(
    "name", ["score_function", "leave_one_out", "disarm", "arm", "rebar", "gumbel_softmax", "straight_through", "enumerate_all"]
)
def test_an_autoencoder_learns_by_any_estimator(name):
    """Sixteen replicas: all begin above 7 nats a digit, and 100 steps with six evaluations each bring every one below 6.5."""
    rng, data = Rng(range(16)), figures_13.digits()
    weights = _weights(rng)
    optimizer = torch.optim.Adam(weights, lr=0.03)
    with torch.no_grad():
        before = _autoencoder(rng, weights, data, "enumerate_all", None)
    for _ in range(100):
        optimizer.zero_grad()
        _autoencoder(rng, weights, data, name, 6 // max(1, rx.METHODS[name].evaluations)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        after = _autoencoder(rng, weights, data, "enumerate_all", None)
    assert before.min() > 7
    assert after.max() < 6.5


def test_the_autoencoders_gradient_against_enumeration():
    """All weights, encoder and decoder; 64 replicas of the same weights, fifty codes each."""
    rng, data = Rng(range(64), dtype=D), figures_13.digits().to(D)
    weights = [w.detach()[:1].expand(64, -1, -1).clone().requires_grad_() for w in _weights(Rng(0, dtype=D))]
    exact_slopes = torch.autograd.grad(_autoencoder(rng, weights, data, "enumerate_all", None).sum(), weights)
    for name in ("leave_one_out", "disarm", "rebar", "unordered_set"):
        slopes = torch.autograd.grad(_autoencoder(rng, weights, data, name, 50).sum(), weights)
        for found, truth in zip(slopes, exact_slopes, strict=True):
            _check(found.flatten(1), truth[0].flatten())


# ---------------------------------------------------------------------------------------------------------------- bad input

LOGITS = torch.zeros(2, 1, 3)


def _graph():
    return Graph(Rng(range(2)), "sample")


def _sampled(law=None, estimator="score_function", **settings):
    return _graph().sample(Bernoulli(LOGITS) if law is None else law, estimator, along="sample", **settings)


def _costed(cost, estimator="score_function"):
    graph = _graph()
    graph.cost(cost(graph.sample(Bernoulli(LOGITS.clone().requires_grad_()), estimator, along="sample", samples=4)))
    return graph.surrogate()


def _two_graphs():
    return _graph().sample(Bernoulli(LOGITS)) + _graph().sample(Bernoulli(LOGITS))


def _unused():
    graph = _graph()
    graph.sample(Bernoulli(LOGITS))
    graph.cost(torch.zeros(2, 1))
    return graph.surrogate()


def _remixed():
    """b knows the mean of all a; then a cost for each element."""
    graph = _graph()
    a = graph.sample(Bernoulli(LOGITS), along="sample", samples=4)
    b = graph.sample(Bernoulli(a.mean(1, keepdim=True)))
    graph.cost((a * b).sum(-1))


def _filled():
    b = _sampled(samples=4)
    x = torch.zeros(2, 4, 3)
    x[0] = b[0]


def _added():
    x = torch.zeros(2, 1, 3)
    x += 1
    x.add_(1)
    x[_sampled().long()] = 1.0


def _out():
    torch.add(_sampled(), 1, out=torch.zeros(2, 1, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: _sampled(Categorical(LOGITS), "pathwise"), TypeError, "These can: .*enumerate_all, score_function"),
        (lambda: _sampled(Normal(LOGITS, LOGITS), "arm"), TypeError, "These can: pathwise, measure_valued, score_function"),
        (lambda: _sampled(Bernoulli(LOGITS), "pathwise"), TypeError, "These can: .*gumbel_softmax"),
        (lambda: _sampled(MultivariateNormal(LOGITS, LOGITS), "measure_valued"), TypeError, "pathwise"),
        (lambda: _sampled(Deterministic(LOGITS)), TypeError, "it can be a Normal"),
        (lambda: _sampled(estimator="reinforce"), ValueError, "there is no estimator 'reinforce'; there are pathwise"),
        (lambda: _sampled(estimator="vimco"), TypeError, "make the bound the cost"),
        (lambda: _sampled(estimator="gumbel_softmax", temperature=0.0), ValueError, "temperature is 0.0"),
        (lambda: _sampled(Bernoulli(LOGITS + math.inf)), ValueError, "logits given to score_function holds inf or NaN"),
        (lambda: _sampled(Normal(LOGITS, LOGITS * math.nan)), ValueError, "log_std .* holds inf or NaN"),
        (lambda: _sampled(samples=0), ValueError, "zero samples"),
        (lambda: _graph().sample(Bernoulli(LOGITS), "leave_one_out"), ValueError, "has one sample"),
        (lambda: _sampled(estimator="leave_one_out", samples=1), ValueError, "has one sample"),
        (
            lambda: _sampled(Bernoulli(torch.zeros(2, 3))),
            ValueError,
            r"must begin with all axes of the graph, \[replica, sample\]",
        ),
        (lambda: _sampled(Bernoulli(torch.zeros(3, 1, 3))), ValueError, "axes .replica 2, sample "),
        (lambda: _graph().sample(Bernoulli(LOGITS), samples=3), ValueError, "along="),
        (lambda: _sampled(Bernoulli(torch.zeros(2, 4, 3)), samples=3), ValueError, "varies along 'sample'"),
        (lambda: _graph().sample(Bernoulli(LOGITS), along="data"), ValueError, "there is no axis 'data'"),
        (lambda: _graph().sample(Bernoulli(LOGITS), along="replica"), ValueError, "nothing to do with each other"),
        (lambda: _graph().sample(Bernoulli(LOGITS), "rebar"), ValueError, "needs an axis"),
        (lambda: _sampled(Bernoulli(torch.zeros(2, 4, 3)), "arm"), ValueError, "needs an axis"),
        (lambda: _sampled(estimator="score_function", baseline=torch.zeros(2)), ValueError, "the baseline has shape"),
        (lambda: Graph(Rng(0), "a", "a"), ValueError, "all different"),
        (lambda: Graph(Rng(0), "replica"), ValueError, "replica's"),
        (lambda: _costed(lambda b: b), ValueError, "the cost has shape"),
        (lambda: _costed(lambda b: b.sum((1, 2))), ValueError, "keepdim=True"),
        (lambda: _costed(lambda b: 0.5), TypeError, "the cost is a float"),
        (lambda: _costed(lambda b: b.sum(-1).mean(1, keepdim=True), "arm"), ValueError, "mixes the points of node 0"),
        (lambda: _costed(lambda b: b.sum(-1).mean(1, keepdim=True), "leave_one_out"), ValueError, "has reduced that axis"),
        (lambda: _costed(lambda b: (b > 0.5).sum(-1), "gumbel_softmax"), ValueError, "no gradient comes back to node 0"),
        (lambda: _costed(lambda b: (b.detach() * LOGITS.clone().requires_grad_()).sum(-1), "rebar"), ValueError, "no gradient"),
        (lambda: _graph().surrogate(), ValueError, "no cost"),
        (_unused, ValueError, "no cost depends on node 0"),
        (_two_graphs, ValueError, "two graphs"),
        (_remixed, ValueError, "depends on all its elements together"),
        (_filled, RuntimeError, "torch.stack for filling in"),
        (_added, RuntimeError, "Make a new tensor"),
        (_out, RuntimeError, "Make a new tensor"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    "turn",
    [
        lambda b: 1 if b[0, 0, 0] > 0.5 else 2,
        lambda b: float(b[0, 0, 0]),
        lambda b: int(b[0, 0, 0]),
        lambda b: b[0, 0, 0].item(),
        lambda b: b.tolist(),
        lambda b: b.numpy(),
        lambda b: np.asarray(b),
        lambda b: range(b[0, 0, 0].long()),
        lambda b: [1, 2, 3][b[0, 0, 0].long()],
        lambda b: 1.0 in b,
        lambda b: torch.equal(b, b),
        lambda b: torch.tensor([b[0, 0, 0], b[0, 0, 1]]),
    ],
)
def test_a_branch_on_a_sample_says_what_to_do(turn):
    with pytest.raises(RuntimeError, match=r"torch.where, or mask"):
        turn(_sampled())
