"""Estimators of the gradient of E[f(b)] where b is discrete: relaxations, and control variates that repair them.

Two laws: ``distributions.Bernoulli(logits [*R, D])``, D coins, b [..., D] of zeros and ones; and ``OneHot(logits [*R, D, K])``,
D choices out of K, b [..., D, K]. f takes such a b with any leading axes, or a point between the corners where an estimator
relaxes, and returns [...]. Below, "event" is D or D, K.

One convention. Each estimator is a *surrogate*

    surrogate(f, law, noise, ...) -> [*R]

whose value is a Monte Carlo estimate of the cost E[f(b)] from N samples, and whose gradient, by autograd, is the estimate of
the gradient: with respect to the logits, and with respect to whatever f itself depends on (a decoder's weights). It is
first-order: its second derivative means nothing. Noise is uniform on [0, 1), [*R, N, *event] unless the surrogate says
otherwise (``noise_shape`` tells), and nothing is drawn in here. f is called on [*R, N, *event].

``METHODS`` lists them all. ``estimator(name)`` makes of one what ``gradients`` calls an estimator, so that each can stand in
for ``likelihood_ratio`` or ``measure_valued`` there. Source: lecture 12.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from .distributions import Bernoulli, Categorical
from .gradients import Expectation, Objective

# -------------------------------------------------------------------------------------------------------- laws and noise


@dataclass(frozen=True)
class OneHot:
    """D independent choices out of K, each one-hot, with probabilities softmax(logits). logits, samples: [..., D, K]."""

    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """By Gumbel-max, from uniform noise [..., D, K]."""
        return gumbel_max(self.logits, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """sum_d log p(value_d), [..., D, K] one-hot -> [...]."""
        return (value * self.logits.log_softmax(-1)).sum((-2, -1))


Law = Any
"""A Bernoulli or a OneHot; whatever else comes is refused in words that name what can serve it."""

Cost = Callable[[Tensor], Tensor]
"""f(b [..., *event]) -> [...]."""


def _inside(uniform: Tensor) -> Tensor:
    """Away from 0 and 1, where logarithms are infinite: uniform_() does return 0."""
    limits = torch.finfo(uniform.dtype)
    return uniform.clamp(limits.tiny, 1 - limits.eps)


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel numbers -log(-log u); finite for u = 0 too. Source: lecture 12, (12.2)."""
    return -(-_inside(uniform).log()).log()


def logistic(uniform: Tensor) -> Tensor:
    """Standard logistic numbers log(1 - u) - log u, the law of the difference of two Gumbels; they fall as u grows."""
    u = _inside(uniform)
    return (-u).log1p() - u.log()


def gumbel_max(logits: Float[Tensor, "*batch K"], uniform: Float[Tensor, "*more K"]) -> Tensor:
    """one-hot argmax_k (logits_k + gumbel_k): an exact sample of softmax(logits). Source: lecture 12, (12.1)."""
    return _corner((logits + gumbel(uniform)).detach())


def _corner(perturbed: Tensor) -> Tensor:
    return one_hot(perturbed.argmax(-1), perturbed.shape[-1]).to(perturbed.dtype)


def sparsemax(logits: Tensor) -> Tensor:
    """The point of the simplex nearest to the logits: max(logits - t, 0), with t such that it sums to one; over the last axis.

    Many entries are exactly 0. Source: Martins & Astudillo (2016), algorithm 1.
    """
    ordered = logits.sort(-1, descending=True).values
    rank = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    support = (1 + rank * ordered > ordered.cumsum(-1)).to(logits.dtype)
    threshold = ((ordered * support).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)
    return (logits - threshold).clamp(min=0)


