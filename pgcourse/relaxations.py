"""Estimators of the gradient of E[f(b)] where b is discrete: relaxations, and control variates that repair them.

Two laws: ``distributions.Bernoulli(logits [*R, D])``, D coins, b [..., D] of zeros and ones; and ``OneHot(logits [*R, D, K])``,
D choices out of K, b [..., D, K]. f takes such a b with any leading axes, or a point between the corners where an estimator
relaxes, and returns [...]. Below, "event" is D or D, K.

One convention. Each estimator is a *surrogate*

    surrogate(f, law, noise, ...) -> [*R]

whose value is a Monte Carlo estimate of the cost E[f(b)] from N samples, and whose gradient, by autograd, is the estimate of
the gradient: with respect to the logits, and with respect to whatever f itself depends on (a decoder's weights). Most have
right derivatives of any order (``Method.any_order``); of the others a second derivative by the logits is an error. Noise is
uniform on [0, 1), [*R, N, *event] unless the surrogate says otherwise (``noise_shape`` tells), and nothing is drawn in here.
f is called on [*R, K, *event], K points in all.

What makes an estimator is not the summing up but where f is evaluated and what each value counts. So each is written as a
function of (law, noise, ...) that returns ``Points``; ``stochastic`` puts these into graphs.

``METHODS`` lists them all. ``estimator(name)`` makes of one what ``gradients`` calls an estimator, so that each can stand in
for ``likelihood_ratio`` or ``measure_valued`` there. Source: lecture 12.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
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
    """z = logits + noise: where it lies decides the sample."""
    return law.logits + (logistic if isinstance(law, Bernoulli) else gumbel)(uniform)


def _hard(law: Law, z: Tensor) -> Tensor:
    """The sample that z decides: which side of 0, or the largest of K."""
    return (z > 0).to(z.dtype) if isinstance(law, Bernoulli) else _corner(z)


def _soft(law: Law, z: Tensor, temperature: float | Tensor, project: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """z / temperature pressed into [0, 1] or onto the simplex; a coin is a choice between z and 0."""
    above, below = temperature > 0, temperature < math.inf
    if not (above and below if isinstance(above, bool) else (above & below).all()):
        raise ValueError(f"temperature is {temperature}; it must be > 0 and finite: 0.5, say. Anneal it to a floor, not to 0.")
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
    logits, v = law.logits, _inside(uniform)
    if isinstance(law, Bernoulli):
        return torch.where(b > 0.5, softplus(logits + (-v).log1p()) - v.log(), (-v).log1p() - softplus(v.log() - logits))
    free = gumbel(v)
    top = logits.logsumexp(-1, keepdim=True) + (b * free).sum(-1, keepdim=True)
    return torch.where(b > 0.5, top, -torch.logaddexp(-(logits + free), -top))


def _samples_at(law: Law) -> int:
    """The place of the samples' axis, counted from the end."""
    return -3 if isinstance(law, OneHot) else -2


def _with_samples(law: Law) -> Law:
    """The same law with an axis of length one for the samples."""
    return type(law)(law.logits.unsqueeze(_samples_at(law)))


def _before_samples(law: Law) -> torch.Size:
    return law.logits.shape[: _samples_at(law)]


def outcomes(law: Law, *, limit: int = 4096) -> Tensor:
    """All M values of b, [M, *event]; of a Categorical, 0 .. M - 1. Raises ValueError for more than ``limit`` of them."""
    kinds = 2 if isinstance(law, Bernoulli) else law.logits.shape[-1]
    variables = 1 if isinstance(law, Categorical) else law.logits.shape[-1 if isinstance(law, Bernoulli) else -2]
    if kinds**variables > limit:
        raise ValueError(
            f"there are {kinds}^{variables} outcomes, more than limit = {limit}; take fewer variables, raise the limit, or an "
            "estimator that samples: leave_one_out, disarm, rebar."
        )
    each = torch.arange(kinds, device=law.logits.device)
    if isinstance(law, Categorical):
        return each
    choice = torch.cartesian_prod(*[each] * variables).reshape(-1, variables)
    return (choice if isinstance(law, Bernoulli) else one_hot(choice, kinds)).to(law.logits.dtype)


