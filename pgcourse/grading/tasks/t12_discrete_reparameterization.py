"""Tasks of lecture 12: discrete variables."""

import math

import torch

from ..task import EXACT_BUDGET, Exact, Gradient, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 12.gumbel_max_shares


def gumbel_max_shares(logits, uniform):
    """Draw N times from softmax(logits) by Gumbel-max: the largest logit wins, after each got a Gumbel number.

    logits: [K], the same in all draws. uniform: [N, K], numbers between 0 and 1; -log(-log u) is Gumbel.
    Returns [K]: the share of the N draws that each outcome won.
    """
    gumbel = -torch.log(-torch.log(uniform))
    winner = (logits + gumbel).argmax(-1)
    return torch.nn.functional.one_hot(winner, len(logits)).to(logits.dtype).mean(0)


def _gumbel_max_shares_by_race(logits, uniform):
    """Exponential clocks with rates exp(logits): the first to ring wins."""
    winner = (-uniform.log() / logits.exp()).argmin(1)
    return torch.bincount(winner, minlength=len(logits)).double() / len(uniform)


def _gumbel_max_shares_in_a_loop(logits, uniform):
    shares = torch.zeros_like(logits)
    for row in uniform.tolist():
        scores = [logit - math.log(-math.log(u)) for logit, u in zip(logits.tolist(), row, strict=True)]
        shares[scores.index(max(scores))] += 1 / len(uniform)
    return shares


def _gumbel_max_shares_oracle(logits, uniform):
    """Among all pairs: i beats j where exp(l_i) log u_j < exp(l_j) log u_i, without a single Gumbel number."""
    row, wins = logits.tolist(), [0] * len(logits)
    for u in uniform.tolist():
        winner = 0
        for k in range(1, len(row)):
            if math.exp(row[k] - row[winner]) * math.log(u[winner]) < math.log(u[k]):
                winner = k
        wins[winner] += 1
    return torch.tensor(wins, dtype=logits.dtype) / len(uniform)


def _gumbel_max_shares_cases(generator):
    # no ties: logits with one decimal apart by a little
    inputs = [
        (readable(normal(generator, k)) + 1e-3 * torch.arange(k), readable(uniform(generator, 0.1, 0.9, n, k)))
        for n, k in ((2, 3), (3, 4))
    ]
    for n, k in ((300, 4), (200, 7), (150, 5)):
        spread = torch.linspace(-1, 1, k, dtype=torch.float64)[torch.randperm(k, generator=generator)]
        noise = uniform(generator, 0.001, 0.999, n, k)
        noise[0, spread.argmin()] = 0.999  # the first draw is won by an outsider
        inputs.append((spread + 0.1 * normal(generator, k), noise))
    return cases(_gumbel_max_shares_oracle, inputs)


def _gumbel(u):
    return -(-u.log()).log()


def _shares(winner, outcomes):
    return torch.nn.functional.one_hot(winner, outcomes).double().mean(0)


