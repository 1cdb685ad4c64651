"""Estimators of the gradient of an expectation, and how to measure one.

One calling convention, so that any estimator can stand in for any other. What is to be climbed is an *objective*

    f(theta [..., P], noise) -> [...]        J(theta) = E[f(theta, noise)]

one noisy evaluation for each parameter vector, with any leading axes, which those of theta and of the noise make by
broadcasting. An *estimator* of its gradient is

    estimator(f, theta [*R, P], noise, ...) -> [*R, P]

with settings of its own behind. It evaluates f at K parameter vectors, N times at each, and takes the mean of the N. The noise
it is given is [*R, K, N, ...] (every evaluation has its own), or [*R, 1, N, ...] (all K share theirs: common random numbers),
or None for an objective without noise. Nothing is drawn in here.

``forward_differences`` (K = P + 1), ``central_differences`` (K = 2 P) and ``plus_zero_minus`` (K as you like) only call the
objective. ``likelihood_ratio`` (K = 1) must know more of it: that it is an ``Expectation`` or an ``Unrolled`` policy.
``pathwise`` (K = 1) differentiates it. With noise [*R, 1, N, ...] each of them can stand in for each other. ``measure_valued``
(K = 2) takes an Expectation too, and noise of its own kind.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import distributions, returns
from .distributions import Distribution
from .envs.base import Box, Env
from .nn import flat_gradient
from .policies import Policy
from .rng import Noise, Rng
from .rollout import Rollout

Objective = Callable[[Tensor, Any], Tensor]
"""f(theta [..., P], noise) -> [...]."""


@dataclass(frozen=True)
class Expectation:
    """The objective J(theta) = E[value(x)] with x drawn from law(theta); called with theta and noise it samples x.

    law: theta [..., P] -> a distribution; value: samples -> [...].
    """

    law: Callable[[Tensor], Distribution]
    value: Callable[[Tensor], Tensor]

    def __call__(self, theta: Tensor, noise: Any) -> Tensor:
        return self.value(self.law(theta).sample(noise))

    def surrogate(self, theta: Tensor, noise: Any) -> Tensor:
        """value(x) log p(x; theta), x and value(x) held fixed: its gradient is a score-function estimate."""
        law = self.law(theta)
        _check_serves("likelihood_ratio", law)
        x = law.sample(noise)
        return self.value(x).detach() * law.log_prob(x)


@dataclass(frozen=True)
class Unrolled:
    """The objective J(theta) = E[sum_{t < steps} discount^t r_t] in an environment whose dynamics are known. Called with theta
    and noise it acts out an episode for each, with

        a_t = g(theta, s_t, z_t),    s_{t+1} = F(s_t, a_t, w_t),

    and is differentiable in theta as far as environment and law are.

    law: (theta [..., P], observation [..., O]) -> a distribution over actions. Noise is what ``draw`` draws: of the first
    states, of the actions (z) and of the dynamics (w), the last two with a time axis behind the leading ones.

    Raises TypeError for an environment that takes choices, and ValueError where an episode terminates: when it does depends on
    theta, and that has no slope. Source: lecture 11, (11.8).
    """

    env: Env
    law: Callable[[Tensor, Tensor], Distribution]
    steps: int
    discount: float = 1.0

    def __post_init__(self):
        if not isinstance(self.env.spec.action, Box):
            raise TypeError(
                f"{self.env.spec.name} takes choices, through which no gradient flows; Unrolled needs vectors for actions. "
                "score_function serves both."
            )

    def draw(self, rng: Rng, *leading: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Noise for whole episodes with a Gaussian policy, each [R, *leading, ...]; None where there is none to draw."""
        spec = self.env.spec
        action = rng.draw(Noise("normal", (cast(Box, spec.action).size,)), *leading, self.steps)
        return rng.draw(spec.initial_noise, *leading), action, rng.draw(spec.step_noise, *leading, self.steps)

    def __call__(self, theta: Tensor, noise: Any) -> Tensor:
        """The discounted return of each episode; gradient flows through actions, states and rewards."""
        reward, _, _ = self._run(theta, noise, "pathwise")
        return returns.discounted(reward.flatten(1), self.discount).reshape(reward.shape[1:])

    def surrogate(self, theta: Tensor, noise: Any) -> Tensor:
        """sum_t discount^t G_t log pi(a_t | s_t), all but log pi held fixed: its gradient is a score-function estimate."""
        reward, laws, actions = self._run(theta, noise, "likelihood_ratio")
        to_go = returns.to_go(reward.flatten(1), self.discount)
        weight = (to_go * returns.powers(self.discount, self.steps, to_go)).reshape(reward.shape).detach()
        log_probability = torch.stack([law.log_prob(action) for law, action in zip(laws, actions, strict=True)])
        return (weight * log_probability).sum(0)

    def _run(self, theta: Tensor, noise: Any, estimator: str) -> tuple[Tensor, list, list]:
        """Rewards [T, ...], laws and actions; with "pathwise" gradient flows through the actions."""
        first, action_noise, step_noise = noise
        leading = torch.broadcast_shapes(theta.shape[:-1], first.shape[:-1])
        state = self.env.initial(first).expand(*leading, *self.env.spec.state_shape)
        rewards, laws, actions = [], [], []
        for t in range(self.steps):
            laws.append(self.law(theta, self.env.observe(state)))
            _check_serves(estimator, laws[t])
            sample = laws[t].rsample if estimator == "pathwise" else laws[t].sample
            action = sample(action_noise[..., t, :])
            actions.append(action.expand(*leading, action.shape[-1]))
            state, reward, terminated = self.env.step(state, actions[t], None if step_noise is None else step_noise[..., t, :])
            if terminated.any():
                raise ValueError(
                    f"an episode of {self.env.spec.name} terminated at step {t}; Unrolled is for environments that run on to "
                    "the time limit. score_function takes episodes of any length."
                )
            rewards.append(reward)
        return torch.stack(rewards), laws, actions


