"""Tasks of lecture 10: PPO."""

import math

import numpy as np
import torch

from ... import budget
from ...algorithms import ppo
from ..answer import Lifted
from ..learning import half_must_reach
from ..task import EXACT_BUDGET, Exact, Gradient, Learning, Mistake, Task, cases, normal, readable, uniform


def _moved(generator, n, draw=lambda x: x):
    """Log-ratios and advantages [n], of eight kinds in turn: inside a clip of 0.1 to 0.25 or outside it, above or below, for
    advantages of both signs."""
    kind = torch.randperm(n, generator=generator) % 8
    size = torch.where(kind % 2 == 0, uniform(generator, 0.02, 0.08, n), uniform(generator, 0.35, 0.7, n))
    log_ratio = torch.where(kind % 4 < 2, size, -size)
    advantage = torch.where(kind < 4, 1.0, -1.0) * draw(uniform(generator, 0.5, 1.5, n))
    return log_ratio, advantage


# ----------------------------------------------------------------------------------------------------------------------
# 10.importance_ratio


def importance_ratio(log_probability, old_log_probability):
    """The ratio of each action's probability under the policy to its probability under the one that took it.

    log_probability, old_log_probability: [B, A]. An action is A independent numbers (the torques of a robot's joints, say), and
    each has its own log-probability. There may be a thousand of them, so that log-probabilities add up to -1000 or +1000.
    Returns [B], one ratio for each whole action.
    """
    return (log_probability - old_log_probability).sum(-1).exp()


def _importance_ratio_one_by_one(log_probability, old_log_probability):
    ratios = []
    for new, old in zip(log_probability, old_log_probability, strict=True):
        ratios.append(torch.exp(torch.sum(new - old)))
    return torch.stack(ratios)


def _importance_ratio_of_sums(log_probability, old_log_probability):
    return torch.exp(log_probability.sum(dim=1) - old_log_probability.sum(dim=1))


def _importance_ratio_oracle(log_probability, old_log_probability):
    rows = zip(log_probability.tolist(), old_log_probability.tolist(), strict=True)
    total = [math.exp(math.fsum(new) - math.fsum(old)) for new, old in rows]
    return torch.tensor(total, dtype=log_probability.dtype)


def _importance_ratio_cases(generator):
    inputs = []
    sizes = ((2, 1, -1, readable), (3, 2, -1, readable), (4, 3, -1, None), (3, 1100, -0.9, None), (2, 900, 1.1, None))
    for n, a, level, draw in sizes:
        old = level + 0.3 * normal(generator, n, a)
        new = old + 0.5 * normal(generator, n, a) / math.sqrt(a)
        inputs.append((draw(new), draw(old)) if draw else (new, old))
    return cases(_importance_ratio_oracle, inputs)


def _of(combine):
    """importance_ratio as combine(new, old), each [B, A]."""
    return lambda log_probability, old_log_probability: combine(log_probability, old_log_probability)