# -------------------------------------------------------------------------------------------------- points and surrogates


@dataclass(frozen=True)
class Points:
    """What an estimator is: where it evaluates f, and what each value counts,

        E[f(b)] = E[mean_k weight_k f(value_k)],

    not only at the parameters with which the points were drawn but for all others near them, the points held fixed or moved as
    the estimator says. So both sides have the same derivatives, of any order. Source: lecture 13.
    """

    value: Tensor
    """[*R, K, *event]"""
    weight: Tensor
    """[*R, K], or a number; differentiable"""
    baseline: Callable[[Tensor], Tensor] | Tensor | None = None
    """What is subtracted from each cost without changing a mean: numbers, or a function of the costs [*R, K]"""
    control: Tensor | None = None
    """[*R, K]: added, with mean zero for all parameters"""
    independent: bool = False
    """Whether the points are independent draws that count alike, up to the derivatives of their weights"""
    slope: bool = False
    """Whether f must have a slope at the points: they move with the parameters"""


def magic_box(log_probability: Tensor) -> Tensor:
    """1, whose derivatives of any order are those of p / p: exp(log p - stop(log p)). Source: Foerster et al. (2018)."""
    return (log_probability - log_probability.detach()).exp()


_POINTS: dict[Callable[..., Tensor], Callable[..., Points]] = {}
"""What each surrogate is made of."""


def _surrogate(points: Callable[..., Points]) -> Callable[..., Tensor]:
    """From points(law, noise, ...) the surrogate(f, law, noise, ...) -> [*R].

    To the points function, laws (of p, and of a proposal) come with an axis of length one for the samples.
    """

    @wraps(points)
    def surrogate(f: Cost, law: Law, noise: Tensor | None = None, *settings: Any, **named: Any) -> Tensor:
        _check(law, noise, points.__name__)
        settings = tuple(_with_samples(each) if isinstance(each, BOTH) else each for each in settings)
        named = {name: _with_samples(each) if isinstance(each, BOTH) else each for name, each in named.items()}
        at = points(_with_samples(law), noise, *settings, **named)
        value = f(at.value)
        if at.slope and law.logits.requires_grad:
            _check_slope(value)
        total = at.weight * value
        if at.control is not None:
            total = total + at.control
        if at.baseline is not None:
            baseline = at.baseline(value.detach()) if callable(at.baseline) else at.baseline
            total = total - _zero(at.weight) * baseline
        return total.mean(-1)

    _POINTS[surrogate] = points
    return surrogate


def finite(x: Tensor) -> bool:
    """Whether all numbers are finite: their sum is (a third of the time of ``isfinite`` for a few numbers)."""
    return math.isfinite(x.detach().sum())


def _zero(x: Tensor) -> Tensor:
    """0, with the gradient of x."""
    return x - x.detach()


def zero_once(x: Tensor, name: str) -> Tensor:
    """0, with the first derivative of x; who asks for a second one gets a RuntimeError that says why there is none."""
    return _Once.apply(x, name)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, name):
        ctx.save_for_backward(x)
        ctx.name = name
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        if torch.is_grad_enabled():  # a graph is made of this, for derivatives of it
            gradient = gradient + _Never.apply(ctx.saved_tensors[0], ctx.name)
        return gradient, None


class _Never(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, name):
        ctx.name = name
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx, *_):
        any_order = [name for name, method in METHODS.items() if method.unbiased and method.any_order]
        raise RuntimeError(
            f"{ctx.name} has a first derivative only, and its second would be silently wrong. Where you need one, take "
            f"an estimator that has it: {', '.join(any_order)}."
        )


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
    return (slope * zero_once(point, "relaxations.rebar")).flatten(value.dim()).sum(-1)


# ------------------------------------------------------------------------------------- enumeration and the score function


@_surrogate
def enumerate_all(law: Law, noise: None = None) -> Points:
    """sum_b p(b) f(b): no estimate but the truth, and its exact gradient. ``outcomes`` says how many are too many."""
    every = outcomes(law)
    return Points(every.expand(*_before_samples(law), *every.shape), len(every) * law.log_prob(every).exp())