def forward_differences(
    objective: Objective, theta: Float[Tensor, "*R P"], noise: Any, step: float | Tensor = 0.01
) -> Float[Tensor, "*R P"]:
    """(J(theta + step_j e_j) - J(theta)) / step_j for each parameter j; K = P + 1 evaluations, theta itself first.

    Off by step_j / 2 times the second derivative. step: one number, or [P]. Source: lecture 02, (2.2).
    """
    step = _steps(step, theta)
    points = torch.cat([theta.unsqueeze(-2), theta.unsqueeze(-2) + step.diag()], -2)  # [*R, P + 1, P]
    value = mean_value(objective, points, noise)
    return (value[..., 1:] - value[..., :1]) / step


def central_differences(
    objective: Objective, theta: Float[Tensor, "*R P"], noise: Any, step: float | Tensor = 0.01
) -> Float[Tensor, "*R P"]:
    """(J(theta + step_j e_j) - J(theta - step_j e_j)) / (2 step_j); K = 2 P evaluations, the P plus ones first.

    Off by step_j^2 / 6 times the third derivative. step: one number, or [P]. Source: lecture 02, (2.3).
    """
    step = _steps(step, theta)
    points = torch.cat([theta.unsqueeze(-2) + step.diag(), theta.unsqueeze(-2) - step.diag()], -2)  # [*R, 2 P, P]
    plus, minus = mean_value(objective, points, noise).chunk(2, -1)
    return (plus - minus) / (2 * step)


def plus_zero_minus(
    objective: Objective, theta: Float[Tensor, "*R P"], noise: Any, signs: Float[Tensor, "*R K P"], step: float | Tensor = 0.01
) -> Float[Tensor, "*R P"]:
    """The scheme of the AIBO gait: K evaluations at theta + step * signs, all parameters changed at once.

    signs: -1, 0 or 1, each with probability 1/3 (``random_signs``). Each parameter sorts the same K values into three groups by
    its own sign; ``group_difference`` of their means is divided by 2 step. What the other parameters did at the same time is
    noise to it, and a parameter that is put to rest is 0, whatever its slope. Source: Kohl & Stone (2004); lecture 02, (2.8).
    """
    step = _steps(step, theta)
    value = mean_value(objective, theta.unsqueeze(-2) + step * signs, noise)
    return group_difference(value, signs) / (2 * step)