def entmax15(logits: Tensor) -> Tensor:
    """Between softmax and sparsemax: max(logits / 2 - t, 0)^2, with t such that it sums to one; over the last axis.

    Source: Peters, Niculae & Martins (2019), algorithm 2 (alpha = 1.5).
    """
    half = (logits - logits.amax(-1, keepdim=True)) / 2
    ordered = half.sort(-1, descending=True).values
    rank = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    mean, square = ordered.cumsum(-1) / rank, ordered.square().cumsum(-1) / rank
    spread = (1 - rank * (square - mean.square())) / rank
    thresholds = mean - spread.clamp(min=1e-30).sqrt()  # the root's slope at 0 is infinite
    size = ((thresholds <= ordered) & (spread > 0)).sum(-1, keepdim=True)
    return (half - thresholds.gather(-1, size - 1)).clamp(min=0).square()


def _perturbed(law: Law, uniform: Tensor) -> Tensor:
    """z = logits + noise, [*R, N, *event]: where it lies decides the sample."""
    return _samples_axis(law, law.logits) + (logistic if isinstance(law, Bernoulli) else gumbel)(uniform)


def _hard(law: Law, z: Tensor) -> Tensor:
    """The sample that z decides: which side of 0, or the largest of K."""
    return (z > 0).to(z.dtype) if isinstance(law, Bernoulli) else _corner(z)