@_surrogate
def score_function(law: Law, noise: Tensor, baseline: float | Tensor = 0.0) -> Points:
    """mean_n (f(b_n) - baseline) grad log p(b_n): unbiased for any baseline that does not depend on b_n.

    baseline: a number, or [*R, 1]. Source: lecture 03, (3.4); lecture 12, (12.5).
    """
    b = law.sample(noise)
    fixed = torch.as_tensor(baseline).detach() if isinstance(baseline, Tensor) or baseline else None
    return Points(b, magic_box(law.log_prob(b)), fixed, independent=True)


@_surrogate
def leave_one_out(law: Law, noise: Tensor) -> Points:
    """The score function with each sample's own baseline: the mean f of the N - 1 others. Unbiased; needs N >= 2.

    The same as a baseline of the mean over all N, times N / (N - 1). Source: Kool et al. (2019); lecture 12, (12.6).
    """
    b = law.sample(noise)
    return Points(b, magic_box(law.log_prob(b)), mean_of_others, independent=True)


def mean_of_others(value: Float[Tensor, "*R N"]) -> Float[Tensor, "*R N"]:
    """For each sample the mean over the N - 1 others."""
    samples = value.shape[-1]
    if samples < 2:
        raise ValueError("leave_one_out has one sample, and so no others to compare it with; draw two, or take score_function.")
    return (value.sum(-1, keepdim=True) - value) / (samples - 1)


@_surrogate
def importance_sampled(law: Law, noise: Tensor, proposal: Law) -> Points:
    """The score function with samples of another law of the same kind, weighted by p(b) / q(b). Unbiased where q > 0.

    Its variance is finite here and may be huge: keep q near p |f|.
    """
    if type(proposal) is not type(law):
        raise TypeError(
            f"the proposal is a {type(proposal).__name__}, the law a {type(law).__name__}; they must be of one kind."
        )
    b = proposal.sample(noise)
    return Points(b, (law.log_prob(b) - proposal.log_prob(b).detach()).exp(), independent=True)


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
    return bound + (credit.detach() * zero_once(law.log_prob(b), "vimco")).sum(-1)


# ------------------------------------------------------------------------------------------ relaxations: biased, and quiet


@_surrogate
def straight_through(law: Law, noise: Tensor) -> Points:
    """Forward the hard sample b, backward its probabilities: f'(b) grad p. Biased unless f is linear in each variable.

    For coins sigmoid, for choices softmax. Source: Bengio et al. (2013); lecture 12, (12.4).
    """
    return _relaxed(law.sample(noise) + zero_once(law.probabilities, "straight_through"))


@_surrogate
def gumbel_softmax(
    law: Law, noise: Tensor, temperature: float = 0.5, project: Callable[[Tensor], Tensor] | None = None
) -> Points:
    """f at the relaxed sample softmax((logits + gumbel) / temperature), differentiated through. Biased, in value too.

    Coins: sigmoid((logits + logistic) / temperature). project: another map onto the simplex, ``sparsemax`` or ``entmax15``.
    Source: Jang et al. (2017), Maddison et al. (2017); lecture 12, (12.3).
    """
    return _relaxed(_soft(law, _perturbed(law, noise), temperature, project))


@_surrogate
def straight_through_gumbel(law: Law, noise: Tensor, temperature: float = 0.5) -> Points:
    """Forward the hard sample, backward the relaxed one that has the same noise. Biased; its value is not.

    Source: Jang et al. (2017), section 2.2; lecture 12, (12.4).
    """
    z = _perturbed(law, noise)
    return _relaxed(_hard(law, z) + zero_once(_soft(law, z, temperature), "straight_through_gumbel"))


@_surrogate
def gumbel_rao(law: Law, noise: Tensor, temperature: float = 0.5) -> Points:
    """``straight_through_gumbel`` with the relaxed slope averaged over M draws of the noise given the hard sample.

    As biased, and never noisier: a Rao-Blackwellisation, without one more evaluation of f. The conditional noise is held fixed
    when the slope is taken. Noise: [*R, N, *event, 1 + M]. Source: Paulus, Maddison & Krause (2021).
    """
    b = _hard(law, _perturbed(law, noise[..., 0]))
    soft = [_soft(law, _again(law, b, uniform), temperature) for uniform in noise[..., 1:].unbind(-1)]
    return _relaxed(b + zero_once(torch.stack(soft).mean(0), "gumbel_rao"))