def random_signs(uniform: Float[Tensor, "*R K P"]) -> Float[Tensor, "*R K P"]:
    """-1, 0 or 1, with equal chances, from uniform numbers."""
    return (3 * uniform).floor() - 1


def group_difference(value: Float[Tensor, "*R K"], signs: Float[Tensor, "*R K P"]) -> Float[Tensor, "*R P"]:
    """A_j = mean(value where sign_j = 1) - mean(value where sign_j = -1), and 0 where the middle group is the best of three.

    Where the plus or the minus group is empty nothing can be said of a parameter: 0. An empty middle group beats nobody.
    Source: Kohl & Stone (2004); lecture 02, (2.8).
    """
    minus, zero, plus = (_group_mean(value, signs == sign) for sign in (-1, 0, 1))
    rest = (zero > plus) & (zero > minus)  # a comparison with NaN, the mean of an empty group, is false
    return torch.where(rest, 0, plus - minus).nan_to_num(0)


def _group_mean(value: Tensor, member: Tensor) -> Tensor:
    """Mean of value [*R, K] over the members [*R, K, P] of each group; NaN for an empty one."""
    member = member.to(value.dtype)
    return (value.unsqueeze(-1) * member).sum(-2) / member.sum(-2)


def likelihood_ratio(objective: Objective, theta: Float[Tensor, "*R P"], noise: Any) -> Float[Tensor, "*R P"]:
    """The score-function estimator, mean_n value(x_n) grad log p(x_n; theta), of an ``Expectation``: unbiased, and K = 1.

    Of an ``Unrolled`` policy: mean_n sum_t discount^t G_t grad log pi(a_t | s_t). Raises TypeError for another objective: of a
    plain function nobody knows the probabilities. Source: lecture 03, (3.4); lecture 04, (4.4).
    """
    if not isinstance(objective, Expectation | Unrolled):
        raise TypeError(
            f"likelihood_ratio needs the probabilities of what was drawn, so an Expectation(law, value) or an Unrolled policy; "
            f"this is a {type(objective).__name__}. forward_differences and central_differences need nothing but a function."
        )
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        surrogate = _mean(objective.surrogate(theta[..., None, None, :], noise))  # [*R, 1]
        return torch.autograd.grad(surrogate.sum(), theta)[0]


def pathwise(objective: Objective, theta: Float[Tensor, "*R P"], noise: Any) -> Float[Tensor, "*R P"]:
    """The pathwise estimator, mean_n d f(theta, noise_n) / d theta, with the noise held fixed; K = 1.

    An ``Expectation`` is sampled as x = g(theta, noise), differentiably. Unbiased where the value is continuous in theta and
    its slope is bounded by something integrable. Where the value jumps, what the jump contributes is missing, and nobody says.

    Raises TypeError for a law that cannot be sampled differentiably, and ValueError where no gradient reaches theta. Source:
    Kingma & Welling (2014); lecture 11, (11.4).
    """
    through = _reparameterized(objective) if isinstance(objective, Expectation) else objective
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        value = mean_value(through, theta.unsqueeze(-2), noise)  # [*R, 1]
        if not value.requires_grad:
            raise ValueError(
                "no gradient reaches theta: either the samples are cut off from it (.sample, .detach), or the value has no "
                "slope (comparisons, rounding, whole numbers). likelihood_ratio and measure_valued need no slope."
            )
        return torch.autograd.grad(value.sum(), theta)[0]


def _reparameterized(expectation: Expectation) -> Objective:
    """Its objective with samples through which gradient flows."""

    def value(theta: Tensor, noise: Any) -> Tensor:
        law = expectation.law(theta)
        _check_serves("pathwise", law)
        return expectation.value(cast(distributions.Normal, law).rsample(noise))

    return value