def _soft(law: Law, z: Tensor, temperature: float | Tensor, project: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """z / temperature pressed into [0, 1] or onto the simplex; a coin is a choice between z and 0."""
    if project is None:
        return (z / temperature).sigmoid() if isinstance(law, Bernoulli) else (z / temperature).softmax(-1)
    if isinstance(law, OneHot):
        return project(z / temperature)
    return project(torch.stack([z, torch.zeros_like(z)], -1) / temperature)[..., 0]


def _conditional(law: Law, b: Tensor, uniform: Tensor) -> Tensor:
    """A second z from independent noise, drawn among those that decide for b; differentiable in the logits.

    Coins: the uniform number behind b = 1 lies below p, so v p takes its place; behind b = 0, p + v (1 - p). Choices: the
    largest of all z is Gumbel around logsumexp(logits), the others are Gumbels cut off there. Source: Tucker et al. (2017),
    appendix; Maddison et al. (2014); lecture 12, (12.10).
    """
    logits = _samples_axis(law, law.logits)
    v = _inside(uniform)
    if isinstance(law, Bernoulli):
        return torch.where(b > 0.5, softplus(logits + (-v).log1p()) - v.log(), (-v).log1p() - softplus(v.log() - logits))
    free = gumbel(v)
    top = logits.logsumexp(-1, keepdim=True) + (b * free).sum(-1, keepdim=True)
    return torch.where(b > 0.5, top, -torch.logaddexp(-(logits + free), -top))


def _samples_axis(law: Law, parameter: Tensor) -> Tensor:
    return parameter.unsqueeze(-2 if isinstance(law, Bernoulli) else -3)


def _with_samples(law: Law) -> Law:
    """The same law with an axis of length one for the samples."""
    return type(law)(_samples_axis(law, law.logits))


def outcomes(law: Law, *, limit: int = 4096) -> Tensor:
    """All M values of b, [M, *event]. Raises ValueError for more than ``limit`` of them."""
    event = law.logits.shape[-1:] if isinstance(law, Bernoulli) else law.logits.shape[-2:]
    sides = 2 if isinstance(law, Bernoulli) else event[1]
    if sides ** event[0] > limit:
        raise ValueError(
            f"there are {sides}^{event[0]} outcomes, more than limit = {limit}; take fewer variables, raise the limit, or an "
            "estimator that samples: leave_one_out, disarm, rebar."
        )
    choice = torch.cartesian_prod(*[torch.arange(sides, device=law.logits.device)] * event[0]).reshape(-1, event[0])
    return (choice if isinstance(law, Bernoulli) else one_hot(choice, sides)).to(law.logits.dtype)


# ------------------------------------------------------------------------------------------------------- the small parts


def _zero(x: Tensor) -> Tensor:
    """0, with the gradient of x."""
    return x - x.detach()


def _scored(value: Tensor, weight: Tensor, log_probability: Tensor) -> Tensor:
    """value, and beside its own gradient that of weight log p with the weight held fixed."""
    return value + weight.detach() * _zero(log_probability)


def _zero_through(f: Cost, point: Tensor) -> Tensor:
    """0, with the gradient of f(point) by way of the point only, not of what else f depends on; [...]."""
    if not point.requires_grad:  # nobody asks
        return point.new_zeros(())
    with torch.enable_grad():
        here = point.detach().requires_grad_()
        value = f(here)
        _check_slope(value)
        slope = torch.autograd.grad(value.sum(), here, allow_unused=True)[0]
    if slope is None:
        _check_slope(value.detach())
    return (slope * _zero(point)).flatten(value.dim()).sum(-1)


# ------------------------------------------------------------------------------------- enumeration and the score function


def enumerate_all(f: Cost, law: Law, noise: None = None) -> Tensor:
    """sum_b p(b) f(b): no estimate but the truth, and its exact gradient. ``outcomes`` says how many are too many."""
    _check(law, None, "enumerate_all")
    every = outcomes(law)
    points = every.expand(*_leading(law), *every.shape)
    return (_with_samples(law).log_prob(every).exp() * f(points)).sum(-1)


def score_function(f: Cost, law: Law, noise: Tensor, baseline: float | Tensor = 0.0) -> Tensor:
    """mean_n (f(b_n) - baseline) grad log p(b_n): unbiased for any baseline that does not depend on b_n.

    baseline: a number, or [*R, 1]. Source: lecture 03, (3.4); lecture 12, (12.5).
    """
    _check(law, noise, "score_function")
    law = _with_samples(law)
    b = law.sample(noise)
    value = f(b)
    return _scored(value, value - baseline, law.log_prob(b)).mean(-1)


def leave_one_out(f: Cost, law: Law, noise: Tensor) -> Tensor:
    """The score function with each sample's own baseline: the mean f of the N - 1 others. Unbiased; needs N >= 2.

    The same as a baseline of the mean over all N, times N / (N - 1). Source: Kool et al. (2019); lecture 12, (12.6).
    """
    _check(law, noise, "leave_one_out")
    samples = noise.shape[-law.logits.dim() + len(_leading(law)) - 1]
    if samples < 2:
        raise ValueError("leave_one_out has one sample, and so no others to compare it with; draw two, or take score_function.")
    law = _with_samples(law)
    b = law.sample(noise)
    value = f(b)
    others = (value.sum(-1, keepdim=True) - value) / (samples - 1)
    return _scored(value, value - others, law.log_prob(b)).mean(-1)


def importance_sampled(f: Cost, law: Law, noise: Tensor, proposal: Law) -> Tensor:
    """The score function with samples of another law of the same kind, weighted by p(b) / q(b). Unbiased where q > 0.

    Its variance is finite here and may be huge: keep q near p |f|.
    """
    _check(law, noise, "importance_sampled")
    _check(proposal, noise, "importance_sampled")
    law, proposal = _with_samples(law), _with_samples(proposal)
    b = proposal.sample(noise)
    value, log_probability = f(b), law.log_prob(b)
    weight = (log_probability - proposal.log_prob(b)).exp().detach()
    return (weight * _scored(value, value, log_probability)).mean(-1)


def vimco(f: Cost, law: Law, noise: Tensor) -> Tensor:
    """Of another objective, the bound E[log mean_n exp f(b_n)] of N samples together, the surrogate of VIMCO.

    Each sample is credited with what the bound would lose if its f were the mean of the others' (in the paper: its weight
    their geometric mean). Unbiased for the gradient of that bound. Source: Mnih & Rezende (2016); lecture 12.
    """
    _check(law, noise, "vimco")
    law = _with_samples(law)
    b = law.sample(noise)
    value = f(b)  # [*R, N]
    samples = value.shape[-1]
    if samples < 2:
        raise ValueError("vimco has one sample, and so no others to compare it with; draw two or more.")
    others = (value.sum(-1, keepdim=True) - value) / (samples - 1)
    replaced = torch.where(torch.eye(samples, dtype=torch.bool, device=value.device), others[..., None], value[..., None, :])
    bound = value.logsumexp(-1) - math.log(samples)
    credit = bound.unsqueeze(-1) - (replaced.logsumexp(-1) - math.log(samples))
    return bound + (credit.detach() * _zero(law.log_prob(b))).sum(-1)


# ------------------------------------------------------------------------------------------ relaxations: biased, and quiet


def straight_through(f: Cost, law: Law, noise: Tensor) -> Tensor:
    """Forward the hard sample b, backward its probabilities: f'(b) grad p. Biased unless f is linear in each variable.

    For coins sigmoid, for choices softmax. Source: Bengio et al. (2013); lecture 12, (12.4).
    """
    _check(law, noise, "straight_through")
    law = _with_samples(law)
    return _relaxed(f, law, law.sample(noise) + _zero(law.probabilities))


def gumbel_softmax(
    f: Cost, law: Law, noise: Tensor, temperature: float = 0.5, project: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """f at the relaxed sample softmax((logits + gumbel) / temperature), differentiated through. Biased, in value too.

    Coins: sigmoid((logits + logistic) / temperature). project: another map onto the simplex, ``sparsemax`` or ``entmax15``.
    Source: Jang et al. (2017), Maddison et al. (2017); lecture 12, (12.3).
    """
    _check(law, noise, "gumbel_softmax", temperature)
    return _relaxed(f, law, _soft(law, _perturbed(law, noise), temperature, project))


def straight_through_gumbel(f: Cost, law: Law, noise: Tensor, temperature: float = 0.5) -> Tensor:
    """Forward the hard sample, backward the relaxed one that has the same noise. Biased; its value is not.

    Source: Jang et al. (2017), section 2.2; lecture 12, (12.4).
    """
    _check(law, noise, "straight_through_gumbel", temperature)
    z = _perturbed(law, noise)
    return _relaxed(f, law, _hard(law, z) + _zero(_soft(law, z, temperature)))


def gumbel_rao(f: Cost, law: Law, noise: Tensor, temperature: float = 0.5) -> Tensor:
    """``straight_through_gumbel`` with the relaxed slope averaged over M draws of the noise given the hard sample.

    As biased, and never noisier: a Rao-Blackwellisation, without one more evaluation of f. The conditional noise is held fixed
    when the slope is taken. Noise: [*R, N, *event, 1 + M]. Source: Paulus, Maddison & Krause (2021).
    """
    _check(law, noise[..., 0], "gumbel_rao", temperature)
    b = _hard(law, _perturbed(law, noise[..., 0]))
    logits = _samples_axis(law, law.logits)
    soft = []
    for again in noise[..., 1:].unbind(-1):
        fixed = (_conditional(law, b, again) - logits).detach()
        soft.append(_soft(law, logits + fixed, temperature))
    return _relaxed(f, law, b + _zero(torch.stack(soft).mean(0)))


def _relaxed(f: Cost, law: Law, point: Tensor) -> Tensor:
    value = f(point)
    if law.logits.requires_grad:
        _check_slope(value)
    return value.mean(-1)


# ------------------------------------------------------------------------------------- relaxations as control variates


def rebar(f: Cost, law: Law, noise: Tensor, temperature: float = 0.5, scale: float | Tensor = 1.0) -> Tensor:
    """The score function, less that of the relaxed cost, plus what the relaxed cost's gradient is pathwise. Unbiased.

        [f(b) - s f(soft(z~))] grad log p(b) + s grad f(soft(z)) - s grad f(soft(z~))

    z decides b; z~ is drawn anew given b (``_conditional``), and that is why the three parts cancel in the mean. Three
    evaluations of f. Noise: [*R, N, *event, 2]. Source: Tucker et al. (2017); lecture 12, (12.9).
    """
    _check(law, noise[..., 0], "rebar", temperature)
    z = _perturbed(law, noise[..., 0])
    b = _hard(law, z.detach())
    near = _soft(law, _conditional(law, b, noise[..., 1]), temperature)
    value = f(b)
    with torch.no_grad():  # what f itself depends on learns from f(b) alone
        relaxed = f(near)
    pathwise = _zero_through(f, _soft(law, z, temperature)) - _zero_through(f, near)
    score = (value.detach() - scale * relaxed) * _zero(_with_samples(law).log_prob(b))
    return (value + score + scale * pathwise).mean(-1)


def relax(f: Cost, law: Law, noise: Tensor, control: Cost) -> Tensor:
    """``rebar`` with any differentiable control(z) [..., *event] -> [...] in place of the relaxed cost. Unbiased.

    The better it foretells f, the less noise; ``squared_estimate`` trains it. One evaluation of f, which may be a black box.
    Noise: [*R, N, *event, 2]. Source: Grathwohl et al. (2018); lecture 12, (12.9).
    """
    _check(law, noise[..., 0], "relax")
    z = _perturbed(law, noise[..., 0])
    b = _hard(law, z.detach())
    near = _conditional(law, b, noise[..., 1])
    value = f(b)
    score = (value.detach() - control(near.detach())) * _zero(_with_samples(law).log_prob(b))
    return (value + score + _zero(control(z)) - _zero(control(near))).mean(-1)


def lax(f: Cost, law: Law, noise: Tensor, control: Cost) -> Tensor:
    """[f(b) - control(z)] grad log p(z) + grad control(z), with the density of the continuous z that decides b. Unbiased.

    One draw of noise does; but the score of z is noisier than that of b. Source: Grathwohl et al. (2018).
    """
    _check(law, noise, "lax")
    z = _perturbed(law, noise)
    fixed = z.detach()
    value = f(_hard(law, fixed))
    away = fixed - _samples_axis(law, law.logits)
    if isinstance(law, Bernoulli):
        log_density = (-away - 2 * softplus(-away)).sum(-1)
    else:
        log_density = (-away - (-away).exp()).sum((-2, -1))
    return (value + (value.detach() - control(fixed)) * _zero(log_density) + _zero(control(z))).mean(-1)


def squared_estimate(surrogate: Float[Tensor, "*R"], logits: Tensor) -> Tensor:
    """The sum of the squared gradient estimates, differentiable in a control's own parameters (or in ``scale`` of REBAR).

    The mean of an unbiased estimate does not depend on them, so making its square small makes its variance small. Take the
    gradient with respect to these parameters and no others. Source: Grathwohl et al. (2018), section 3.1.
    """
    return torch.autograd.grad(surrogate.sum(), logits, create_graph=True)[0].square().sum()


# -------------------------------------------------------------------------------------------------- antithetic, for coins


def arm(f: Cost, law: Law, noise: Tensor) -> Tensor:
    """Coins only: (f(1[u > sigmoid(-logit)]) - f(1[u < sigmoid(logit)])) (u - 1/2), the same u in both. Unbiased.

    Two evaluations of f. Source: Yin & Zhou (2019); lecture 12, (12.7).
    """
    _check(law, noise, "arm")
    logits = _samples_axis(law, law.logits)
    up, down = f((noise > (-logits).sigmoid()).to(noise.dtype)), f((noise < logits.sigmoid()).to(noise.dtype))
    slope = (up - down).detach().unsqueeze(-1) * (noise - 0.5)
    return ((up + down) / 2 + (slope * _zero(logits)).sum(-1)).mean(-1)


def disarm(f: Cost, law: Law, noise: Tensor) -> Tensor:
    """Coins only: ``arm`` averaged over what u may have been, given the two samples it made. Unbiased, never noisier.

        (f(b) - f(b')) / 2 (-1)^b' 1[b != b'] sigmoid(|logit|),    b = 1[u < p],  b' = 1[1 - u < p]

    Two evaluations of f. Source: Dong, Mnih & Tucker (2020); Yin et al. (2020); lecture 12, (12.8).
    """
    _check(law, noise, "disarm")
    logits = _samples_axis(law, law.logits)
    b, other = ((u < logits.sigmoid()).to(noise.dtype) for u in (noise, 1 - noise))
    value, antithetic = f(b), f(other)
    # (-1)^b' 1[b != b'] is b - b'
    slope = (value - antithetic).detach().unsqueeze(-1) / 2 * (b - other) * logits.abs().sigmoid()
    return ((value + antithetic) / 2 + (slope * _zero(logits)).sum(-1)).mean(-1)


# -------------------------------------------------------------------------- over a list of all outcomes: never one twice


def sum_and_sample(f: Cost, law: Law, noise: Tensor, keep: int = 2) -> Tensor:
    """The ``keep`` likeliest outcomes summed exactly, the others sampled with the score function. Unbiased.

    keep + N evaluations of f. Noise: [*R, N]. Source: Liang et al. (2018); Liu et al. (2019).
    """
    _check(law, None, "sum_and_sample")
    every, log_probability = _listed(law, "sum_and_sample", keep)
    likeliest = log_probability.topk(keep, -1).indices
    head = (log_probability.gather(-1, likeliest).exp() * f(every[likeliest])).sum(-1)
    if keep == len(every):
        return head
    if not noise.shape[-1]:
        raise ValueError("sum_and_sample has zero samples for the outcomes it does not sum; its noise is [*R, N], N >= 1.")
    rest = log_probability.detach().scatter(-1, likeliest, -math.inf)
    drawn = Categorical(rest.unsqueeze(-2)).sample(noise)
    value = f(every[drawn])
    tail = _scored(value, value, log_probability.gather(-1, drawn)).mean(-1)
    return head + rest.exp().sum(-1) * tail


def without_replacement(f: Cost, law: Law, noise: Tensor, size: int = 3) -> Tensor:
    """``size`` different outcomes, those with the largest perturbed log-probabilities, weighted by p / q. Unbiased.

    q = 1 - exp(-exp(log p - k)) is the chance to lie above k, the largest that was left out. size evaluations of f. Noise:
    [*R, M], one for each outcome. Source: Kool, van Hoof & Welling (2019).
    """
    _check(law, None, "without_replacement")
    every, log_probability = _listed(law, "without_replacement", size, left=1)
    perturbed = log_probability.detach() + gumbel(noise)
    best = perturbed.topk(size + 1, -1)
    chosen, threshold = best.indices[..., :-1], best.values[..., -1:]
    chosen_log = log_probability.gather(-1, chosen)
    included = -torch.expm1(-(chosen_log.detach() - threshold).exp())
    value = f(every[chosen])
    return (chosen_log.detach().exp() / included * _scored(value, value, chosen_log)).sum(-1)


def unordered_set(f: Cost, law: Law, noise: Tensor, size: int = 3) -> Tensor:
    """``size`` different outcomes S, in whatever order they came, each with the others for its baseline. Unbiased.

        sum_{s in S} p(s) R(S, s) grad log p(s) [f(s) - sum_{s' in S} p(s') R_s(S, s') f(s')]

    R(S, s) = P(S \\ s drawn from all but s) / P(S), R_s the same with s taken away beforehand, R_s(S, s) = 1. P(S) is a sum
    over all size! orders. size evaluations of f. Noise: [*R, M], one for each outcome. Source: Kool, van Hoof & Welling (2020).
    """
    _check(law, None, "unordered_set")
    every, log_probability = _listed(law, "unordered_set", size, least=2)  # one alone has no others for a baseline
    chosen = (log_probability.detach() + gumbel(noise)).topk(size, -1).indices
    chosen_log = log_probability.gather(-1, chosen)
    p = chosen_log.detach().exp()
    whole = _set_probability(p, set())
    value = f(every[chosen])
    total = torch.zeros_like(whole)
    for s in range(size):
        ratio = _set_probability(p, {s})
        baseline = p[..., s] * value[..., s].detach()
        for other in set(range(size)) - {s}:
            baseline = baseline + p[..., other] * _set_probability(p, {s, other}) / ratio * value[..., other].detach()
        weight = p[..., s] * ratio / whole
        total = total + weight * _scored(value[..., s], value[..., s] - baseline, chosen_log[..., s])
    return total


def _set_probability(p: Tensor, taken: set[int]) -> Tensor:
    """That drawing without replacement from all outcomes but ``taken`` yields the others of p [..., k], in any order."""
    rest = [i for i in range(p.shape[-1]) if i not in taken]
    start = 1 - sum(p[..., i] for i in taken)
    total = torch.zeros_like(p[..., 0])
    for order in itertools.permutations(rest):
        mass, product = start, torch.ones_like(total)
        for i in order:
            product = product * p[..., i] / mass
            mass = mass - p[..., i]
        total = total + product
    return total


def _listed(law: Law, name: str, size: int, least: int = 1, left: int = 0) -> tuple[Tensor, Tensor]:
    """All outcomes [M, *event] and their log-probabilities [*R, M]. ``left``: how many must be left over."""
    every = outcomes(law)
    if not least <= size <= len(every) - left:
        raise ValueError(f"{name} asks for {size} of {len(every)} outcomes; it can be {least} .. {len(every) - left}.")
    return every, _with_samples(law).log_prob(every)


# ------------------------------------------------------------------------------------------------------------- the list

BOTH, COINS = (Bernoulli, OneHot), (Bernoulli,)


@dataclass(frozen=True)
class Method:
    """What is known of a surrogate. evaluations: of f for each of N samples, or in all where N does not count."""

    surrogate: Callable[..., Tensor]
    noise: str = "event"
    """Its shape. event: [N, *event]; twice: [N, *event, 2]; many: [N, *event, 5]; samples: [N]; outcomes: [M]; none."""
    evaluations: int = 1
    unbiased: bool = True
    serves: tuple[type, ...] = BOTH


METHODS = {
    "enumerate_all": Method(enumerate_all, "none", 0),
    "score_function": Method(score_function),
    "leave_one_out": Method(leave_one_out),
    "importance_sampled": Method(importance_sampled),
    "vimco": Method(vimco),
    "straight_through": Method(straight_through, unbiased=False),
    "gumbel_softmax": Method(gumbel_softmax, unbiased=False),
    "gumbel_sparsemax": Method(partial(gumbel_softmax, project=sparsemax), unbiased=False),
    "gumbel_entmax": Method(partial(gumbel_softmax, project=entmax15), unbiased=False),
    "straight_through_gumbel": Method(straight_through_gumbel, unbiased=False),
    "gumbel_rao": Method(gumbel_rao, "many", unbiased=False),
    "rebar": Method(rebar, "twice", 3),
    "relax": Method(relax, "twice"),
    "lax": Method(lax),
    "arm": Method(arm, evaluations=2, serves=COINS),
    "disarm": Method(disarm, evaluations=2, serves=COINS),
    "sum_and_sample": Method(sum_and_sample, "samples"),
    "without_replacement": Method(without_replacement, "outcomes"),
    "unordered_set": Method(unordered_set, "outcomes"),
}
"""Every surrogate by its name. ``unbiased`` is for the gradient of E[f(b)], of ``vimco`` for that of its bound."""


def noise_shape(name: str, law: Law, samples: int) -> tuple[int, ...]:
    """The shape, after the leading axes, of the uniform noise that a method takes for N samples."""
    event = tuple(law.logits.shape[-1:] if isinstance(law, Bernoulli) else law.logits.shape[-2:])
    kind = METHODS[name].noise
    if kind in ("none", "outcomes"):
        return (len(outcomes(law)),) if kind == "outcomes" else ()
    return (samples,) if kind == "samples" else (samples, *event, *{"event": (), "twice": (2,), "many": (5,)}[kind])


def estimator(name: str, **settings: Any) -> Callable[[Objective, Tensor, Any], Tensor]:
    """A method as an estimator in the sense of ``gradients``: (Expectation, theta [*R, P], noise [*R, 1, N, ...]) -> [*R, P].

    The Expectation's law takes theta [..., P] to Bernoulli(logits [..., D]) or OneHot(logits [..., D, K]). Raises TypeError for
    another objective or law.
    """
    surrogate = METHODS[name].surrogate

    def estimate(objective: Objective, theta: Float[Tensor, "*R P"], noise: Any) -> Float[Tensor, "*R P"]:
        if not isinstance(objective, Expectation):
            raise TypeError(
                f"{name} needs the law of what is drawn, so an Expectation(law, value); this is a {type(objective).__name__}. "
                "gradients.forward_differences and central_differences need nothing but a function."
            )
        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            value = surrogate(objective.value, objective.law(theta.unsqueeze(-2)), noise, **settings)
            return torch.autograd.grad(value.sum(), theta)[0]

    return estimate


# ----------------------------------------------------------------------------------------------------------- bad input


def _leading(law: Law) -> torch.Size:
    return law.logits.shape[: -1 if isinstance(law, Bernoulli) else -2]


def _check(law: Any, noise: Tensor | None, name: str, temperature: float | Tensor = 1.0) -> None:
    """Raises TypeError for a law the method cannot serve, ValueError for logits, noise or temperature it cannot use."""
    serves = METHODS[name].serves
    if not isinstance(law, serves):
        able = [other for other, method in METHODS.items() if isinstance(law, method.serves)]
        if not able and isinstance(law, Categorical):
            rescue = "Write it as relaxations.OneHot(logits [..., D, K]), which all methods but arm and disarm serve."
        elif able:
            rescue = f"These can: {', '.join(able)}."
        else:
            rescue = "For continuous laws there are gradients.pathwise, likelihood_ratio and measure_valued."
        raise TypeError(f"{name} serves {' and '.join(each.__name__ for each in serves)}, not {type(law).__name__}. {rescue}")
    if not torch.isfinite(law.logits.detach()).all():
        raise ValueError("the logits hold inf or NaN; look at what made them. (A logit of 40 is as certain as numbers get.)")
    if not torch.as_tensor(temperature > 0).all() or not torch.as_tensor(temperature < math.inf).all():
        raise ValueError(f"temperature is {temperature}; it must be > 0 and finite: 0.5, say. Anneal it to a floor, not to 0.")
    if noise is None:
        return
    axes = 1 if isinstance(law, Bernoulli) else 2
    event = law.logits.shape[-axes:]
    if noise.dim() <= axes or noise.shape[-axes:] != event:
        raise ValueError(
            f"the noise given to {name} has shape {list(noise.shape)} for logits {list(law.logits.shape)}; see noise_shape: "
            f"{list(event)} belongs behind the axis of the samples."
        )
    if not noise.shape[-axes - 1]:
        raise ValueError(f"{name} has zero samples; draw at least one: noise [*R, N, *event] with N >= 1.")


def _check_slope(value: Tensor) -> None:
    """Raises ValueError where a relaxation meets a cost that does not answer to small changes of b."""
    if not value.requires_grad:
        raise ValueError(
            "no gradient comes back through f: it compares, rounds or detaches, and a relaxation needs its slope. "
            "score_function, leave_one_out, relax, arm, disarm and unordered_set need values only."
        )