def _again(law: Law, b: Tensor, uniform: Tensor) -> Tensor:
    """logits + noise that decides for b, drawn anew and held fixed."""
    return law.logits + (_conditional(law, b, uniform) - law.logits).detach()


def _relaxed(point: Tensor) -> Points:
    return Points(point, point.new_ones(()), independent=True, slope=True)


# ------------------------------------------------------------------------------------- relaxations as control variates


def rebar(f: Cost, law: Law, noise: Tensor, temperature: float = 0.5, scale: float | Tensor = 1.0) -> Tensor:
    """The score function, less that of the relaxed cost, plus what the relaxed cost's gradient is pathwise. Unbiased.

        [f(b) - s f(soft(z~))] grad log p(b) + s grad f(soft(z)) - s grad f(soft(z~))

    z decides b; z~ is drawn anew given b (``_conditional``), and that is why the three parts cancel in the mean. Three
    evaluations of f. A first derivative only; in a graph, where it is made of points, it has all. Noise: [*R, N, *event, 2].
    Source: Tucker et al. (2017); lecture 12, (12.9).
    """
    _check(law, noise, "rebar")
    law = _with_samples(law)
    z = _perturbed(law, noise[..., 0])
    b = _hard(law, z.detach())
    near = _soft(law, _conditional(law, b, noise[..., 1]), temperature)
    value = f(b)
    with torch.no_grad():  # what f itself depends on learns from f(b) alone
        relaxed = f(near)
    pathwise = _zero_through(f, _soft(law, z, temperature)) - _zero_through(f, near)
    score = (value.detach() - scale * relaxed) * zero_once(law.log_prob(b), "relaxations.rebar")
    return (value + score + scale * pathwise).mean(-1)


def _rebar(law: Law, noise: Tensor, temperature: float = 0.5, scale: float | Tensor = 1.0) -> Points:
    """As points: at b, soft(z) and soft(z~), weights box, s and -s box, where box is the ``magic_box`` of log p(b).

    What f itself depends on learns from all three, with the right mean and more noise.
    """
    z = _perturbed(law, noise[..., 0])
    b = _hard(law, z.detach())
    soft, near = (_soft(law, each, temperature) for each in (z, _conditional(law, b, noise[..., 1])))
    box = magic_box(law.log_prob(b))
    weight = 3 * torch.cat([box, scale * torch.ones_like(box), -scale * box], -1)
    return Points(torch.cat([b, soft, near], _samples_at(law)), weight, slope=True)


_POINTS[rebar] = _rebar


@_surrogate
def relax(law: Law, noise: Tensor, control: Cost) -> Points:
    """``rebar`` with any differentiable control(z) [..., *event] -> [...] in place of the relaxed cost. Unbiased.

    The better it foretells f, the less noise; ``squared_estimate`` trains it. One evaluation of f, which may be a black box.
    Noise: [*R, N, *event, 2]. Source: Grathwohl et al. (2018); lecture 12, (12.9).
    """
    z = _perturbed(law, noise[..., 0])
    b = _hard(law, z.detach())
    box = magic_box(law.log_prob(b))
    return Points(b, box, control=_zero(control(z) - box * control(_conditional(law, b, noise[..., 1]))), independent=True)


@_surrogate
def lax(law: Law, noise: Tensor, control: Cost) -> Points:
    """[f(b) - control(z)] grad log p(z) + grad control(z), with the density of the continuous z that decides b. Unbiased.

    One draw of noise does; but the score of z is noisier than that of b. Source: Grathwohl et al. (2018).
    """
    z = _perturbed(law, noise)
    fixed = z.detach()
    away = fixed - law.logits
    if isinstance(law, Bernoulli):
        log_density = (-away - 2 * softplus(-away)).sum(-1)
    else:
        log_density = (-away - (-away).exp()).sum((-2, -1))
    box = magic_box(log_density)
    return Points(_hard(law, fixed), box, control=_zero(control(z) - box * control(fixed)), independent=True)