def measure_valued(objective: Objective, theta: Float[Tensor, "*R P"], noise: Tensor) -> Float[Tensor, "*R P"]:
    """The measure-valued estimator: the derivative of a density is a difference of two densities, and each is sampled.

        d E[value] / d parameter_i = c_i (E[value(x+)] - E[value(x-)]),    x+ and x- differ from x in coordinate i only:

        Normal, mean        c = 1 / (sigma sqrt(2 pi))   x+- = mu +- sigma W,  W Weibull(sqrt 2, 2)
        Normal, log sigma   c = 1                        x+ = mu + sigma M,    M double-sided Maxwell;  x- = x
        Bernoulli, logit    c = p (1 - p)                x+ = 1,  x- = 0
        Categorical, logit  c = p_i (1 - p_i)            x+ = i,  x- drawn from what is left without i

    The chain rule leads on to theta. Unbiased; the value may jump and needs no slope, but it is evaluated about twice for each
    parameter. K = 2, the plus parts first. With noise [*R, 1, ...] both share theirs, which lowers the variance where the value
    is smooth. Noise is normal [*R, K, N, D, 3] for a Normal of D coordinates, uniform [*R, K, N, D] for a Bernoulli, uniform
    [*R, K, N] for a Categorical.

    Raises TypeError for another law, or an objective that is no ``Expectation``. Source: Heidergott et al. (2008);
    Mohamed et al. (2020), section 6; lecture 11, (11.11).
    """
    if not isinstance(objective, Expectation):
        raise TypeError(
            f"measure_valued needs the law of what is drawn, so an Expectation(law, value); this is a "
            f"{type(objective).__name__}. forward_differences and central_differences need nothing but a function."
        )
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        law = objective.law(theta[..., None, None, :])
        _check_serves("measure_valued", law)
        with torch.no_grad():
            slopes = _MEASURES[type(law)](law, objective.value, noise)
        known = torch.stack([(slope * parameter).sum() for parameter, slope in slopes])
        return torch.autograd.grad(known.sum(), theta)[0]  # the chain rule from the law's parameters to theta


Slopes = list[tuple[Tensor, Tensor]]
"""Parameters of a law [*R, 1, 1, D], each with the estimated slope of E[value] by it, of the same shape."""


def _normal_slopes(law: distributions.Normal, value: Callable, noise: Tensor) -> Slopes:
    size = law.mean.shape[-1]
    if noise.shape[-2:] != (size, 3):
        raise ValueError(
            f"the noise has shape {list(noise.shape)}; for a Normal of {size} coordinates it must be [*R, K, N, {size}, 3], "
            "standard normal, with K = 2 (each part its own) or K = 1 (both the same)."
        )
    plus, minus = noise[..., :1, :, :, :], noise[..., -1:, :, :, :]  # [*R, 1, N, D, 3]
    far = [z[..., 1:].norm(dim=-1) for z in (plus, minus)]  # the length of two normal numbers has the law Weibull(sqrt 2, 2)
    maxwell = plus[..., 0].sign() * plus.norm(dim=-1)
    around = [law.mean + law.std * z[..., 0] for z in (plus, minus)]
    up = value(_replaced(around[0], law.mean + law.std * far[0]))  # [D, *R, 1, N]
    down = value(_replaced(around[1], law.mean - law.std * far[1]))
    slopes = [(law.mean, _averaged(up - down) / (law.std * math.sqrt(2 * math.pi)))]
    if law.log_std.requires_grad:
        up = value(_replaced(around[0], law.mean + law.std * maxwell))
        slopes.append((law.log_std, _averaged(up - value(around[1]))))
    return slopes