GUMBEL_MAX_SHARES = Task(
    id="12.gumbel_max_shares",
    title="Samples by Gumbel-max",
    signature="gumbel_max_shares(logits [K], uniform [N, K]) -> share [K]",
    reference=gumbel_max_shares,
    stages=(Exact(1, _gumbel_max_shares_cases),),
    alternatives=(_gumbel_max_shares_by_race, _gumbel_max_shares_in_a_loop),
    mistakes=(
        Mistake(
            "sign of the Gumbel number",
            lambda logits, uniform: _shares((logits - _gumbel(uniform)).argmax(-1), len(logits)),
            "You add log(-log u); a Gumbel number is -log(-log u). With the wrong sign the shares are not softmax(logits).",
            "GE03",
        ),
        Mistake(
            "no noise",
            lambda logits, uniform: _shares(logits.expand_as(uniform).argmax(-1), len(logits)),
            "The largest logit wins every draw: the noise is missing.",
        ),
        Mistake(
            "uniform noise",
            lambda logits, uniform: _shares((logits + uniform).argmax(-1), len(logits)),
            "You add the uniform numbers themselves. Only Gumbel noise, -log(-log u), makes the shares softmax(logits).",
        ),
        Mistake(
            "one logarithm",
            lambda logits, uniform: _shares((logits - uniform.log()).argmax(-1), len(logits)),
            "You add -log u, an exponential number; a Gumbel number takes the logarithm twice, -log(-log u).",
        ),
        Mistake(
            "logistic noise",
            lambda logits, uniform: _shares((logits + uniform.log() - (-uniform).log1p()).argmax(-1), len(logits)),
            "You add logistic numbers, log u - log(1 - u). They decide a coin; a choice among K needs K Gumbel numbers.",
        ),
        Mistake(
            "probabilities for logits",
            lambda logits, uniform: _shares((logits.softmax(-1) + _gumbel(uniform)).argmax(-1), len(logits)),
            "You add the noise to the probabilities; it belongs to the logits, or to the log-probabilities.",
        ),
        Mistake(
            "smallest instead of largest",
            lambda logits, uniform: _shares((logits + _gumbel(uniform)).argmin(-1), len(logits)),
            "You take the smallest of the sums; the largest wins.",
        ),
        Mistake(
            "noise only",
            lambda logits, uniform: _shares(uniform.argmax(-1), len(logits)),
            "The logits do not take part: all K outcomes win equally often.",
        ),
        Mistake(
            "one noise for all draws",
            lambda logits, uniform: _shares((logits + _gumbel(uniform[:1])).argmax(-1), len(logits)),
            "The first row of the noise decides; each of the N draws has a row of its own.",
            "GE05",
        ),
        Mistake(
            "probabilities instead of draws",
            lambda logits, uniform: logits.softmax(-1),
            "You return softmax(logits), which the shares come near as N grows; asked are the shares of these N draws.",
        ),
        Mistake(
            "counts",
            lambda logits, uniform: _shares((logits + _gumbel(uniform)).argmax(-1), len(logits)) * len(uniform),
            "You return how often each outcome won; its share is that divided by N.",
        ),
    ),
    hints=(
        "First the Gumbel numbers, one for each entry of uniform: g = -log(-log u).",
        "(logits + g).argmax(-1): in each draw the K outcomes compete.",
        "torch.nn.functional.one_hot(winner, K) has a row for each draw; its mean over the draws holds the shares.",
    ),
    error_budget=(
        "Exact: counts, compared with those of an oracle that makes no Gumbel number. A right answer differs only where two "
        "sums agree to rounding, 1e-13: fewer than 1e-9 of all checks. Each listed wrong one differs in several draws of 650."
    ),
    forbidden=("pgcourse.relaxations.gumbel_max", "pgcourse.relaxations.gumbel"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 12.gumbel_softmax_point


def gumbel_softmax_point(logits, uniform, temperature):
    """A relaxed sample: softmax((logits + gumbel) / temperature), a point of the simplex.

    logits: [N, K]; they may be as large as 1000. uniform: [N, K], numbers between 0 and 1. temperature: a number > 0.
    Returns [N, K]; each row sums to one.
    """
    gumbel = -torch.log(-torch.log(uniform))
    return torch.softmax((logits + gumbel) / temperature, dim=-1)


def _gumbel_softmax_point_by_hand(logits, uniform, temperature):
    z = (logits - torch.log(-torch.log(uniform))) / temperature
    weight = (z - z.max(1, keepdim=True).values).exp()
    return weight / weight.sum(1, keepdim=True)


def _gumbel_softmax_point_oracle(logits, uniform, temperature):
    """Each entry alone: 1 / sum_j exp((z_j - z_k) / temperature), in Python numbers."""
    rows = []
    for row, u in zip(logits.tolist(), uniform.tolist(), strict=True):
        z = [logit - math.log(-math.log(each)) for logit, each in zip(row, u, strict=True)]
        shares = []
        for mine in z:
            apart = [(other - mine) / temperature for other in z]
            shares.append(0.0 if max(apart) > 700 else 1 / math.fsum(math.exp(each) for each in apart))
        rows.append(shares)
    return torch.tensor(rows, dtype=logits.dtype)


def _gumbel_softmax_point_cases(generator):
    inputs = [
        (readable(normal(generator, n, k)), readable(uniform(generator, 0.1, 0.9, n, k)), temperature)
        for n, k, temperature in ((1, 2, 0.5), (2, 3, 2.0))
    ]
    inputs += [
        (normal(generator, n, k), uniform(generator, 0.01, 0.99, n, k), temperature)
        for n, k, temperature in ((4, 5, 0.7), (6, 3, 1.6))
    ]
    large = torch.tensor([[1000.0], [-1000.0]], dtype=torch.float64) + normal(generator, 2, 3)
    inputs.append((large, uniform(generator, 0.01, 0.99, 2, 3), 0.6))
    return cases(_gumbel_softmax_point_oracle, inputs)


def _overflowing(logits, uniform, temperature):
    weight = ((logits + _gumbel(uniform)) / temperature).exp()
    return weight / weight.sum(-1, keepdim=True)


GUMBEL_SOFTMAX_POINT = Task(
    id="12.gumbel_softmax_point",
    title="A relaxed sample by Gumbel-softmax",
    signature="gumbel_softmax_point(logits [N, K], uniform [N, K], temperature) -> point [N, K]",
    reference=gumbel_softmax_point,
    stages=(Exact(2, _gumbel_softmax_point_cases),),
    alternatives=(_gumbel_softmax_point_by_hand,),
    mistakes=(
        Mistake(
            "temperature divides the logits only",
            lambda logits, uniform, temperature: (logits / temperature + _gumbel(uniform)).softmax(-1),
            "You divide the logits before the noise is added. Then the noise stays as large as it was, and the points "
            "never come near the corners: divide the sum.",
            "GE08",
        ),
        Mistake(
            "temperature divides the noise only",
            lambda logits, uniform, temperature: (logits + _gumbel(uniform) / temperature).softmax(-1),
            "You divide the noise only. As the temperature falls the logits are drowned: divide the sum.",
            "GE08",
        ),
        Mistake(
            "temperature multiplies",
            lambda logits, uniform, temperature: ((logits + _gumbel(uniform)) * temperature).softmax(-1),
            "You multiply by the temperature; a low one must sharpen the point, so it divides.",
        ),
        Mistake(
            "no temperature",
            lambda logits, uniform, temperature: (logits + _gumbel(uniform)).softmax(-1),
            "The temperature has no effect on your point.",
        ),
        Mistake(
            "sign of the Gumbel number",
            lambda logits, uniform, temperature: ((logits - _gumbel(uniform)) / temperature).softmax(-1),
            "You add log(-log u); a Gumbel number is -log(-log u).",
            "GE03",
        ),
        Mistake(
            "uniform noise",
            lambda logits, uniform, temperature: ((logits + uniform) / temperature).softmax(-1),
            "You add the uniform numbers themselves; only Gumbel noise makes the largest entry a sample of softmax(logits).",
        ),
        Mistake(
            "no noise",
            lambda logits, uniform, temperature: (logits / temperature).softmax(-1),
            "Your point is the same in every draw: the noise is missing.",
        ),
        Mistake(
            "softmax over the wrong axis",
            lambda logits, uniform, temperature: ((logits + _gumbel(uniform)) / temperature).softmax(0),
            "Your softmax runs over the draws; each draw's K entries must sum to one, so it runs over the last axis.",
            "SF09",
        ),
        Mistake(
            "logarithm of the point",
            lambda logits, uniform, temperature: ((logits + _gumbel(uniform)) / temperature).log_softmax(-1),
            "You return the logarithm of the point: softmax, not log_softmax.",
        ),
        Mistake(
            "probabilities for logits",
            lambda logits, uniform, temperature: ((logits.softmax(-1) + _gumbel(uniform)) / temperature).softmax(-1),
            "You add the noise to the probabilities; it belongs to the logits.",
        ),
        Mistake(
            "overflows",
            _overflowing,
            "Right for small logits, but exp(1000) is infinite and exp(-1000) is zero to a computer. torch.softmax "
            "subtracts each row's largest number first, which changes nothing but that.",
        ),
    ),
    hints=(
        "The same Gumbel numbers as in task 1, and softmax where argmax stood.",
        "Add first, then divide the sum by the temperature, then softmax over the last axis.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.relaxations.gumbel", "torch.nn.functional.gumbel_softmax"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 12.straight_through_cost


def straight_through_cost(logits, uniform, target):
    """The mean cost of N draws of D coins, with a straight-through gradient: forward the coins, backward their probabilities.

    logits: [D]; coin d shows 1 with probability sigmoid(logits[d]). uniform: [N, D]; a coin shows 1 where its number is below
    that probability, else 0. target: [D]. The cost of a draw is sum_d (b_d - target_d)^2.
    Returns a tensor with one number, shape []. Only its gradient by logits is judged.
    """
    probability = torch.sigmoid(logits)
    coin = (uniform < probability).to(logits.dtype)
    b = coin + probability - probability.detach()
    return (b - target).square().sum(-1).mean()


def _straight_through_cost_other_way_round(logits, uniform, target):
    p = 1 / (1 + (-logits).exp())
    b = p + ((uniform < p).to(p.dtype) - p).detach()
    return ((b - target) ** 2).sum() / len(uniform)


def _straight_through_cost_by_linear_terms(logits, uniform, target):
    """Whatever has the right slope is right: the slope at the corners times p."""
    p = torch.sigmoid(logits)
    with torch.no_grad():
        slope = 2 * ((uniform < p).double() - target).mean(0)
    return (slope * p).sum()


def _straight_through_cost_oracle(logits, uniform, target):
    """mean_n 2 (b - target) p (1 - p), coin by coin in Python numbers."""
    slopes = []
    for d, logit in enumerate(logits.tolist()):
        p = 1 / (1 + math.exp(-logit))
        shown = [float(u < p) for u in uniform[:, d].tolist()]
        slopes.append(math.fsum(2 * (b - target[d].item()) for b in shown) / len(shown) * p * (1 - p))
    return torch.tensor(slopes, dtype=logits.dtype)


def _straight_through_cost_cases(generator):
    inputs = [
        (
            readable(normal(generator, d)),
            readable(uniform(generator, 0.1, 0.9, n, d)),
            readable(uniform(generator, 0.1, 0.4, d)),
        )
        for n, d in ((2, 1), (3, 2))
    ]
    inputs += [(normal(generator, d), uniform(generator, 0, 1, n, d), uniform(generator, 0, 1, d)) for n, d in ((7, 3), (4, 5))]
    return cases(_straight_through_cost_oracle, inputs)


def _straight_through(point):
    """The cost, of what ``point(p, coin)`` makes."""

    def cost(logits, uniform, target):
        p = torch.sigmoid(logits)
        return (point(p, (uniform < p).to(p.dtype), logits) - target).square().sum(-1).mean()

    return cost


STRAIGHT_THROUGH_COST = Task(
    id="12.straight_through_cost",
    title="Straight through a coin",
    signature="straight_through_cost(logits [D], uniform [N, D], target [D]) -> cost []",
    reference=straight_through_cost,
    stages=(Exact(2, _straight_through_cost_cases, Gradient(("logits",))),),
    alternatives=(_straight_through_cost_other_way_round, _straight_through_cost_by_linear_terms),
    mistakes=(
        Mistake(
            "signs swapped",
            _straight_through(lambda p, coin, logits: coin - p + p.detach()),
            "Your gradient has the wrong sign: you subtract the probability and add it back detached. Forward that is the "
            "coin, but the part that remembers the logits must be added.",
            "GE06",
        ),
        Mistake(
            "forward soft",
            _straight_through(lambda p, coin, logits: p.expand_as(coin)),
            "Forward you use the probability, not the coin: the slope of the cost is taken at p instead of at 0 or 1.",
        ),
        Mistake(
            "nothing detached",
            _straight_through(lambda p, coin, logits: coin + p),
            "Your forward value is coin + probability. Subtract the probability again, detached, so that the coin is left.",
            "GE06",
        ),
        Mistake(
            "no gradient",
            _straight_through(lambda p, coin, logits: coin + 0 * p),
            "No gradient reaches the logits: a comparison has no slope, and nothing stands in for it backward.",
            "GE01",
        ),
        Mistake(
            "logits straight through",
            _straight_through(lambda p, coin, logits: coin + logits - logits.detach()),
            "Backward you let the logits through as they are; asked is the probability, whose slope is p (1 - p).",
        ),
        Mistake(
            "coin the wrong way round",
            lambda logits, uniform, target: straight_through_cost(logits, 1 - uniform, target),
            "Your coin shows 1 where the number is *above* a threshold; it is to show 1 where uniform < probability.",
        ),
        Mistake(
            "summed over the draws",
            lambda logits, uniform, target: straight_through_cost(logits, uniform, target) * len(uniform),
            "You sum over the draws; their mean is asked for.",
            "SF09",
        ),
        Mistake(
            "averaged over the coins",
            lambda logits, uniform, target: straight_through_cost(logits, uniform, target) / len(logits),
            "You average over the coins as well; the cost of a draw is the sum over its coins.",
        ),
        Mistake(
            "score function",
            lambda logits, uniform, target: (
                (
                    ((uniform < torch.sigmoid(logits)).to(logits.dtype) - target).square()
                    * torch.distributions.Bernoulli(logits=logits).log_prob((uniform < torch.sigmoid(logits)).to(logits.dtype))
                )
                .sum(-1)
                .mean()
            ),
            "Your gradient is a score-function estimate: cost times score. That one is unbiased, but here the slope of the "
            "cost is to be used.",
        ),
    ),
    hints=(
        "probability - probability.detach() is zero, and has the gradient of the probability.",
        "b = coin + probability - probability.detach(); then the cost of b as usual.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.relaxations.straight_through",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 12.leave_one_out_surrogate


def leave_one_out_surrogate(log_probability, value):
    """A number whose gradient is the leave-one-out estimate: each sample's baseline is the mean value of the others.

    log_probability: [N], log p(b_n), N >= 2; depends on the parameters. value: [N], f(b_n); no gradient may flow through it.
    Returns a tensor with one number, shape []. Only its gradient is judged.
    """
    value = value.detach()
    others = (value.sum() - value) / (len(value) - 1)
    return ((value - others) * log_probability).mean()


def _leave_one_out_surrogate_by_scaling(log_probability, value):
    weight = (value - value.mean()).detach()
    return (weight * log_probability).sum() / (len(value) - 1)


def _leave_one_out_surrogate_in_pairs(log_probability, value):
    total, count = 0.0, len(value)
    for i in range(count):
        for j in range(i):
            total = total + (value[i] - value[j]).detach() * (log_probability[i] - log_probability[j])
    return total / (count * (count - 1))


def _leave_one_out_surrogate_oracle(log_probability, value):
    """Each is pushed by its value less the mean of a list that it is not in, over N; nothing through the values."""
    numbers = value.tolist()
    slopes = [f - math.fsum(numbers[:n] + numbers[n + 1 :]) / (len(numbers) - 1) for n, f in enumerate(numbers)]
    return torch.tensor(slopes, dtype=value.dtype) / len(numbers), torch.zeros_like(value)


def _leave_one_out_surrogate_cases(generator):
    inputs = [(readable(-uniform(generator, 0.2, 2, n)), readable(normal(generator, n) + 1)) for n in (2, 3)]
    inputs += [(-uniform(generator, 0.2, 4, n), normal(generator, n) + 3) for n in (4, 7, 12)]
    return cases(_leave_one_out_surrogate_oracle, inputs)


def _others(value):
    return (value.sum() - value) / (len(value) - 1)


LEAVE_ONE_OUT_SURROGATE = Task(
    id="12.leave_one_out_surrogate",
    title="Each against the others",
    signature="leave_one_out_surrogate(log_probability [N], value [N]) -> surrogate []",
    reference=leave_one_out_surrogate,
    stages=(Exact(2, _leave_one_out_surrogate_cases, Gradient(("log_probability", "value"))),),
    alternatives=(_leave_one_out_surrogate_by_scaling, _leave_one_out_surrogate_in_pairs),
    mistakes=(
        Mistake(
            "own value in the mean",
            lambda log_probability, value: ((value - value.mean()).detach() * log_probability).mean(),
            "Your baseline is the mean of all N, the sample itself among them: the estimate is too small by (N - 1) / N. Leave "
            "the sample's own value out.",
            "GE18",
        ),
        Mistake(
            "no baseline",
            lambda log_probability, value: (value.detach() * log_probability).mean(),
            "There is no baseline: that is the plain score function. Subtract from each value the mean of the others.",
        ),
        Mistake(
            "the others are divided by N",
            lambda log_probability, value: ((value - (value.sum() - value) / len(value)).detach() * log_probability).mean(),
            "You divide the sum of the others by N; there are N - 1 of them.",
        ),
        Mistake(
            "the others are summed",
            lambda log_probability, value: ((value - (value.sum() - value)).detach() * log_probability).mean(),
            "You subtract the sum of the others; it is their mean that foretells a value.",
        ),
        Mistake(
            "all divided by N - 1",
            lambda log_probability, value: ((value - value.sum() / (len(value) - 1)).detach() * log_probability).mean(),
            "Your baseline is the sum of all N values over N - 1: the sample's own value is to leave the sum as well.",
        ),
        Mistake(
            "weights divided by N - 1",
            lambda log_probability, value: ((value - _others(value)).detach() * log_probability).sum() / (len(value) - 1),
            "You divide twice by N - 1: the baseline's mean is over N - 1 values, the estimate's is over N samples.",
        ),
        Mistake(
            "sum instead of mean",
            lambda log_probability, value: ((value - _others(value)).detach() * log_probability).sum(),
            "You sum over the samples; the estimate is their mean.",
            "SF09",
        ),
        Mistake(
            "sign",
            lambda log_probability, value: -((value - _others(value)).detach() * log_probability).mean(),
            "The gradient of your surrogate has the wrong sign: its gradient is the estimate itself.",
            "SF01",
        ),
        Mistake(
            "gradient flows through f",
            lambda log_probability, value: ((value - _others(value)) * log_probability).mean(),
            "Gradient flows through value. Cut it off with value.detach().",
            "SF12",
        ),
        Mistake(
            "baseline only",
            lambda log_probability, value: (_others(value).detach() * log_probability).mean(),
            "You weight with the baseline alone; the weight is the value less its baseline.",
        ),
    ),
    hints=(
        "(value.sum() - value) / (N - 1) holds the mean of the others for every sample at once.",
        "The mean over samples of (value - others), detached, times log_probability.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.relaxations.leave_one_out",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 12.disarm_estimate


def disarm_estimate(logits, uniform, value, antithetic):
    """The DisARM estimate of the gradient of E[f(b)] by the logits of D coins, from N antithetic pairs.

    logits: [D], p = sigmoid(logits). uniform: [N, D]; the pairs are b = 1[u < p] and b' = 1[1 - u < p]. value, antithetic: [N],
    f(b_n) and f(b'_n).
    Returns [D]: the mean over n of (f(b) - f(b')) / 2 (-1)^b' 1[b != b'] sigmoid(|logits|).
    """
    probability = torch.sigmoid(logits)
    b = (uniform < probability).to(logits.dtype)
    other = (1 - uniform < probability).to(logits.dtype)
    weight = (b - other) * torch.sigmoid(logits.abs())
    return ((value - antithetic)[:, None] / 2 * weight).mean(0)


def _disarm_estimate_by_cases(logits, uniform, value, antithetic):
    p = torch.sigmoid(logits)
    b, other = uniform < p, uniform > 1 - p
    sign = torch.where(other, -1.0, 1.0).to(logits.dtype) * (b != other)
    return (sign.T @ (value - antithetic)) / (2 * len(value)) * torch.maximum(p, 1 - p)


def _disarm_estimate_oracle(logits, uniform, value, antithetic):
    """ARM's weight u - 1/2, averaged by integration over the u that give this pair: coin by coin in Python numbers."""
    result = []
    for d, logit in enumerate(logits.tolist()):
        p = 1 / (1 + math.exp(-logit))
        low, high = min(p, 1 - p), max(p, 1 - p)
        terms = []
        for u, f, g in zip(uniform[:, d].tolist(), value.tolist(), antithetic.tolist(), strict=True):
            if low < u < high:
                continue  # both alike: such u come as u and 1 - u, and ARM's weights cancel
            start, end = (0.0, low) if u <= low else (high, 1.0)
            middle = (start + end) / 2  # the mean of u there
            terms.append((f - g) * (0.5 - middle))
        result.append(math.fsum(terms) / len(value))
    return torch.tensor(result, dtype=logits.dtype)


def _disarm_estimate_cases(generator):
    inputs = [
        (
            readable(normal(generator, d)),
            readable(uniform(generator, 0.1, 0.8, n, d)) + 0.05,  # never p or 1 - p itself
            readable(normal(generator, n) + 1),
            readable(normal(generator, n)),
        )
        for n, d in ((3, 1), (4, 2))
    ]
    inputs += [
        (normal(generator, d), uniform(generator, 0, 1, n, d), normal(generator, n) + 2, normal(generator, n))
        for n, d in ((30, 3), (20, 4), (40, 5))
    ]
    return cases(_disarm_estimate_oracle, inputs)


def _disarm(weight):
    """The estimate with another weight(logits, u, b, b')."""

    def estimate(logits, uniform, value, antithetic):
        p = torch.sigmoid(logits)
        b, other = (uniform < p).to(p.dtype), (1 - uniform < p).to(p.dtype)
        return ((value - antithetic)[:, None] * weight(logits, uniform, b, other)).mean(0)

    return estimate


DISARM_ESTIMATE = Task(
    id="12.disarm_estimate",
    title="Two coins from one number: DisARM",
    signature="disarm_estimate(logits [D], uniform [N, D], value [N], antithetic [N]) -> estimate [D]",
    reference=disarm_estimate,
    stages=(Exact(2, _disarm_estimate_cases),),
    alternatives=(_disarm_estimate_by_cases,),
    mistakes=(
        Mistake(
            "that is ARM",
            _disarm(lambda logits, u, b, other: 0.5 - u),
            "You weight with 1/2 - u: that is ARM, right on average and noisier. DisARM replaces the weight by its mean, "
            "given the pair.",
        ),
        Mistake(
            "ARM where the pair differs",
            _disarm(lambda logits, u, b, other: (0.5 - u) * (b != other)),
            "You weight with 1/2 - u where the pair differs. DisARM replaces u by its mean: sigmoid(|logits|) / 2 remains.",
        ),
        Mistake(
            "no half",
            _disarm(lambda logits, u, b, other: (b - other) * logits.abs().sigmoid()),
            "Your estimate is twice too large: the difference f(b) - f(b') is halved.",
        ),
        Mistake(
            "probability for sigmoid of the magnitude",
            _disarm(lambda logits, u, b, other: (b - other) / 2 * logits.sigmoid()),
            "You multiply by sigmoid(logits); it is the larger of p and 1 - p that belongs there, sigmoid(|logits|).",
        ),
        Mistake(
            "smaller of the two",
            _disarm(lambda logits, u, b, other: (b - other) / 2 * (-logits.abs()).sigmoid()),
            "You multiply by sigmoid(-|logits|), the smaller of p and 1 - p; it is the larger.",
        ),
        Mistake(
            "sign of the pair",
            _disarm(lambda logits, u, b, other: (other - b) / 2 * logits.abs().sigmoid()),
            "Your estimate has the wrong sign: where b = 1 and b' = 0, a larger f(b) must push the logit up.",
            "SF01",
        ),
        Mistake(
            "no sign",
            _disarm(lambda logits, u, b, other: (b - other).abs() / 2 * logits.abs().sigmoid()),
            "The sign (-1)^b' is missing: where b = 0 and b' = 1 the difference counts the other way round.",
        ),
        Mistake(
            "all coins, also where the pair agrees",
            _disarm(lambda logits, u, b, other: (1 - 2 * other) / 2 * logits.abs().sigmoid()),
            "1[b != b'] is missing: a coin that shows the same in both samples cannot have made their difference.",
        ),
        Mistake(
            "no sigmoid",
            _disarm(lambda logits, u, b, other: (b - other) / 2),
            "The factor sigmoid(|logits|) is missing. Without it the estimate is too large by up to two.",
        ),
        Mistake(
            "sum instead of mean",
            lambda logits, uniform, value, antithetic: disarm_estimate(logits, uniform, value, antithetic) * len(value),
            "You sum over the pairs; the estimate is their mean.",
            "SF09",
        ),
        Mistake(
            "sum of the values",
            lambda logits, uniform, value, antithetic: disarm_estimate(logits, uniform, value, -antithetic),
            "You add the two values of a pair; it is their difference that tells which coins matter.",
        ),
        Mistake(
            "antithetic forgotten",
            lambda logits, uniform, value, antithetic: disarm_estimate(logits, uniform, value, 0 * antithetic),
            "f(b') does not appear in your estimate; without it a constant added to f would add noise.",
        ),
    ),
    hints=(
        "First the pair, [N, D] each: b from u, b' from 1 - u, both compared with p.",
        "(-1)^b' 1[b != b'] is b - b': 1, 0 or -1.",
        "(value - antithetic)[:, None] / 2 is [N, 1]; multiply by (b - b') sigmoid(|logits|) [N, D], mean over axis 0.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.relaxations.disarm", "pgcourse.relaxations.arm"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 12.enumerated_bias


def enumerated_bias(probability, value, score, estimate):
    """Exact bias and variance of an estimator of the gradient of E[f(b)], where all M outcomes can be listed.

    probability: [M], p(b_m), sums to one. value: [M], f(b_m). score: [M, P], grad log p(b_m). estimate: [M, P], what the
    estimator says when b_m is drawn.
    Returns two tensors [P]: its bias, that is its mean less the exact gradient; and the variance of one estimate.
    """
    exact = (probability * value) @ score
    mean = probability @ estimate
    return mean - exact, probability @ (estimate - mean).square()


def _enumerated_bias_by_moments(probability, value, score, estimate):
    weight = probability[:, None]
    first, second = (weight * estimate).sum(0), (weight * estimate**2).sum(0)
    return (weight * (estimate - value[:, None] * score)).sum(0), second - first**2


def _enumerated_bias_oracle(probability, value, score, estimate):
    """Coordinate by coordinate, in correctly rounded sums; the variance from the differences of all pairs."""
    p, f = probability.tolist(), value.tolist()
    biases, variances = [], []
    for grads, says in zip(score.T.tolist(), estimate.T.tolist(), strict=True):
        biases.append(math.fsum(q * (e - v * g) for q, v, g, e in zip(p, f, grads, says, strict=True)))
        pairs = [q * r * (a - b) ** 2 / 2 for q, a in zip(p, says, strict=True) for r, b in zip(p, says, strict=True)]
        variances.append(math.fsum(pairs))
    return torch.tensor(biases, dtype=value.dtype), torch.tensor(variances, dtype=value.dtype)


def _enumerated_bias_cases(generator):
    inputs = []
    for m, dimensions in ((2, 1), (3, 2), (8, 3), (4, 6), (5, 5)):
        if m == 2:
            probability = torch.tensor([0.3, 0.7], dtype=torch.float64)
        else:
            weight = uniform(generator, 0.2, 1, m)
            probability = weight / weight.sum()
        draw = (lambda *shape: readable(normal(generator, *shape))) if m < 4 else (lambda *shape: normal(generator, *shape))
        inputs.append((probability, draw(m) + 1, draw(m, dimensions), 2 * draw(m, dimensions) + 0.5))
    return cases(_enumerated_bias_oracle, inputs)


def _moments(probability, value, score, estimate):
    mean = probability @ estimate
    return mean, (probability * value) @ score, probability @ (estimate - mean).square()


ENUMERATED_BIAS = Task(
    id="12.enumerated_bias",
    title="Bias without sampling error",
    signature="enumerated_bias(probability [M], value [M], score [M, P], estimate [M, P]) -> bias [P], variance [P]",
    reference=enumerated_bias,
    stages=(Exact(2, _enumerated_bias_cases),),
    alternatives=(_enumerated_bias_by_moments,),
    mistakes=(
        Mistake(
            "outcomes counted alike",
            lambda probability, value, score, estimate: (
                estimate.mean(0) - (value[:, None] * score).mean(0),
                estimate.var(0, correction=0),
            ),
            "You count all outcomes alike; each counts as often as it comes up, so weight it with its probability.",
        ),
        Mistake(
            "estimates counted alike",
            lambda probability, value, score, estimate: (
                estimate.mean(0) - (probability * value) @ score,
                estimate.var(0, correction=0),
            ),
            "Your exact gradient is right, but the estimates are averaged without their probabilities.",
        ),
        Mistake(
            "sign of the bias",
            lambda *inputs: (_moments(*inputs)[1] - _moments(*inputs)[0], _moments(*inputs)[2]),
            "Your bias has the wrong sign: it is the estimator's mean less the exact gradient, positive where it is too large.",
        ),
        Mistake(
            "no exact gradient",
            lambda *inputs: (_moments(*inputs)[0], _moments(*inputs)[2]),
            "Your bias is the estimator's mean; subtract the exact gradient, sum p f score.",
        ),
        Mistake(
            "mean squared error for the variance",
            lambda probability, value, score, estimate: (
                probability @ estimate - (probability * value) @ score,
                probability @ (estimate - (probability * value) @ score).square(),
            ),
            "Your second output is the mean squared error: it is taken around the exact gradient. The variance is taken "
            "around the estimator's own mean.",
        ),
        Mistake(
            "standard deviation",
            lambda *inputs: (_moments(*inputs)[0] - _moments(*inputs)[1], _moments(*inputs)[2].sqrt()),
            "Your second output is the standard deviation; the variance is its square.",
        ),
        Mistake(
            "second moment",
            lambda probability, value, score, estimate: (
                probability @ estimate - (probability * value) @ score,
                probability @ estimate.square(),
            ),
            "Your second output is the mean square; subtract the square of the mean.",
        ),
        Mistake(
            "score forgotten",
            lambda probability, value, score, estimate: (
                probability @ estimate - probability @ value,
                _moments(probability, value, score, estimate)[2],
            ),
            "You subtract E[f] instead of its gradient; the score is missing.",
        ),
        Mistake(
            "value forgotten",
            lambda probability, value, score, estimate: (
                probability @ estimate - probability @ score,
                _moments(probability, value, score, estimate)[2],
            ),
            "Your exact gradient lacks f: the mean score alone is no gradient of E[f].",
        ),
        Mistake(
            "divides by M",
            lambda *inputs: tuple(
                each / len(inputs[0]) for each in (_moments(*inputs)[0] - _moments(*inputs)[1], _moments(*inputs)[2])
            ),
            "You weight with the probabilities and divide by M as well; the probabilities already sum to one.",
        ),
    ),
    hints=(
        "Every expectation is a sum over outcomes with weight p: E[x] = probability @ x.",
        "The exact gradient is E[f score]; the bias is E[estimate] less that; the variance is E[(estimate - E[estimate])^2].",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.bias_and_variance",),
)

TASKS = (
    GUMBEL_MAX_SHARES,
    GUMBEL_SOFTMAX_POINT,
    STRAIGHT_THROUGH_COST,
    LEAVE_ONE_OUT_SURROGATE,
    DISARM_ESTIMATE,
    ENUMERATED_BIAS,
)