def squared_estimate(surrogate: Float[Tensor, "*R"], logits: Tensor) -> Tensor:
    """The sum of the squared gradient estimates, differentiable in a control's own parameters (or in ``scale`` of REBAR).

    The mean of an unbiased estimate does not depend on them, so making its square small makes its variance small. Take the
    gradient with respect to these parameters and no others. Source: Grathwohl et al. (2018), section 3.1.
    """
    return torch.autograd.grad(surrogate.sum(), logits, create_graph=True)[0].square().sum()


# -------------------------------------------------------------------------------------------------- antithetic, for coins


@_surrogate
def arm(law: Law, noise: Tensor) -> Points:
    """Coins only: (f(1[u > sigmoid(-logit)]) - f(1[u < sigmoid(logit)])) (u - 1/2), the same u in both. Unbiased.

    Two evaluations of f. Source: Yin & Zhou (2019); lecture 12, (12.7).
    """
    up, down = (noise > (-law.logits).sigmoid()).to(noise.dtype), (noise < law.logits.sigmoid()).to(noise.dtype)
    return _antithetic(law, up, down, noise - 0.5, "arm")


@_surrogate
def disarm(law: Law, noise: Tensor) -> Points:
    """Coins only: ``arm`` averaged over what u may have been, given the two samples it made. Unbiased, never noisier.

        (f(b) - f(b')) / 2 (-1)^b' 1[b != b'] sigmoid(|logit|),    b = 1[u < p],  b' = 1[1 - u < p]

    Two evaluations of f. Source: Dong, Mnih & Tucker (2020); Yin et al. (2020); lecture 12, (12.8).
    """
    b, other = ((u < law.logits.sigmoid()).to(noise.dtype) for u in (noise, 1 - noise))
    # (-1)^b' 1[b != b'] is b - b'
    return _antithetic(law, b, other, (b - other) / 2 * law.logits.detach().abs().sigmoid(), "disarm")


def _antithetic(law: Law, b: Tensor, other: Tensor, slope: Tensor, name: str) -> Points:
    """mean_n of (f(b) + f(other)) / 2, with the gradient (f(b) - f(other)) slope by the logits."""
    change = 2 * (slope * zero_once(law.logits, name)).sum(-1)
    return Points(torch.cat([b, other], -2), torch.cat([1 + change, 1 - change], -1))


# -------------------------------------------------------------------------- over a list of all outcomes: never one twice


@_surrogate
def sum_and_sample(law: Law, noise: Tensor, keep: int = 2) -> Points:
    """The ``keep`` likeliest outcomes summed exactly, the others sampled with the score function. Unbiased.

    keep + N evaluations of f. Noise: [*R, N]. Source: Liang et al. (2018); Liu et al. (2019).
    """
    every, log_probability = _listed(law, "sum_and_sample", keep)
    return _summed_and_sampled(every, log_probability, log_probability.topk(keep, -1).indices, noise)


@_surrogate
def mapo(law: Law, noise: Tensor, memory: Tensor) -> Points:
    """Outcomes that are remembered, because f is good there, summed exactly, the others sampled. Unbiased for any memory.

    memory: different outcomes [B, *event]. B + N evaluations of f. Noise: [*R, N]. Source: Liang et al. (2018), "Memory
    augmented policy optimization".
    """
    every, log_probability = _listed(law, "mapo", len(memory))
    same = (every == memory.unsqueeze(1)).flatten(2).all(-1)  # [B, M]
    if not (same.sum(1) == 1).all() or (same.sum(0) > 1).any():
        raise ValueError("the memory of mapo holds something that is no outcome, or the same outcome twice; see outcomes(law).")
    remembered = same.to(torch.int64).argmax(1)
    return _summed_and_sampled(every, log_probability, remembered.expand(*log_probability.shape[:-1], -1), noise)


def _summed_and_sampled(every: Tensor, log_probability: Tensor, kept: Tensor, noise: Tensor) -> Points:
    """Those with the indices kept [*R, B] exactly, and samples of the rest; log_probability of all, [*R, M]."""
    mass = log_probability.gather(-1, kept).exp()
    if kept.shape[-1] == len(every):
        return Points(every[kept], len(every) * mass)
    if not noise.shape[-1]:
        raise ValueError("there are zero samples for the outcomes that are not summed; the noise is [*R, N], N >= 1.")
    rest = log_probability.detach().scatter(-1, kept, -math.inf)
    drawn = Categorical(rest.unsqueeze(-2)).sample(noise)
    share = rest.exp().sum(-1, keepdim=True) * magic_box(log_probability.gather(-1, drawn)) / noise.shape[-1]
    weight = torch.cat([mass, share], -1)
    return Points(every[torch.cat([kept, drawn], -1)], weight.shape[-1] * weight)