def _bernoulli_slopes(law: distributions.Bernoulli, value: Callable, noise: Tensor) -> Slopes:
    plus, minus = (law.sample(z) for z in (noise[..., :1, :, :], noise[..., -1:, :, :]))
    up, down = value(_replaced(plus, torch.ones_like(plus))), value(_replaced(minus, torch.zeros_like(minus)))
    p = law.probabilities
    return [(law.logits, p * (1 - p) * _averaged(up - down))]


def _categorical_slopes(law: distributions.Categorical, value: Callable, noise: Tensor) -> Slopes:
    n = law.logits.shape[-1]
    each = torch.arange(n, device=noise.device).reshape(n, *(1,) * noise.dim())
    without = torch.eye(n, dtype=torch.bool, device=noise.device).reshape(n, *(1,) * noise.dim(), n)
    others = distributions.Categorical(law.logits.masked_fill(without, -math.inf)).sample(noise[..., -1:, :])  # [n, *R, 1, N]
    p = law.probabilities
    return [(law.logits, p * (1 - p) * _averaged(value(each.expand_as(others)) - value(others)))]


_MEASURES = {
    distributions.Normal: _normal_slopes,
    distributions.Bernoulli: _bernoulli_slopes,
    distributions.Categorical: _categorical_slopes,
}


def _replaced(x: Float[Tensor, "*batch D"], other: Float[Tensor, "*batch D"]) -> Float[Tensor, "D *batch D"]:
    """x D times, the i-th time with coordinate i taken from ``other``."""
    here = torch.eye(x.shape[-1], dtype=torch.bool, device=x.device).reshape(-1, *(1,) * (x.dim() - 1), x.shape[-1])
    return torch.where(here, other, x)


def _averaged(difference: Float[Tensor, "D *R N"]) -> Float[Tensor, "*R 1 D"]:
    """Mean over the N samples, coordinates at the end again."""
    return _mean(difference).unsqueeze(-1).movedim(0, -1)


_SERVES = {
    "likelihood_ratio": (
        (distributions.Normal, distributions.MultivariateNormal, distributions.Categorical, distributions.Bernoulli),
        "it has no density whose logarithm could be differentiated",
    ),
    "pathwise": (
        (distributions.Normal, distributions.MultivariateNormal, distributions.Deterministic),
        "its samples jump, or stand still, when its parameters move a little",
    ),
    "measure_valued": (tuple(_MEASURES), "nobody has written its derivative as a difference of two distributions here"),
}
"""Which estimator serves which laws, and why it cannot serve others."""


_DISCRETE = (
    " For discrete laws there is relaxations.estimator(name) besides (a Categorical is written as relaxations.OneHot): "
    "gumbel_softmax and straight_through, which are biased, and rebar use the slope of the value; relax, leave_one_out and "
    "unordered_set need values only."
)
"""``relaxations`` stands above this module, and so is only named."""


def _check_serves(estimator: str, law: Distribution) -> None:
    """Raises TypeError where an estimator cannot serve a law, and names those that can."""
    laws, why = _SERVES[estimator]
    if isinstance(law, laws) or (estimator == "pathwise" and hasattr(law, "rsample")):
        return
    able = [name for name, (served, _) in _SERVES.items() if isinstance(law, served)]
    raise TypeError(
        f"{estimator} cannot serve a {type(law).__name__}: {why}. "
        + (f"{' and '.join(able)} can; " if able else "")
        + "forward_differences and central_differences, which need values only, serve any law."
        + (_DISCRETE if isinstance(law, distributions.Bernoulli | distributions.Categorical) else "")
    )


def mean_value(objective: Objective, points: Float[Tensor, "*R K P"], noise: Any) -> Float[Tensor, "*R K"]:
    """J at each of K parameter vectors, estimated by the mean of N evaluations; noise as at the top of this file.

    Raises ValueError where the objective does not return one number for each evaluation.
    """
    value = objective(points.unsqueeze(-2), noise)
    if value.shape[:-1] != points.shape[:-1]:
        asked = [*points.shape[:-1], "N"]
        raise ValueError(
            f"the objective returned shape {list(value.shape)}; [{', '.join(map(str, asked))}] was to come, a number for each "
            "evaluation. It must be f(theta [..., P], noise) -> [...]: reduce the last axis and no other."
        )
    return _mean(value)