IMPORTANCE_RATIO = Task(
    id="10.importance_ratio",
    title="The importance ratio",
    signature="importance_ratio(log_probability [B, A], old_log_probability [B, A]) -> ratio [B]",
    reference=importance_ratio,
    stages=(Exact(1, _importance_ratio_cases),),
    alternatives=(_importance_ratio_one_by_one, _importance_ratio_of_sums),
    mistakes=(
        Mistake(
            "upside down",
            _of(lambda new, old: (old - new).sum(-1).exp()),
            "Your ratio is upside down: the new probability stands above, that of the policy which acted below.",
        ),
        Mistake(
            "logarithm",
            _of(lambda new, old: (new - old).sum(-1)),
            "You return the logarithm of the ratio; exp() of it is asked for.",
        ),
        Mistake(
            "quotient of logarithms",
            _of(lambda new, old: new.sum(-1) / old.sum(-1)),
            "You divide one log-probability by the other; a quotient of probabilities is exp of the *difference*.",
        ),
        Mistake(
            "mean over the numbers",
            _of(lambda new, old: (new - old).mean(-1).exp()),
            "You average the log-probabilities over the A numbers of an action. Independent probabilities multiply, so their "
            "logarithms add up.",
        ),
        Mistake(
            "each number by itself",
            _of(lambda new, old: (new - old).exp().mean(-1)),
            "You take a ratio for each number of the action and average them; the ratio of the whole action is their product.",
        ),
        Mistake(
            "sum of ratios",
            _of(lambda new, old: (new - old).exp().sum(-1)),
            "You add up the ratios of the numbers; the ratio of the whole action is their product.",
        ),
        Mistake(
            "first number only",
            _of(lambda new, old: (new - old)[:, 0].exp()),
            "Your ratio knows the first number of each action only.",
        ),
        Mistake(
            "overflows",
            _of(lambda new, old: new.sum(-1).exp() / old.sum(-1).exp()),
            "Right for short actions, but exp(-1000) is 0 and exp(1000) infinite, and their quotients no numbers. Subtract the "
            "logarithms first, then take exp() once.",
        ),
        Mistake(
            "always 1",
            _of(lambda new, old: (new - new).sum(-1).exp()),
            "Your ratio is 1 for every action: you compare the new log-probability with itself.",
            "PP01",
        ),
    ),
    hints=(
        "The log-probability of a whole action is the sum over its numbers.",
        "p / q = exp(log p - log q): one subtraction, one sum over axis -1, one exp().",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 10.clipped_objective


def clipped_objective(ratio, advantage, clip):
    """PPO's clipped surrogate (10.3), to be ascended: the mean over a batch.

    ratio, advantage: [B]; clip: epsilon, between 0 and 1. Returns a tensor with one number, shape [].
    """
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()


def _clipped_objective_by_sign(ratio, advantage, clip):
    bounded = torch.where(advantage >= 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip))
    return (bounded * advantage).mean()


def _clipped_objective_step_by_step(ratio, advantage, clip):
    total = 0.0
    for r, a in zip(ratio, advantage, strict=True):
        plain, held = r * a, torch.clip(r, 1 - clip, 1 + clip) * a
        total = total + (plain if plain < held else held)
    return total / len(ratio)


def _clipped_objective_oracle(ratio, advantage, clip):
    """The surrogate less what was gained beyond the edge."""
    parts = []
    for r, a in zip(ratio.tolist(), advantage.tolist(), strict=True):
        beyond = max(r - 1 - clip, 0) if a > 0 else max(1 - clip - r, 0)
        parts.append(r * a - abs(a) * beyond)
    return torch.tensor(math.fsum(parts) / len(parts), dtype=ratio.dtype)


def _clipped_objective_cases(generator):
    inputs = []
    for n, clip, draw in ((8, 0.2, readable), (8, 0.1, readable), (24, 0.2, None), (17, 0.25, None), (40, 0.1, None)):
        log_ratio, advantage = _moved(generator, n, draw or (lambda x: x))
        ratio = (log_ratio.exp() * 100).round() / 100 if draw else log_ratio.exp()
        gain = ((ratio - ratio.clamp(1 - clip, 1 + clip)) * advantage).sum()
        if (gain > 0) != (len(inputs) % 2 == 0):  # of the two means, each is the smaller one in some case
            advantage = -advantage
        inputs.append((ratio, advantage, clip))
    return cases(_clipped_objective_oracle, inputs)


def _objective(change, low=lambda clip: 1 - clip, high=lambda clip: 1 + clip):
    """A mean of change(plain, clipped)."""

    def objective(ratio, advantage, clip):
        return change(ratio * advantage, ratio.clamp(low(clip), high(clip)) * advantage).mean()

    return objective


CLIPPED_OBJECTIVE = Task(
    id="10.clipped_objective",
    title="The clipped surrogate",
    signature="clipped_objective(ratio [B], advantage [B], clip) -> objective []",
    reference=clipped_objective,
    stages=(Exact(2, _clipped_objective_cases),),
    alternatives=(_clipped_objective_by_sign, _clipped_objective_step_by_step),
    mistakes=(
        Mistake(
            "no minimum",
            _objective(lambda plain, clipped: clipped),
            "You clip the ratio whatever the advantage. Then a step that has gone too far the *wrong* way has no gradient, and "
            "cannot come back: take the minimum with ratio * advantage.",
            "PP04",
        ),
        Mistake(
            "not clipped",
            _objective(lambda plain, clipped: plain),
            "You return the unclipped surrogate.",
        ),
        Mistake(
            "maximum",
            _objective(torch.maximum),
            "You take the larger of the two; it is the smaller, so that leaving the range can never look profitable.",
        ),
        Mistake(
            "minimum of the ratios",
            lambda ratio, advantage, clip: (torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip)) * advantage).mean(),
            "You take the minimum of the ratios and then multiply. For a negative advantage that is the larger product: "
            "multiply first.",
        ),
        Mistake(
            "upper edge only",
            _objective(torch.minimum, low=lambda clip: 0.0),
            "You clip above 1 + clip only; a bad action may be pushed down as far as it likes.",
        ),
        Mistake(
            "lower edge only",
            _objective(torch.minimum, high=lambda clip: math.inf),
            "You clip below 1 - clip only; a good action may be pushed up as far as it likes.",
        ),
        Mistake(
            "edges around 0",
            _objective(torch.minimum, low=lambda clip: -clip, high=lambda clip: clip),
            "You clip between -clip and clip; a ratio is near 1, so it is clipped between 1 - clip and 1 + clip.",
        ),
        Mistake(
            "edge as a factor",
            _objective(torch.minimum, low=lambda clip: 1 / (1 + clip)),
            "Your lower edge is 1 / (1 + clip); it is 1 - clip.",
        ),
        Mistake(
            "sum",
            lambda ratio, advantage, clip: len(ratio) * clipped_objective(ratio, advantage, clip),
            "You add up over the batch; it is the mean.",
        ),
        Mistake(
            "a loss",
            lambda ratio, advantage, clip: -clipped_objective(ratio, advantage, clip),
            "You return minus the objective. A loss would be that; here it is to be ascended.",
        ),
        Mistake(
            "minimum of the means",
            lambda ratio, advantage, clip: torch.minimum(
                (ratio * advantage).mean(), (ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
            ),
            "You take the minimum of two means; it is taken for each step, and then averaged.",
        ),
    ),
    hints=(
        "Two products for each step: ratio * advantage, and the clipped ratio times the advantage. ratio.clamp(low, high) "
        "clips.",
        "torch.minimum of the two, then the mean.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.ppo.loss",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 10.penalised_objective


def penalised_objective(ratio, advantage, kl, coefficient, kl_target):
    """PPO's other objective (10.7), to be ascended, and the coefficient for the next batch (10.8).

    ratio, advantage: [B]. kl: [B], KL(pi_old || pi) in the state of each step, nats. coefficient: beta, a number. kl_target:
    the mean KL that an update should come to, nats.
    Returns the objective [] with the penalty beta times the mean KL, and the next coefficient, a number: half of beta where the
    mean KL is below kl_target / 1.5, twice beta where it is above 1.5 kl_target, else beta.
    """
    objective = (ratio * advantage).mean() - coefficient * kl.mean()
    if kl.mean() < kl_target / 1.5:
        return objective, coefficient / 2
    if kl.mean() > 1.5 * kl_target:
        return objective, 2 * coefficient
    return objective, coefficient


def _penalised_objective_by_where(ratio, advantage, kl, coefficient, kl_target):
    mean = kl.mean()
    factor = torch.where(mean < kl_target / 1.5, 0.5, torch.where(mean > kl_target * 1.5, 2.0, 1.0))
    return torch.mean(ratio * advantage - coefficient * kl), coefficient * factor.item()


def _penalised_objective_by_powers(ratio, advantage, kl, coefficient, kl_target):
    far = kl.sum() / len(kl) / kl_target
    power = int(far > 1.5) - int(1.5 * far < 1)
    return (ratio @ advantage - coefficient * kl.sum()) / len(kl), coefficient * 2.0**power


def _penalised_objective_oracle(ratio, advantage, kl, coefficient, kl_target):
    n, beta, mean = len(kl), coefficient, math.fsum(kl.tolist()) / len(kl)
    surrogate = math.fsum(r * a for r, a in zip(ratio.tolist(), advantage.tolist(), strict=True)) / n
    far = abs(math.log(mean / kl_target)) > math.log(1.5)
    following = beta * (2 if mean > kl_target else 0.5) if far else beta
    return torch.tensor(surrogate - beta * mean, dtype=kl.dtype), following


def _penalised_objective_cases(generator):
    inputs = []
    far_from_target = (0.3, 3.0, 1.0, 0.75, 1.35, 0.6, 1.65)  # the mean KL over its target
    for n, far in enumerate(far_from_target, 3):
        draw = readable if n < 6 else None
        log_ratio, advantage = _moved(generator, n, draw or (lambda x: x))
        target, beta = (0.01, 2.0) if n % 2 else (0.03, 0.7)
        kl = uniform(generator, 0.2, 1.8, n)
        kl = kl / kl.mean() * far * target
        ratio = (log_ratio.exp() * 10).round() / 10 if draw else log_ratio.exp()
        inputs.append((ratio, advantage, kl, beta, target))
    return cases(_penalised_objective_oracle, inputs)


def _penalised(penalty=lambda beta, kl: beta * kl.mean(), low=1 / 1.5, high=1.5, down=0.5, up=2.0, measure=torch.mean):
    """penalised_objective with one thing changed."""

    def objective(ratio, advantage, kl, coefficient, kl_target):
        far = measure(kl) / kl_target
        factor = down if far < low else up if far > high else 1.0
        return (ratio * advantage).mean() - penalty(coefficient, kl), coefficient * factor

    return objective


def _clipped_too(ratio, advantage, kl, coefficient, kl_target):
    objective, following = penalised_objective(ratio, advantage, kl, coefficient, kl_target)
    return objective - (ratio * advantage).mean() + clipped_objective(ratio, advantage, 0.2), following


def _charged_with_the_next(ratio, advantage, kl, coefficient, kl_target):
    _, following = penalised_objective(ratio, advantage, kl, coefficient, kl_target)
    return (ratio * advantage).mean() - following * kl.mean(), following


PENALISED_OBJECTIVE = Task(
    id="10.penalised_objective",
    title="A penalty that finds its own coefficient",
    signature="penalised_objective(ratio [B], advantage [B], kl [B], coefficient, kl_target) -> objective [], coefficient",
    reference=penalised_objective,
    stages=(Exact(2, _penalised_objective_cases),),
    alternatives=(_penalised_objective_by_where, _penalised_objective_by_powers),
    mistakes=(
        Mistake(
            "the wrong way",
            _penalised(down=2.0, up=0.5),
            "Your coefficient goes the wrong way: a policy that moved too far needs a *larger* penalty, one that hardly moved "
            "a smaller one.",
        ),
        Mistake(
            "rewards distance",
            _penalised(penalty=lambda beta, kl: -beta * kl.mean()),
            "You add the KL; ascending that drives the policy away from the old one. Subtract it.",
        ),
        Mistake(
            "no penalty",
            _penalised(penalty=lambda beta, kl: 0.0),
            "The penalty is missing from your objective.",
        ),
        Mistake(
            "coefficient missing",
            _penalised(penalty=lambda beta, kl: kl.mean()),
            "You subtract the KL without its coefficient.",
        ),
        Mistake(
            "sum of the KL",
            _penalised(penalty=lambda beta, kl: beta * kl.sum()),
            "You charge the sum of the KL over the batch; it is the mean.",
        ),
        Mistake(
            "no dead zone",
            _penalised(low=1.0, high=1.0),
            "You change the coefficient after every batch. Between kl_target / 1.5 and 1.5 kl_target it stays as it is.",
        ),
        Mistake(
            "zone of a factor 2",
            _penalised(low=0.5, high=2.0),
            "Your coefficient changes beyond a factor of 2 from the target; it is 1.5. (The 2 is what it changes by.)",
        ),
        Mistake(
            "changes by 1.5",
            _penalised(down=1 / 1.5, up=1.5),
            "You change the coefficient by a factor of 1.5; it is halved or doubled. (The 1.5 says when.)",
        ),
        Mistake(
            "only grows",
            _penalised(down=1.0),
            "Your coefficient never falls: halve it where the mean KL is below kl_target / 1.5.",
        ),
        Mistake(
            "only falls",
            _penalised(up=1.0),
            "Your coefficient never grows: double it where the mean KL is above 1.5 kl_target.",
        ),
        Mistake(
            "largest KL",
            _penalised(measure=torch.max),
            "You compare the largest KL of the batch with the target; it is the mean.",
        ),
        Mistake(
            "clipped as well",
            _clipped_too,
            "You clip the ratio here as well; this objective has the penalty instead.",
        ),
        Mistake(
            "charged with the next",
            _charged_with_the_next,
            "Your penalty has the next coefficient already; this batch is charged with the one it was given.",
        ),
    ),
    hints=(
        "objective = (ratio * advantage).mean() - coefficient * kl.mean().",
        "Compare kl.mean() with kl_target / 1.5 and with 1.5 * kl_target; between the two the coefficient stays.",
    ),
    error_budget=EXACT_BUDGET + " The mean KL is at least 10 % away from either threshold.",
    forbidden=("pgcourse.algorithms.ppo.adapt", "pgcourse.algorithms.ppo.loss"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 10.update_diagnostics


def update_diagnostics(log_probability, old_log_probability, clip):
    """Two numbers to watch an update by: how far the policy has moved, and how much of the batch is clipped.

    log_probability, old_log_probability: [B], of actions that pi_old took. clip: epsilon.
    Returns the approximate KL(pi_old || pi) [], the mean of (ratio - 1) - log ratio (10.6), and the share of steps [] whose
    ratio is outside [1 - clip, 1 + clip].
    """
    log_ratio = log_probability - old_log_probability
    ratio = log_ratio.exp()
    outside = (ratio < 1 - clip) | (ratio > 1 + clip)
    return (ratio - 1 - log_ratio).mean(), outside.to(ratio.dtype).mean()


def _update_diagnostics_by_distance(log_probability, old_log_probability, clip):
    log_ratio = log_probability - old_log_probability
    far = torch.expm1(log_ratio)
    return (far - log_ratio).mean(), ((far.abs() - clip).sign() + 1).mean() / 2


def _update_diagnostics_by_counting(log_probability, old_log_probability, clip):
    ratio = torch.exp(log_probability - old_log_probability)
    count = sum(1 for r in ratio if abs(r - 1) > clip)
    return ratio.mean() - 1 - ratio.log().mean(), torch.tensor(count / len(ratio), dtype=ratio.dtype)


def _update_diagnostics_oracle(log_probability, old_log_probability, clip):
    pairs = list(zip(log_probability.tolist(), old_log_probability.tolist(), strict=True))
    kl = math.fsum(math.expm1(new - old) - (new - old) for new, old in pairs) / len(pairs)
    outside = sum(not math.log(1 - clip) <= new - old <= math.log(1 + clip) for new, old in pairs)
    return torch.tensor(kl, dtype=log_probability.dtype), torch.tensor(outside / len(pairs), dtype=log_probability.dtype)


def _update_diagnostics_cases(generator):
    """Of each batch two log-ratios lie between log(1 + clip) and clip."""
    inputs = []
    for n, clip, draw in ((5, 0.3, True), (9, 0.2, True), (12, 0.25, False), (23, 0.3, False)):
        log_ratio, _ = _moved(generator, n)
        log_ratio[:2] = (clip + math.log(1 + clip)) / 2
        log_ratio[2:4] = torch.tensor([0.9, -0.8])
        old = -uniform(generator, 0.5, 3, n)
        old = (old * 100).round() / 100 if draw else old
        log_ratio = (log_ratio * 100).round() / 100 if draw else log_ratio
        inputs.append((old + log_ratio, old, clip))
    return cases(_update_diagnostics_oracle, inputs)


def _diagnostics(kl=lambda r, log_r: (r - 1 - log_r).mean(), outside=lambda r, log_r, clip: (r - 1).abs() > clip):
    """update_diagnostics with another KL or another condition."""

    def diagnostics(log_probability, old_log_probability, clip):
        log_ratio = log_probability - old_log_probability
        ratio = log_ratio.exp()
        return kl(ratio, log_ratio), outside(ratio, log_ratio, clip).to(ratio.dtype).mean()

    return diagnostics


UPDATE_DIAGNOSTICS = Task(
    id="10.update_diagnostics",
    title="Approximate KL and clip fraction",
    signature="update_diagnostics(log_probability [B], old_log_probability [B], clip) -> kl [], clip_fraction []",
    reference=update_diagnostics,
    stages=(Exact(2, _update_diagnostics_cases),),
    alternatives=(_update_diagnostics_by_distance, _update_diagnostics_by_counting),
    mistakes=(
        Mistake(
            "mean of the logarithms",
            _diagnostics(kl=lambda r, log_r: -log_r.mean()),
            "Your KL is the mean of -log ratio: unbiased too, but it is often negative, and much noisier. Add ratio - 1, "
            "whose mean is 0.",
        ),
        Mistake(
            "half the square",
            _diagnostics(kl=lambda r, log_r: 0.5 * log_r.square().mean()),
            "Your KL is half the mean square of the log ratio: near the truth for small steps, but biased.",
        ),
        Mistake(
            "the other direction",
            _diagnostics(kl=lambda r, log_r: (r * log_r - (r - 1)).mean()),
            "You estimate KL(pi || pi_old); asked is KL(pi_old || pi), whose samples you have.",
        ),
        Mistake(
            "sign of the logarithm",
            _diagnostics(kl=lambda r, log_r: (r - 1 + log_r).mean()),
            "You add log ratio; it is (ratio - 1) - log ratio, which is never negative.",
        ),
        Mistake(
            "one forgotten",
            _diagnostics(kl=lambda r, log_r: (r - log_r).mean()),
            "Your KL is 1 where nothing has moved: the 1 of (ratio - 1) is missing.",
        ),
        Mistake(
            "sum of the KL",
            _diagnostics(kl=lambda r, log_r: (r - 1 - log_r).sum()),
            "You add up the KL over the batch; it is the mean.",
        ),
        Mistake(
            "ratio upside down",
            lambda log_probability, old_log_probability, clip: update_diagnostics(old_log_probability, log_probability, clip),
            "Your ratio is upside down: log ratio = log_probability - old_log_probability.",
        ),
        Mistake(
            "above only",
            _diagnostics(outside=lambda r, log_r, clip: r > 1 + clip),
            "You count the ratios above 1 + clip only; those below 1 - clip are outside too.",
        ),
        Mistake(
            "clips the logarithm",
            _diagnostics(outside=lambda r, log_r, clip: log_r.abs() > clip),
            "You compare the logarithm of the ratio with clip; it is the ratio less 1.",
        ),
        Mistake(
            "counts those inside",
            _diagnostics(outside=lambda r, log_r, clip: (r - 1).abs() <= clip),
            "You count the steps inside the range; asked is the share outside.",
        ),
        Mistake(
            "a number of steps",
            lambda log_probability, old_log_probability, clip: (
                (result := update_diagnostics(log_probability, old_log_probability, clip))[0],
                result[1] * len(log_probability),
            ),
            "You return how many steps are outside; asked is their share of the batch.",
        ),
    ),
    hints=(
        "log_ratio = log_probability - old_log_probability; ratio = log_ratio.exp(). The KL is the mean of (ratio - 1) - "
        "log_ratio.",
        "(ratio - 1).abs() > clip is true outside; .to(ratio.dtype).mean() makes a share of it.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.ppo.approximate_kl", "pgcourse.algorithms.ppo.clip_fraction"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 10.ppo_update


def ppo_update(theta, observation, action, advantage, order, clip, step_size):
    """One whole update of PPO (algorithm 10.1) for a linear policy, pi(. | s) = softmax(s theta), with plain gradient steps.

    theta: [O, A], the policy that collected observation [N, O], action [N] (whole numbers) and advantage [N].
    order: [K, M, B]; in epoch k, minibatch m consists of the steps order[k, m]. clip: epsilon.
    For each minibatch in turn, theta goes step_size times the gradient of the clipped objective (10.3), a mean over the
    minibatch; advantages are taken as they are. Returns the theta after all epochs, [O, A].
    """

    def log_probability(theta, steps):
        return (observation[steps] @ theta).log_softmax(-1).gather(-1, action[steps][:, None])[:, 0]

    old = theta
    for steps in order.flatten(0, 1):
        at = theta.detach().requires_grad_()
        ratio = (log_probability(at, steps) - log_probability(old, steps)).exp()
        clipped = ratio.clamp(1 - clip, 1 + clip)
        objective = torch.minimum(ratio * advantage[steps], clipped * advantage[steps]).mean()
        theta = theta + step_size * torch.autograd.grad(objective, at)[0]
    return theta


def _ppo_update_by_func(theta, observation, action, advantage, order, clip, step_size):
    every = torch.arange(len(action))
    old = (observation @ theta).log_softmax(-1)[every, action]

    def objective(theta, steps):
        now = (observation[steps] @ theta).log_softmax(-1)
        ratio = (now[torch.arange(len(steps)), action[steps]] - old[steps]).exp()
        held = torch.where(advantage[steps] >= 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip))
        return (held * advantage[steps]).mean()

    for epoch in order:
        for steps in epoch:
            theta = theta + step_size * torch.func.grad(objective)(theta, steps)
    return theta


def _ppo_update_by_scores(theta, observation, action, advantage, order, clip, step_size):
    """With the score of a softmax on paper: ratio A (onehot - p) for each step that is not held."""
    old = (observation @ theta).softmax(-1).gather(1, action[:, None])[:, 0]
    for steps in order.reshape(-1, order.shape[-1]):
        s, a, weight = observation[steps], action[steps], advantage[steps]
        p = torch.softmax(s @ theta, 1)
        ratio = p.gather(1, a[:, None])[:, 0] / old[steps]
        held = ((weight > 0) & (ratio > 1 + clip)) | ((weight < 0) & (ratio < 1 - clip))
        score = torch.nn.functional.one_hot(a, theta.shape[1]) - p
        theta = theta + step_size * s.T @ ((ratio * weight * ~held)[:, None] * score) / len(steps)
    return theta


def _ppo_update_oracle(theta, observation, action, advantage, order, clip, step_size):
    """Step by step in NumPy, each with its own gradient."""
    weights, s, a, A = theta.numpy().copy(), observation.numpy(), action.tolist(), advantage.tolist()

    def chances(weights, n):
        logits = s[n] @ weights
        return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    old = [chances(weights, n)[a[n]] for n in range(len(a))]
    for steps in order.reshape(-1, order.shape[-1]).tolist():
        push = np.zeros_like(weights)
        for n in steps:
            p = chances(weights, n)
            ratio = p[a[n]] / old[n]
            held = ratio > 1 + clip if A[n] > 0 else ratio < 1 - clip
            if not held:
                push += A[n] * ratio * np.outer(s[n], np.eye(len(p))[a[n]] - p)
        weights = weights + step_size * push / len(steps)
    return torch.from_numpy(weights)


def _ppo_update_cases(generator):
    inputs = []
    small, large = ((2, 3, 4, 2, 2), (2, 3, 12, 3, 2)), ((3, 2, 20, 4, 2), (2, 4, 24, 5, 3))
    for o, a, n, epochs, minibatches, draw in (*((*shape, readable) for shape in small), *((*shape, None) for shape in large)):
        draw = draw or (lambda x: x)
        theta, observation = draw(0.5 * normal(generator, o, a)), draw(normal(generator, n, o))
        action = torch.randint(a, (n,), generator=generator)
        order = torch.stack([torch.randperm(n, generator=generator) for _ in range(epochs)]).unflatten(1, (minibatches, -1))
        inputs.append((theta, observation, action, draw(normal(generator, n)), order, 0.2, 1.5))
    return cases(_ppo_update_oracle, inputs)


def _updated(
    clipped=True,
    minimum=True,
    sign=1.0,
    refresh="never",
    epochs=None,
    whole=False,
    shuffled=True,
    total=False,
    weights=lambda A: A,
    piles_up=False,
):
    """ppo_update with one thing changed. refresh: when the old policy is taken anew."""

    def update(theta, observation, action, advantage, order, clip, step_size):
        def log_probability(theta, steps):
            return (observation[steps] @ theta).log_softmax(-1).gather(-1, action[steps][:, None])[:, 0]

        old, gradient = theta, torch.zeros_like(theta)
        if not shuffled:
            order = torch.arange(len(action)).reshape(order.shape[1:]).expand_as(order)
        for epoch in order[:epochs]:
            old = theta if refresh == "epoch" else old
            for steps in epoch.flatten()[None] if whole else epoch:
                old = theta if refresh == "minibatch" else old
                at, A = theta.detach().requires_grad_(), weights(advantage[steps])
                ratio = (log_probability(at, steps) - log_probability(old, steps)).exp()
                held = ratio.clamp(1 - clip, 1 + clip) * A if clipped else ratio * A
                objective = torch.minimum(ratio * A, held) if minimum else held
                objective = objective.sum() if total else objective.mean()
                gradient = gradient * piles_up + torch.autograd.grad(objective, at)[0]
                theta = theta + sign * step_size * gradient
        return theta

    return update


PPO_UPDATE = Task(
    id="10.ppo_update",
    title="A whole update",
    signature="ppo_update(theta [O, A], observation [N, O], action [N], advantage [N], order [K, M, B], clip, step_size) -> "
    "theta' [O, A]",
    reference=ppo_update,
    stages=(Exact(3, _ppo_update_cases),),
    alternatives=(_ppo_update_by_func, _ppo_update_by_scores),
    mistakes=(
        Mistake(
            "old policy moves along",
            _updated(refresh="minibatch"),
            "Your old policy moves along: it is taken anew at each minibatch, so every ratio is 1 and nothing is ever "
            "clipped. The old policy is the theta you were given, for all epochs.",
            "PP01",
        ),
        Mistake(
            "old policy of the epoch",
            _updated(refresh="epoch"),
            "You take the old policy anew at each epoch. The actions were taken with the theta you were given, and it stays "
            "the old one to the end.",
            "PP01",
        ),
        Mistake(
            "descends",
            _updated(sign=-1.0),
            "You go down: the objective is to be raised.",
        ),
        Mistake(
            "not clipped",
            _updated(clipped=False),
            "You ascend the unclipped surrogate.",
        ),
        Mistake(
            "no minimum",
            _updated(minimum=False),
            "You clip the ratio whatever the advantage; take the minimum with ratio * advantage.",
            "PP04",
        ),
        Mistake(
            "one epoch",
            _updated(epochs=1),
            "You stop after the first epoch: order has K of them.",
        ),
        Mistake(
            "whole batch at once",
            _updated(whole=True),
            "You take one step per epoch with the whole batch; order has M minibatches, and each gets a step of its own.",
        ),
        Mistake(
            "order not used",
            _updated(shuffled=False),
            "Your minibatches are not those of order: you take the steps as they come.",
            "PP07",
        ),
        Mistake(
            "sum",
            _updated(total=True),
            "You add up over a minibatch; the objective is the mean, or the step would grow with the minibatch.",
        ),
        Mistake(
            "standardised",
            _updated(weights=lambda A: (A - A.mean()) / (A.std() + 1e-8)),
            "You standardise the advantages; here they are taken as they are.",
        ),
        Mistake(
            "gradients pile up",
            _updated(piles_up=True),
            "Your gradients pile up: each minibatch steps along the sum of all gradients so far. .backward() adds to .grad, so "
            "empty it after each step, or use torch.autograd.grad.",
        ),
        Mistake(
            "step instead of weights",
            lambda theta, *rest: ppo_update(theta, *rest) - theta,
            "You return by how much theta has moved; asked is where it is.",
        ),
    ),
    hints=(
        "Before the first step, take the log-probabilities of all N actions under the theta you are given; they stay.",
        "for steps in order.flatten(0, 1): at = theta.detach().requires_grad_(), then ratio and objective on those steps from "
        "at, and theta = theta + step_size * torch.autograd.grad(objective, at)[0].",
        "log pi(a | s): (observation[steps] @ at).log_softmax(-1) has a row for each step, and .gather(-1, action[steps][:, "
        "None]) takes the action's column.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.ppo",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 10.ppo_loss


def ppo_loss(log_probability, old_log_probability, advantage, clip):
    """What PPO's optimizer minimises on a minibatch: minus the clipped objective (10.3), of standardised advantages.

    log_probability, old_log_probability, advantage: [B]. clip: epsilon.
    Advantages are first shifted to mean 0 and divided by their standard deviation (torch's .std(), with B - 1) plus 1e-8.
    Returns a tensor with one number, shape []. Judged is its gradient with respect to log_probability; then learners are
    trained with it.
    """
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (log_probability - old_log_probability).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def _ppo_loss_by_sign(log_probability, old_log_probability, advantage, clip):
    A = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = torch.exp(log_probability - old_log_probability)
    return torch.where(A >= 0, -A * ratio.clamp(max=1 + clip), -A * ratio.clamp(min=1 - clip)).mean()


def _ppo_loss_by_weights(log_probability, old_log_probability, advantage, clip):
    """A policy gradient whose weights are ratio A, and 0 where the ratio is held."""
    A = advantage - advantage.sum() / len(advantage)
    A = A / ((A.square().sum() / (len(A) - 1)).sqrt() + 1e-8)
    ratio = (log_probability - old_log_probability).exp().detach()
    free = ~(((A > 0) & (ratio > 1 + clip)) | ((A < 0) & (ratio < 1 - clip)))
    return -(ratio * A * free * log_probability).mean()


def _ppo_loss_oracle(log_probability, old_log_probability, advantage, clip):
    """The gradient on paper: -ratio A / B for each step that is not held."""
    A, B = advantage.tolist(), len(advantage)
    mean = math.fsum(A) / B
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in A) / (B - 1)) + 1e-8
    gradient = []
    for new, old, x in zip(log_probability.tolist(), old_log_probability.tolist(), A, strict=True):
        ratio, x = math.exp(new - old), (x - mean) / deviation
        held = ratio > 1 + clip if x > 0 else ratio < 1 - clip
        gradient.append(0.0 if held else -ratio * x / B)
    return torch.tensor(gradient, dtype=advantage.dtype)


def _ppo_loss_cases(generator):
    inputs = []
    for n, clip, draw in ((8, 0.2, readable), (9, 0.1, readable), (16, 0.2, None), (24, 0.25, None), (5, 0.2, "equal")):
        log_ratio, advantage = _moved(generator, n, draw if callable(draw) else lambda x: x)
        old = -uniform(generator, 0.3, 2, n)
        if callable(draw):
            old, log_ratio = draw(old), (log_ratio * 100).round() / 100
        advantage = torch.full_like(advantage, 0.5) if draw == "equal" else 3 * advantage + 0.5
        inputs.append((old + log_ratio, old, advantage, clip))
    return cases(_ppo_loss_oracle, inputs)


def _loss(
    shift=lambda A: A - A.mean(),
    scale=lambda A: A.std() + 1e-8,
    ratio=lambda new, old: (new - old).exp(),
    surrogate=None,
    sign=-1.0,
):
    """ppo_loss with one thing changed."""

    def loss(log_probability, old_log_probability, advantage, clip):
        A = shift(advantage) / scale(advantage)
        r = ratio(log_probability, old_log_probability)
        held = r.clamp(1 - clip, 1 + clip) * A
        return sign * (surrogate(r * A, held) if surrogate else torch.minimum(r * A, held)).mean()

    return loss


def _train(answer, seed, report):
    """Train 8 learners on CartPole-v1 with the loss; half of them must reach the goal, a mean return over some updates."""
    goal, updates, learners = budget.choose(_FULL_RUN, _SMALL_RUN)
    lifted = answer.lifted()
    loss = Lifted(lambda new, old, advantage, config: lifted(new, old, advantage, config.clip))
    config = ppo.Config(
        environments=8,
        steps=128,
        iterations=updates,
        step_size=1e-2,
        hidden=(32, 32),
        anneal=False,
        standardise=False,
    )
    return half_must_reach(
        goal,
        _WINDOW,
        learners,
        ppo,
        config,
        loss,
        seed,
        report,
        right="The gradient is right.",
        advice="Training is partly luck: run the check again.",
    )


_WINDOW = 3
"""Updates, of 1024 steps each, over which a learner's return is averaged."""
_FULL_RUN, _SMALL_RUN = (400, 40, 8), (150, 20, 4)
"""Goal, updates, learners."""

PPO_LOSS = Task(
    id="10.ppo_loss",
    title="The loss of PPO, put to use",
    signature="ppo_loss(log_probability [B], old_log_probability [B], advantage [B], clip) -> loss []",
    reference=ppo_loss,
    stages=(
        Exact(3, _ppo_loss_cases, Gradient(("log_probability",)), praise="The gradient of your loss is PPO's."),
        Learning(1, _train),
    ),
    alternatives=(_ppo_loss_by_sign, _ppo_loss_by_weights),
    mistakes=(
        Mistake(
            "sign",
            _loss(sign=1.0),
            "Your loss has the wrong sign: an optimizer minimises it, so it is minus the objective.",
        ),
        Mistake(
            "advantages as they are",
            _loss(shift=lambda A: A, scale=lambda A: 1.0),
            "Your advantages are not standardised.",
        ),
        Mistake(
            "not shifted",
            _loss(shift=lambda A: A),
            "Your advantages are divided by their standard deviation, but their mean is not 0.",
        ),
        Mistake(
            "not scaled",
            _loss(scale=lambda A: 1.0),
            "Your advantages have mean 0, but are not divided by their standard deviation.",
        ),
        Mistake(
            "variance",
            _loss(scale=lambda A: A.var() + 1e-8),
            "You divide the advantages by their variance; it is the standard deviation.",
        ),
        Mistake(
            "deviation with B",
            _loss(scale=lambda A: A.std(correction=0) + 1e-8),
            "A convention: your standard deviation divides by B (NumPy's does), asked is torch's .std(), with B - 1.",
        ),
        Mistake(
            "divides by zero",
            _loss(scale=lambda A: A.std()),
            "Right, but where all advantages are equal you divide 0 by 0: add 1e-8 to the standard deviation.",
            "SF13",
        ),
        Mistake(
            "not clipped",
            _loss(surrogate=lambda plain, held: plain),
            "You use the unclipped surrogate.",
        ),
        Mistake(
            "no minimum",
            _loss(surrogate=lambda plain, held: held),
            "You clip the ratio whatever the advantage; take the minimum with ratio * advantage.",
            "PP04",
        ),
        Mistake(
            "maximum",
            _loss(surrogate=torch.maximum),
            "You take the larger of the two products; a *loss* would have minus signs inside and the maximum, the objective "
            "has the minimum.",
        ),
        Mistake(
            "no ratio",
            lambda log_probability, old_log_probability, advantage, clip: (
                -((advantage - advantage.mean()) / (advantage.std() + 1e-8) * log_probability).mean()
            ),
            "Your gradient is that of a plain policy gradient: there is no ratio in it, or one that is always 1 (a new "
            "log-probability less itself). The old one is an argument.",
            "PP01",
        ),
        Mistake(
            "ratio upside down",
            _loss(ratio=lambda new, old: (old - new).exp()),
            "Your ratio is upside down: exp(log_probability - old_log_probability).",
        ),
    ),
    hints=(
        "Three lines: standardise the advantages, take the ratio, return minus the mean of the smaller product.",
        "advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8); the rest is your clipped_objective with a "
        "minus.",
    ),
    error_budget=(
        EXACT_BUDGET + " Learning run, 1 point: in 20 runs of 8 learners with the right gradient the goal was reached after "
        "17 to 25 of the 40 updates allowed; none failed, so fewer than 14 % do (95 % confidence), and the check can be run "
        "again. Whoever gets this far has the right gradient, so the run has no wrong answers to tell from right ones."
    ),
    forbidden=("pgcourse.algorithms.ppo",),
)

TASKS = (IMPORTANCE_RATIO, CLIPPED_OBJECTIVE, PENALISED_OBJECTIVE, UPDATE_DIAGNOSTICS, PPO_UPDATE, PPO_LOSS)