@_surrogate
def without_replacement(law: Law, noise: Tensor, size: int = 3, normalised: bool = False) -> Points:
    """``size`` different outcomes, those with the largest perturbed log-probabilities, weighted by p / q. Unbiased.

    q = 1 - exp(-exp(log p - k)) is the chance to lie above k, the largest that was left out. normalised: the weights are
    divided by their sum, which takes much of the noise away, and is biased. size evaluations of f. Noise: [*R, M], one for each
    outcome. Source: Kool, van Hoof & Welling (2019).
    """
    every, log_probability = _listed(law, "without_replacement", size, left=1)
    perturbed = log_probability.detach() + gumbel(noise)
    best = perturbed.topk(size + 1, -1)
    chosen = best.indices[..., :-1]
    return _included(every[chosen], log_probability.gather(-1, chosen), best.values[..., -1:], normalised)


def _included(value: Tensor, log_probability: Tensor, threshold: Tensor, normalised: bool = False) -> Points:
    """Different outcomes that lay above a threshold, weighted with p / q."""
    weight = log_probability.exp() / -torch.expm1(-(log_probability.detach() - threshold).exp())
    if normalised:
        weight = weight / weight.sum(-1, keepdim=True)
    return Points(value, weight.shape[-1] * weight)


@_surrogate
def beam_search(law: Law, noise: Tensor) -> Points:
    """``without_replacement`` when outcomes are too many to list: ``stochastic_beam_search`` finds the size best of them.

    Noise: [*R, D, size + 1, K], K = 2 for coins; size < the number of outcomes. size evaluations of f. Unbiased. Source: Kool,
    van Hoof & Welling (2019).
    """
    coins = isinstance(law, Bernoulli)
    logits = torch.stack([torch.zeros_like(law.logits), law.logits], -1) if coins else law.logits  # [*R, 1, D, K]
    b, log_probability, threshold = stochastic_beam_search(lambda begin: logits[..., begin.shape[-2], :], noise)
    return _included(b[..., 1] if coins else b, log_probability, threshold)