def _mean(value: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch"]:
    """Over N samples. Raises ValueError where there are none."""
    if value.shape[-1] == 0:
        raise ValueError(f"there are no samples: the values have shape {list(value.shape)}. Give noise for N >= 1 of them.")
    return value.mean(-1)


def _steps(step: float | Tensor, theta: Tensor) -> Tensor:
    """One step for each parameter, [P]. Raises ValueError where one is not positive."""
    step = torch.as_tensor(step, dtype=theta.dtype, device=theta.device).expand(theta.shape[-1])
    if not (step > 0).all():
        raise ValueError(f"step is {step.tolist()}; every step must be > 0: a hundredth of its parameter's size, say.")
    return step


def score_surrogate(
    log_probability: Float[Tensor, "*R T E"],
    weight: Float[Tensor, "*R T E"],
    valid: Bool[Tensor, "*R T E"] | None = None,
) -> Float[Tensor, "*R"]:
    """A number whose *gradient* is the score-function estimator: mean_e sum_t weight_t grad log p_t.

    Its value means nothing. The weight is cut off from the gradient. Source: lecture 03, (3.4); lecture 04, (4.4).
    """
    terms = log_probability * weight.detach()
    if valid is not None:
        terms = torch.where(valid, terms, 0)
    return terms.sum(-2).mean(-1)


def score_function(policy: Policy, episodes: Rollout, discount: float = 1.0, causal: bool = True) -> Float[Tensor, "R P"]:
    """The REINFORCE gradient of each replica from whole episodes: unbiased for the gradient of J.

        mean_e sum_t discount^t G_t grad log pi(a_t | s_t),    G_t = sum_{k >= t} discount^(k - t) r_k

    ``causal=False`` weights every step with the return of the whole episode instead: the same expectation, usually with more
    variance.
    Parameters are flat, in the order of ``policy.parameters()``. Source: Williams (1992); lecture 04, (4.4) and (4.5).
    """
    log_probability = policy(episodes.observation).log_prob(episodes.action)
    weight = returns.to_go(episodes.reward, discount, valid=episodes.valid)
    if causal:
        weight = weight * returns.powers(discount, weight.shape[-2], weight)
    else:
        weight = weight[..., :1, :].expand_as(weight)
    return per_replica(score_surrogate(log_probability, weight, episodes.valid), policy)


def per_replica(objective: Float[Tensor, " R"], module: torch.nn.Module) -> Float[Tensor, "R P"]:
    """Each replica's gradient of its own objective, flat, in the order of ``module.parameters()``."""
    return flat_gradient(objective, module.parameters())


def fisher_vector_product(
    policy: Policy,
    observation: Float[Tensor, "R *batch O"],
    damping: float = 0.0,
    weight: Float[Tensor, "R *batch"] | None = None,
) -> Callable[[Float[Tensor, "R P"]], Float[Tensor, "R P"]]:
    """The function v -> (F + damping) v, F each replica's Fisher matrix [P, P], which is never formed:

        F = mean_s E_{a ~ pi(. | s)}[grad log pi(a | s) grad log pi(a | s)^T]
          = Hessian of mean_s KL(pi_fixed(. | s) || pi(. | s)) where the two are the same

    The gradient of that KL is differentiated once more, along v: exact, at the cost of two gradients a call. ``weight``: of
    each observation, summing to 1, in the place of the mean. Parameters are flat, in the order of ``policy.parameters()``.
    Raises ValueError for a damping below 0, and TypeError where the policy's distribution has no ``kl``. Source: Pearlmutter
    (1994); lecture 09, (9.12).
    """
    if not damping >= 0:
        raise ValueError(f"damping is {damping}; it must be >= 0 (0.1 is usual for networks; 0: F itself).")
    parameters = list(policy.parameters())
    sizes = [parameter[0].numel() for parameter in parameters]
    with torch.enable_grad():
        divergence = kl_from_itself(policy(observation)).flatten(1)  # [R, N]
        mean = divergence.mean(1) if weight is None else (divergence * weight.flatten(1)).sum(1)
        slope = torch.autograd.grad(mean.sum(), parameters, create_graph=True, allow_unused=True, materialize_grads=True)

    def product(vector: Tensor) -> Tensor:
        along = [part.reshape(p.shape) for part, p in zip(vector.split(sizes, 1), parameters, strict=True)]
        moved = torch.autograd.grad(slope, parameters, along, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([each.flatten(1) for each in moved], 1) + damping * vector

    return product


def kl_from_itself(law: Distribution) -> Tensor:
    """KL(law, held fixed || law): 0 with slope 0, but its second derivative is the Fisher matrix."""
    if not isinstance(law, distributions.Normal | distributions.Categorical):
        raise TypeError(f"a {type(law).__name__} has no kl here; policies with a Categorical or a Normal have a Fisher matrix.")
    return distributions.frozen(cast(Any, law)).kl(law)


def conjugate_gradient(
    product: Callable[[Float[Tensor, "R P"]], Float[Tensor, "R P"]],
    target: Float[Tensor, "R P"],
    iterations: int = 10,
    tolerance: float = 1e-5,
) -> Float[Tensor, "R P"]:
    """x with A x = target, from products with A only: one system for each replica, A symmetric and positive definite.

        x = 0,  r = p = target
        repeat    alpha = r.r / p.A p;  x <- x + alpha p;  r' = r - alpha A p;  p <- r' + (r'.r' / r.r) p;  r <- r'

    Every iteration adds the best step along one more direction; in exact arithmetic P of them suffice. A replica whose residual
    r is no longer than ``tolerance`` times its target has converged and stops moving, and so does one that meets p.A p <= 0 or
    a number that is not finite. Raises ValueError for fewer than one iteration. Source: Hestenes & Stiefel (1952); lecture 09,
    algorithm 9.1.
    """
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; it must be at least 1 (10 is usual).")
    x, residual, direction = torch.zeros_like(target), target, target
    square = target.square().sum(1)
    enough = tolerance**2 * square
    for _ in range(iterations):
        ahead = product(direction)
        curvature = (direction * ahead).sum(1)
        moving = (square > enough) & (curvature > 0) & torch.isfinite(curvature)
        if not moving.any():
            break
        size = torch.where(moving, square / curvature, 0).unsqueeze(1)
        x = torch.where(moving.unsqueeze(1), x + size * direction, x)
        residual = residual - size * ahead
        before, square = square, torch.where(moving, residual.square().sum(1), 0)  # 0: it never moves again
        direction = residual + torch.where(moving, square / before, 0).unsqueeze(1) * direction
    return x


@dataclass(frozen=True)
class Accuracy:
    """How an estimator of a known vector did over N independent draws, coordinate by coordinate [P]."""

    bias: Float[Tensor, " P"]
    """Mean of the estimates minus the truth."""
    standard_error: Float[Tensor, " P"]
    """Of that bias: sqrt(variance / N)."""
    variance: Float[Tensor, " P"]
    """Of a single estimate (with N - 1)."""

    @property
    def z(self) -> Float[Tensor, " P"]:
        """Bias in standard errors: standard normal for an unbiased estimator and many draws; 0 where both are 0."""
        return torch.where(self.bias == 0, 0, self.bias / self.standard_error)


def bias_and_variance(estimates: Float[Tensor, "N P"], exact: Float[Tensor, " P"]) -> Accuracy:
    """Bias (with its standard error) and variance of an estimator from N >= 2 draws, against the exact vector."""
    if len(estimates) < 2:
        raise ValueError(f"there are {len(estimates)} estimates; a variance needs at least 2.")
    variance = estimates.var(0)
    return Accuracy(estimates.mean(0) - exact, (variance / len(estimates)).sqrt(), variance)