def stochastic_beam_search(
    following: Callable[[Tensor], Tensor], noise: Float[Tensor, "*R D beam K"]
) -> tuple[Tensor, Tensor, Tensor]:
    """``beam - 1`` different sequences of D choices out of K, drawn without replacement, of all K^D that need not be listed.

    following: the logits of the next choice [*R, n, K] for n beginnings, one-hot [*R, n, d, K]. Each beginning carries the
    largest Gumbel-perturbed log-probability of all its continuations; its children's are drawn given that this is the largest
    of them. Returns sequences [*R, beam - 1, D, K], their log-probabilities [*R, beam - 1], and the perturbed log-probability
    [*R, 1] of the best that was left out. Raises ValueError where there are fewer than ``beam`` sequences. Source: Kool, van
    Hoof & Welling (2019), algorithm 1.
    """
    *leading, length, beam, kinds = noise.shape
    if not 2 <= beam <= kinds**length:
        raise ValueError(f"the beam holds {beam} of {kinds}^{length} sequences; give noise [*R, D, size + 1, K], size >= 1.")
    begin = noise.new_zeros(*leading, 1, 0, kinds)
    log_probability = best = noise.new_zeros(*leading, 1)
    for uniform in noise.unbind(-3):
        count = log_probability.shape[-1]
        log_next = log_probability.unsqueeze(-1) + following(begin).log_softmax(-1)  # [*R, n, K]
        free = log_next.detach() + gumbel(uniform[..., :count, :])
        if begin.shape[-2]:  # the first choice continues nothing
            free = _below(free, best.unsqueeze(-1))
        keep = free.flatten(-2).topk(min(beam, count * kinds), -1)
        best, index = keep.values, keep.indices
        log_probability = log_next.flatten(-2).gather(-1, index)
        parents = (index // kinds)[..., None, None].expand(*index.shape, *begin.shape[-2:])
        begin = torch.cat([begin.gather(-3, parents), one_hot(index % kinds, kinds).to(begin).unsqueeze(-2)], -2)
    return begin[..., :-1, :, :], log_probability[..., :-1], best[..., -1:]


def _below(free: Tensor, bound: Tensor) -> Tensor:
    """Gumbels [..., K] as they are given that the largest of them is bound: -log(exp(-bound) - exp(-largest) + exp(-free))."""
    gap = bound - free + torch.log1p(-(free - free.amax(-1, keepdim=True)).exp())
    return bound - gap.clamp(min=0) - (-gap.abs()).exp().log1p()


@_surrogate
def unordered_set(law: Law, noise: Tensor, size: int = 3) -> Points:
    """``size`` different outcomes S, in whatever order they came, each with the others for its baseline. Unbiased.

        sum_{s in S} p(s) R(S, s) grad log p(s) [f(s) - sum_{s' in S} p(s') R_s(S, s') f(s')]

    R(S, s) = P(S \\ s drawn from all but s) / P(S), R_s the same with s taken away beforehand, R_s(S, s) = 1. P(S) is a sum
    over all size! orders. size evaluations of f. Noise: [*R, M], one for each outcome. Source: Kool, van Hoof & Welling (2020).
    """
    every, log_probability = _listed(law, "unordered_set", size, least=2)  # one alone has no others for a baseline
    chosen = (log_probability.detach() + gumbel(noise)).topk(size, -1).indices
    chosen_log = log_probability.gather(-1, chosen)
    p = chosen_log.detach().exp()
    whole, ratios = _leave_out_ratios(p)
    others = torch.stack(
        [
            torch.stack([p[..., j] * (1 if i == j else _set_probability(p, {i, j}) / ratios[i]) for j in range(size)], -1)
            for i in range(size)
        ],
        -2,
    )  # [*R, s, s']
    weight = size * chosen_log.exp() * torch.stack(ratios, -1) / whole.unsqueeze(-1)
    return Points(every[chosen], weight, lambda value: (others * value.unsqueeze(-2)).sum(-1))


@_surrogate
def unordered_set_gumbel_softmax(law: Law, noise: Tensor, size: int = 3, temperature: float = 0.5) -> Points:
    """``gumbel_softmax`` whose noise decides for ``size`` different outcomes, drawn as in ``unordered_set``. As biased.

        sum_{s in S} p(s) R(S, s) f(soft(z_s)),    z_s = logits + noise that decides for s, held fixed

    The weights are held fixed too: the gradient's mean is that of ``gumbel_softmax``. Noise: [*R, M, 1 + size of the event].
    Source: van Krieken et al. (2021), its Gumbel-softmax without replacement; theirs moves z_s at fixed s instead, which leaves
    out how p(s) changes.
    """
    every, log_probability = _listed(law, "unordered_set_gumbel_softmax", size, least=2)
    log_probability = log_probability.detach()
    chosen = (log_probability + gumbel(noise[..., 0])).topk(size, -1).indices
    p = log_probability.gather(-1, chosen).exp()
    whole, ratios = _leave_out_ratios(p)
    uniform = noise[..., 1:].gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, noise.shape[-1] - 1))
    z = _again(law, every[chosen], uniform.unflatten(-1, every.shape[1:]))
    return Points(_soft(law, z, temperature), size * p * torch.stack(ratios, -1) / whole.unsqueeze(-1), slope=True)


def _leave_out_ratios(p: Tensor) -> tuple[Tensor, list[Tensor]]:
    """P(S) and, for each s in S, P(S \\ s drawn from all but s); p: [*R, size]."""
    return _set_probability(p, set()), [_set_probability(p, {s}) for s in range(p.shape[-1])]


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
    return every, law.log_prob(every)


# ------------------------------------------------------------------------------------------------------------- the list

BOTH, COINS = (Bernoulli, OneHot), (Bernoulli,)


@dataclass(frozen=True)
class Method:
    """What is known of a surrogate. evaluations: of f for each of N samples, or in all where N does not count."""

    surrogate: Callable[..., Tensor]
    noise: str = "event"
    """Its shape. event: [N, *event]; twice: [N, *event, 2]; many: [N, *event, 5]; samples: [N]; outcomes: [M]; each:
    [M, 1 + size of the event]; beam: [D, N + 1, K]; none."""
    evaluations: int = 1
    unbiased: bool = True
    serves: tuple[type, ...] = BOTH
    any_order: bool = True
    """Whether derivatives of any order are right (biased ones: those of the relaxed cost), or the first alone."""

    @property
    def points(self) -> Callable[..., Points]:
        """(law, noise, ...) -> ``Points``, laws with an axis of length one for the samples. Raises TypeError for ``vimco``."""
        if isinstance(self.surrogate, partial):
            return partial(_POINTS[self.surrogate.func], **self.surrogate.keywords)
        if self.surrogate not in _POINTS:
            raise TypeError(
                f"{self.surrogate.__name__} is no estimator of E[f(b)]; its objective is a bound that takes all samples "
                "together. In a graph, make the bound the cost, with axes of the samples reduced, and take score_function."
            )
        return _POINTS[self.surrogate]


METHODS = {
    "enumerate_all": Method(enumerate_all, "none", 0),
    "score_function": Method(score_function),
    "leave_one_out": Method(leave_one_out),
    "importance_sampled": Method(importance_sampled),
    "vimco": Method(vimco, any_order=False),
    "straight_through": Method(straight_through, unbiased=False, any_order=False),
    "gumbel_softmax": Method(gumbel_softmax, unbiased=False),
    "gumbel_sparsemax": Method(partial(gumbel_softmax, project=sparsemax), unbiased=False),
    "gumbel_entmax": Method(partial(gumbel_softmax, project=entmax15), unbiased=False),
    "straight_through_gumbel": Method(straight_through_gumbel, unbiased=False, any_order=False),
    "gumbel_rao": Method(gumbel_rao, "many", unbiased=False, any_order=False),
    "rebar": Method(rebar, "twice", 3),
    "relax": Method(relax, "twice"),
    "lax": Method(lax),
    "arm": Method(arm, evaluations=2, serves=COINS, any_order=False),
    "disarm": Method(disarm, evaluations=2, serves=COINS, any_order=False),
    "sum_and_sample": Method(sum_and_sample, "samples"),
    "mapo": Method(mapo, "samples"),
    "without_replacement": Method(without_replacement, "outcomes"),
    "without_replacement_normalised": Method(partial(without_replacement, normalised=True), "outcomes", unbiased=False),
    "beam_search": Method(beam_search, "beam"),
    "unordered_set": Method(unordered_set, "outcomes"),
    "unordered_set_gumbel_softmax": Method(unordered_set_gumbel_softmax, "each", unbiased=False),
}
"""Every surrogate by its name. ``unbiased`` is for the gradient of E[f(b)], of ``vimco`` for that of its bound."""

_PER_VARIABLE = {"event": (), "twice": (2,), "many": (5,)}


def noise_shape(name: str, law: Law, samples: int) -> tuple[int, ...]:
    """The shape, after the leading axes, of the uniform noise that a method takes for N samples."""
    event = tuple(law.logits.shape[-1:] if isinstance(law, Bernoulli) else law.logits.shape[-2:])
    kind = METHODS[name].noise
    if kind in _PER_VARIABLE:
        return (samples, *event, *_PER_VARIABLE[kind])
    if kind == "beam":
        return (event[0], samples + 1, 2 if isinstance(law, Bernoulli) else event[1])
    if kind in ("none", "samples"):
        return () if kind == "none" else (samples,)
    listed = len(outcomes(law))
    return (listed,) if kind == "outcomes" else (listed, 1 + math.prod(event))


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


def _check(law: Any, noise: Tensor | None, name: str) -> None:
    """Raises TypeError for a law the method cannot serve, ValueError for logits or noise it cannot use."""
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
    if not finite(law.logits):
        raise ValueError("the logits hold inf or NaN; look at what made them. (A logit of 40 is as certain as numbers get.)")
    if noise is None or METHODS[name].noise not in _PER_VARIABLE:
        return
    noise = noise[..., 0] if METHODS[name].noise != "event" else noise
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
