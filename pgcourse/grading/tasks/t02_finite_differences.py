"""Tasks of lecture 02: finite differences and black-box search."""

import math
import statistics

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 02.central_difference


def central_difference(theta, weight, step):
    """The gradient of J(theta) = sum of sin(weight @ theta), by central differences.

    theta: [P]. weight: [Q, P], a constant. step: a number > 0, the same for every parameter. J is a black box: evaluate it, do
    not differentiate it. theta itself must stay as it is.
    Returns [P]: for each parameter the central difference with that step.
    """
    plus = theta + step * torch.eye(len(theta), dtype=theta.dtype)  # row j: parameter j moved, [P, P]
    minus = theta - step * torch.eye(len(theta), dtype=theta.dtype)
    return (torch.sin(plus @ weight.T).sum(1) - torch.sin(minus @ weight.T).sum(1)) / (2 * step)


def _central_difference_in_a_loop(theta, weight, step):
    slopes = []
    for j in range(len(theta)):
        moved = theta.clone()
        moved[j] = theta[j] + step
        ahead = torch.sin(weight @ moved).sum()
        moved[j] = theta[j] - step
        slopes.append((ahead - torch.sin(weight @ moved).sum()) / (2 * step))
    return torch.stack(slopes)


def _central_difference_by_broadcasting(theta, weight, step):
    inner = (weight @ theta)[:, None]  # [Q, 1]; moving parameter j adds column j of the weight
    return ((inner + step * weight).sin() - (inner - step * weight).sin()).sum(0) / (2 * step)


def _central_difference_oracle(theta, weight, step):
    """sin(a + b) - sin(a - b) = 2 cos(a) sin(b): in closed form, without a difference."""
    columns = range(len(theta))
    inner = [math.fsum(w * x for w, x in zip(row, theta.tolist(), strict=True)) for row in weight.tolist()]
    rows = list(zip(inner, weight.tolist(), strict=True))
    return torch.tensor(
        [math.fsum(math.cos(a) * math.sin(step * row[j]) / step for a, row in rows) for j in columns], dtype=theta.dtype
    )


def _central_difference_cases(generator):
    inputs = [
        (readable(normal(generator, p)), readable(normal(generator, q, p)), step) for p, q, step in ((1, 1, 0.5), (2, 3, 0.5))
    ]
    for p, q in ((3, 2), (5, 4)):
        inputs.append((normal(generator, p), normal(generator, q, p), float(uniform(generator, 0.2, 0.8))))
    return cases(_central_difference_oracle, inputs)


def _J(theta, weight):
    return torch.sin(theta @ weight.T).sum(-1)


def _moved(theta, step):
    return theta + step * torch.eye(len(theta), dtype=theta.dtype)


def _never_restored(theta, weight, step):
    moved, slopes = theta.clone(), []
    for j in range(len(theta)):
        moved[j] += step
        ahead = _J(moved, weight)
        moved[j] -= 2 * step
        slopes.append((ahead - _J(moved, weight)) / (2 * step))
    return torch.stack(slopes)


CENTRAL_DIFFERENCE = Task(
    id="02.central_difference",
    title="Central differences",
    signature="central_difference(theta [P], weight [Q, P], step) -> gradient [P]",
    reference=central_difference,
    stages=(Exact(2, _central_difference_cases),),
    alternatives=(_central_difference_in_a_loop, _central_difference_by_broadcasting),
    mistakes=(
        Mistake(
            "forward difference",
            lambda theta, weight, step: (_J(_moved(theta, step), weight) - _J(theta, weight)) / step,
            "You return forward differences: J(theta + step) - J(theta) over step. Central ones look to both sides, and their "
            "error is of second order.",
        ),
        Mistake(
            "backward difference",
            lambda theta, weight, step: (_J(theta, weight) - _J(_moved(theta, -step), weight)) / step,
            "You return backward differences: J(theta) - J(theta - step) over step. Central ones look to both sides.",
        ),
        Mistake(
            "divides by the step once",
            lambda theta, weight, step: (_J(_moved(theta, step), weight) - _J(_moved(theta, -step), weight)) / step,
            "You divide by step, but the two points are 2 step apart.",
        ),
        Mistake(
            "does not divide",
            lambda theta, weight, step: _J(_moved(theta, step), weight) - _J(_moved(theta, -step), weight),
            "You return the differences of J; a slope is the difference over the distance, 2 step.",
        ),
        Mistake(
            "half the step on either side",
            lambda theta, weight, step: (_J(_moved(theta, step / 2), weight) - _J(_moved(theta, -step / 2), weight)) / step,
            "You go half a step to either side. That is a central difference too, but the one for step / 2: here each side "
            "is a whole step away.",
        ),
        Mistake(
            "sign",
            lambda theta, weight, step: (_J(_moved(theta, -step), weight) - _J(_moved(theta, step), weight)) / (2 * step),
            "Your gradient has the wrong sign: it is the value ahead minus the value behind.",
            "FD10",
        ),
        Mistake(
            "never restored",
            _never_restored,
            "Your first slope is right, the others are not: after one parameter was moved it is not put back before the next.",
            "FD04",
        ),
        Mistake(
            "all parameters at once",
            lambda theta, weight, step: ((_J(theta + step, weight) - _J(theta - step, weight)) / (2 * step)).expand_as(theta),
            "You move all parameters together: that is the slope along (1, 1, ..., 1). Move one and leave the others.",
        ),
        Mistake(
            "exact derivative",
            lambda theta, weight, step: (weight @ theta).cos() @ weight,
            "That is the exact derivative of J. It is not asked for: a black box has none to offer. Evaluate J at two points "
            "for each parameter.",
        ),
    ),
    hints=(
        "For each parameter two points: theta with step added to that entry, and theta with step subtracted from it.",
        "step * torch.eye(P) has these changes as rows: theta + step * torch.eye(P) is [P, P], a point in every row.",
        "J of many points at once: torch.sin(points @ weight.T).sum(1).",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.central_differences", "pgcourse.gradients.forward_differences"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 02.aibo_update


def aibo_update(theta, signs, score, step_size):
    """One step of Kohl & Stone's robot dog: (2.8) and (2.9).

    theta: [P]. signs: [K, P], what was done to each parameter of each gait: 1, 0 or -1; each of the three occurs in every
    column. score: [K], the gaits' speeds. step_size: a number, eta.
    Returns the new theta [P]; theta itself, unchanged, where A is zero in all its entries.
    """
    means = [(score[:, None] * (signs == s)).sum(0) / (signs == s).sum(0) for s in (1, 0, -1)]  # three [P]
    plus, zero, minus = means
    A = torch.where((zero > plus) & (zero > minus), 0, plus - minus)
    return theta + step_size * A / A.norm() if A.any() else theta


def _aibo_update_in_a_loop(theta, signs, score, step_size):
    A = torch.zeros_like(theta)
    for j in range(len(theta)):
        plus, zero, minus = (score[signs[:, j] == s].mean() for s in (1, 0, -1))
        if not (zero > plus and zero > minus):
            A[j] = plus - minus
    length = A.square().sum().sqrt()
    return theta + step_size * A / length if length > 0 else theta.clone()


def _aibo_update_oracle(theta, signs, score, step_size):
    """With Python's means, which compute in exact fractions, and hypot: without tensors."""
    A = []
    for column in signs.T.tolist():
        groups = {s: [f for f, mine in zip(score.tolist(), column, strict=True) if mine == s] for s in (1, 0, -1)}
        plus, zero, minus = (statistics.mean(groups[s]) for s in (1, 0, -1))
        A.append(0.0 if zero == max(plus, zero, minus) and zero not in (plus, minus) else plus - minus)
    length = math.hypot(*A)
    return theta + torch.tensor([step_size * a / length if length else 0.0 for a in A], dtype=theta.dtype)


def _signs(generator, K, P):
    """-1, 0 and 1, each at least once in every column."""
    columns = []
    for _ in range(P):
        rest = torch.randint(-1, 2, (K - 3,), generator=generator)
        column = torch.cat([torch.tensor([-1, 0, 1]), rest])
        columns.append(column[torch.randperm(K, generator=generator)])
    return torch.stack(columns, 1).double()


def _aibo_update_cases(generator):
    inputs = []
    for K, P, step_size in ((4, 1, 2.0), (5, 2, 2.0)):
        inputs.append((readable(normal(generator, P)), _signs(generator, K, P), readable(5 * normal(generator, K)), step_size))
    for K, P in ((9, 4), (15, 12), (12, 5)):
        signs, hill = _signs(generator, K, P), normal(generator, P)
        score = 3 * normal(generator, K) + signs @ hill - (2 * signs**2) @ uniform(generator, 0, 1, P)
        inputs.append((normal(generator, P), signs, score, float(uniform(generator, 0.5, 3))))
    best_at_rest = torch.tensor([[1, 0], [0, 1], [-1, 1], [0, -1]], dtype=torch.float64)  # column 0: its middle is the best
    inputs.append((readable(normal(generator, 2)), best_at_rest, torch.tensor([1.0, 5, 2, 3], dtype=torch.float64), 2.0))
    only_one_beaten = torch.tensor([[1, -1], [0, 0], [-1, 1], [1, 0]], dtype=torch.float64)  # both middles beat one side only
    inputs.append((readable(normal(generator, 2)), only_one_beaten, torch.tensor([6.0, 4, 1, 6], dtype=torch.float64), 2.0))
    inputs.append((readable(normal(generator, 2)), _signs(generator, 6, 2), torch.full((6,), 3.0, dtype=torch.float64), 2.0))
    return cases(_aibo_update_oracle, inputs)


def _aibo_wrong(group=None, veto=None, scale=None):
    """The update with one of its parts replaced. group(score, member) -> [P]; veto(plus, zero, minus); scale(A)."""

    def mean(score, member):
        return (score[:, None] * member).sum(0) / member.sum(0)

    group = group or mean
    veto = veto or (lambda plus, zero, minus: (zero > plus) & (zero > minus))
    scale = scale or (lambda A: A / A.norm())

    def update(theta, signs, score, step_size):
        plus, zero, minus = (group(score, (signs == s).to(score.dtype)) for s in (1, 0, -1))
        A = torch.where(veto(plus, zero, minus), 0, plus - minus)
        return theta + step_size * scale(A) if A.any() else theta

    return update


def _zero_over_zero(theta, signs, score, step_size):
    plus, zero, minus = ((score[:, None] * (signs == s)).sum(0) / (signs == s).sum(0) for s in (1, 0, -1))
    A = torch.where((zero > plus) & (zero > minus), 0, plus - minus)
    return theta + step_size * A / A.norm()


AIBO_UPDATE = Task(
    id="02.aibo_update",
    title="The robot dog's update",
    signature="aibo_update(theta [P], signs [K, P], score [K], step_size) -> new_theta [P]",
    reference=aibo_update,
    stages=(Exact(2, _aibo_update_cases),),
    alternatives=(_aibo_update_in_a_loop,),
    mistakes=(
        Mistake(
            "averages over all gaits",
            _aibo_wrong(group=lambda score, member: (score[:, None] * member).mean(0)),
            "You compare sums of the groups (or divide each by the number of all gaits): a larger group would win by its size. "
            "The mean over a group divides by the number of its own members.",
            "FD05",
        ),
        Mistake(
            "no rest",
            _aibo_wrong(veto=lambda plus, zero, minus: torch.zeros_like(plus, dtype=torch.bool)),
            "Your parameters never rest: where the middle group's mean is above both others, A is 0.",
            "FD06",
        ),
        Mistake(
            "rests too easily",
            _aibo_wrong(veto=lambda plus, zero, minus: (zero > plus) | (zero > minus)),
            "A parameter of yours rests as soon as the middle group beats one of the others; it has to beat both.",
        ),
        Mistake(
            "rests where the middle is the worst",
            _aibo_wrong(veto=lambda plus, zero, minus: (zero < plus) & (zero < minus)),
            "Your parameters rest where the middle group is the worst of three: it is where it is the best that they should.",
            "FD10",
        ),
        Mistake(
            "not normalised",
            _aibo_wrong(scale=lambda A: A),
            "You add step_size * A as long as it is. The step has a fixed length: divide A by its length |A| first.",
            "FD07",
        ),
        Mistake(
            "sign",
            _aibo_wrong(scale=lambda A: -A / A.norm()),
            "You walk downhill: theta + step_size * A / |A| makes the robot faster, minus makes it slower.",
            "FD10",
        ),
        Mistake(
            "sum of absolute values",
            _aibo_wrong(scale=lambda A: A / A.abs().sum()),
            "You divide by the sum of the absolute values; the length |A| is the root of the sum of squares.",
        ),
        Mistake(
            "largest entry",
            _aibo_wrong(scale=lambda A: A / A.abs().max()),
            "You divide by the largest entry; the length |A| is the root of the sum of squares.",
        ),
        Mistake(
            "squared length",
            _aibo_wrong(scale=lambda A: A / A.square().sum()),
            "You divide by the squared length of A; its length is the root of that.",
        ),
        Mistake(
            "nothing over nothing",
            _zero_over_zero,
            "Where every parameter rests, A and its length are 0, and 0 / 0 is NaN: return theta as it is.",
        ),
        Mistake(
            "signs only",
            _aibo_wrong(scale=lambda A: A.sign()),
            "You use the signs of A only: every parameter moves equally far. Its entries say how much each matters.",
        ),
    ),
    hints=(
        "(signs == 1) is a table [K, P] of who is in which parameter's plus group. score[:, None] lies beside it as [K, 1].",
        "A group's mean: the sum of the scores of its members, over the number of its members, both along axis 0.",
        "torch.where((zero > plus) & (zero > minus), 0, plus - minus); then think of the case in which all of A is zero.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=(
        "pgcourse.gradients.group_difference",
        "pgcourse.gradients.plus_zero_minus",
        "pgcourse.algorithms.kohl_stone.update",
    ),
)

# ----------------------------------------------------------------------------------------------------------------------
# 02.cross_entropy_step


def cross_entropy_step(points, score, elite):
    """The new Gaussian of the cross-entropy method, (2.10) with alpha = 1.

    points: [N, P], what was tried. score: [N], how good each was (higher is better; no two are equal). elite: a whole number,
    how many of the best count.
    Returns two tensors [P]: mean and standard deviation of the elite, the deviation divided by their number (not by one less).
    """
    best = points[score.argsort(descending=True)[:elite]]
    return best.mean(0), best.std(0, correction=0)


def _cross_entropy_step_by_topk(points, score, elite):
    chosen = points[torch.topk(score, elite).indices]
    mean = chosen.sum(0) / elite
    return mean, ((chosen**2).mean(0) - mean**2).clamp(min=0).sqrt()


def _cross_entropy_step_by_threshold(points, score, elite):
    member = (score >= score.sort().values[-elite]).to(points.dtype)[:, None]
    mean = (member * points).sum(0) / elite
    return mean, ((member * (points - mean) ** 2).sum(0) / elite) ** 0.5


def _cross_entropy_step_oracle(points, score, elite):
    """By Python's sorted and statistics, column by column."""
    best = [row for _, row in sorted(zip(score.tolist(), points.tolist(), strict=True), reverse=True)[:elite]]
    columns = list(zip(*best, strict=True))
    mean, std = ([f(column) for column in columns] for f in (statistics.fmean, statistics.pstdev))
    return torch.tensor(mean, dtype=points.dtype), torch.tensor(std, dtype=points.dtype)


def _cross_entropy_step_cases(generator):
    inputs = []
    for n, p, elite in ((3, 1, 2), (4, 2, 2)):
        score = torch.randperm(n, generator=generator).double()
        inputs.append((readable(3 * normal(generator, n, p)), score, elite))
    for n, p, elite in ((10, 3, 4), (15, 12, 4), (7, 5, 6)):
        inputs.append((3 * normal(generator, n, p) + 1, normal(generator, n), elite))
    return cases(_cross_entropy_step_oracle, inputs)


def _best(points, score, elite):
    return points[score.argsort(descending=True)[:elite]]


def _weighted(points, score, elite):
    order = score.argsort(descending=True)[:elite]
    weight = score[order].softmax(0)[:, None]
    mean = (weight * points[order]).sum(0)
    return mean, (weight * (points[order] - mean) ** 2).sum(0).sqrt()


CROSS_ENTROPY_STEP = Task(
    id="02.cross_entropy_step",
    title="A step of the cross-entropy method",
    signature="cross_entropy_step(points [N, P], score [N], elite) -> mean [P], std [P]",
    reference=cross_entropy_step,
    stages=(Exact(2, _cross_entropy_step_cases),),
    alternatives=(_cross_entropy_step_by_topk, _cross_entropy_step_by_threshold),
    mistakes=(
        Mistake(
            "the worst",
            lambda points, score, elite: (
                _best(points, -score, elite).mean(0),
                _best(points, -score, elite).std(0, correction=0),
            ),
            "Your elite are the points with the lowest scores: argsort goes upward unless you say descending=True.",
            "FD10",
        ),
        Mistake(
            "divides by one less",
            lambda points, score, elite: (_best(points, score, elite).mean(0), _best(points, score, elite).std(0)),
            "Your deviation divides by the number of the elite minus one. Here the Gaussian is fitted by maximum likelihood, "
            "which divides by their number: correction=0.",
        ),
        Mistake(
            "variance",
            lambda points, score, elite: (
                _best(points, score, elite).mean(0),
                _best(points, score, elite).var(0, correction=0),
            ),
            "Your second output is the variance; the standard deviation is its root.",
        ),
        Mistake(
            "everybody is elite",
            lambda points, score, elite: (points.mean(0), points.std(0, correction=0)),
            "You take mean and deviation of all points: nothing is selected, and nothing is learned.",
        ),
        Mistake(
            "mean of the elite, deviation of all",
            lambda points, score, elite: (_best(points, score, elite).mean(0), points.std(0, correction=0)),
            "Your mean is that of the elite, your deviation that of all points: then the search never narrows.",
        ),
        Mistake(
            "spread around the mean of all",
            lambda points, score, elite: (
                _best(points, score, elite).mean(0),
                (_best(points, score, elite) - points.mean(0)).square().mean(0).sqrt(),
            ),
            "Your deviation is the elite's spread around the mean of all points. Measured around their own mean it shrinks as "
            "they agree.",
        ),
        Mistake(
            "one too many",
            lambda points, score, elite: (
                _best(points, score, elite + 1).mean(0),
                _best(points, score, elite + 1).std(0, correction=0),
            ),
            "You take one point too many: [: elite] has elite entries, [: elite + 1] one more.",
        ),
        Mistake(
            "sorts each parameter",
            lambda points, score, elite: (
                points.sort(0, descending=True).values[:elite].mean(0),
                points.sort(0, descending=True).values[:elite].std(0, correction=0),
            ),
            "You sort the points themselves, parameter by parameter. It is the score that says who is best: sort it, and take "
            "the points in that order.",
        ),
        Mistake(
            "first of the list",
            lambda points, score, elite: (points[:elite].mean(0), points[:elite].std(0, correction=0)),
            "You take the first points of the list, in the order in which they were tried; the score is not used.",
        ),
        Mistake(
            "weighted by the score",
            _weighted,
            "You weight the elite by a softmax of their scores. In the cross-entropy method all of the elite count alike.",
        ),
    ),
    hints=(
        "First the places of the best: score.argsort(descending=True)[:elite], or torch.topk(score, elite).indices.",
        "points[places] are the elite, [elite, P]. Axis 0 is the one to reduce.",
        "tensor.std(0) divides by one less than the number; tensor.std(0, correction=0) by the number.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.cem.update",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 02.common_noise_variance


def common_noise_variance(plus, minus, step):
    """How noisy is a central difference, with and without common random numbers? From one set of N paired evaluations.

    plus, minus: [N], f(theta + step, z_n) and f(theta - step, z_n), with the same noise z_n; N >= 2. step: a number > 0.
    Returns two tensors with one number each, []: the variance of (mean of plus - mean of minus) / (2 step), first as it was
    measured, with common noise, (2.7); then as it would be if the two sides had noise of their own. Variances of one evaluation
    are estimated with N - 1.
    """
    common = (plus - minus).var()
    own = plus.var() + minus.var()
    return common / (4 * step**2 * len(plus)), own / (4 * step**2 * len(plus))


def _common_noise_variance_by_covariance(plus, minus, step):
    table = torch.cov(torch.stack([plus, minus]))
    scale = (2 * step) ** 2 * plus.shape[0]
    return (table[0, 0] + table[1, 1] - 2 * table[0, 1]) / scale, (table[0, 0] + table[1, 1]) / scale


def _common_noise_variance_of_slopes(plus, minus, step):
    slopes = (plus - minus) / (2 * step)  # one from each pair
    n = len(slopes)
    one_side = ((plus - plus.mean()) ** 2).sum() + ((minus - minus.mean()) ** 2).sum()
    return ((slopes - slopes.mean()) ** 2).sum() / (n - 1) / n, one_side / (n - 1) / n / (2 * step) ** 2


def _common_noise_variance_oracle(plus, minus, step):
    """(2.7) with Python's statistics, which computes in exact fractions."""
    a, b = plus.tolist(), minus.tolist()
    own = statistics.variance(a) + statistics.variance(b)
    mean_a, mean_b = statistics.mean(a), statistics.mean(b)
    covariance = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)
    scale = 4 * step**2 * len(a)
    return tuple(torch.tensor(v / scale, dtype=plus.dtype) for v in (own - 2 * covariance, own))


def _common_noise_variance_cases(generator):
    inputs = []
    for n in (2, 4):
        luck = normal(generator, n)
        inputs.append((readable(luck + 0.5 * normal(generator, n) + 1), readable(luck + 0.5 * normal(generator, n)), 0.5))
    for n, shared in ((7, 0.9), (20, 0.5), (11, -0.8)):  # the last: common noise makes it worse
        luck = 2 * normal(generator, n)
        minus = shared * luck + normal(generator, n)
        inputs.append((luck + 1, minus, float(uniform(generator, 0.2, 0.8))))
    return cases(_common_noise_variance_oracle, inputs)


def _with(change):
    """Both variances, changed in the same way."""

    def wrong(plus, minus, step):
        return tuple(change(v, len(plus), step) for v in common_noise_variance(plus, minus, step))

    return wrong


def _biased(plus, minus, step):
    scale = 4 * step**2 * len(plus)
    return (plus - minus).var(correction=0) / scale, (plus.var(correction=0) + minus.var(correction=0)) / scale


def _covariance_once(plus, minus, step):
    covariance = ((plus - plus.mean()) * (minus - minus.mean())).sum() / (len(plus) - 1)
    scale = 4 * step**2 * len(plus)
    return (plus.var() + minus.var() - covariance) / scale, (plus.var() + minus.var()) / scale


def _covariance_by_n(plus, minus, step):
    covariance = ((plus - plus.mean()) * (minus - minus.mean())).mean()
    scale = 4 * step**2 * len(plus)
    return (plus.var() + minus.var() - 2 * covariance) / scale, (plus.var() + minus.var()) / scale


def _covariance_added(plus, minus, step):
    scale = 4 * step**2 * len(plus)
    return (plus + minus).var() / scale, (plus.var() + minus.var()) / scale


def _difference_of_variances(plus, minus, step):
    scale = 4 * step**2 * len(plus)
    return (plus - minus).var() / scale, (plus.var() - minus.var()) / scale


COMMON_NOISE_VARIANCE = Task(
    id="02.common_noise_variance",
    title="What common random numbers save",
    signature="common_noise_variance(plus [N], minus [N], step) -> common [], independent []",
    reference=common_noise_variance,
    stages=(Exact(2, _common_noise_variance_cases),),
    alternatives=(_common_noise_variance_by_covariance, _common_noise_variance_of_slopes),
    mistakes=(
        Mistake(
            "of one pair",
            _with(lambda v, n, step: v * n),
            "Those are the variances of a difference from one pair; the mean of N pairs has 1 / N of it.",
        ),
        Mistake(
            "distance not squared",
            _with(lambda v, n, step: v * 2 * step),
            "You divide by 2 step; what divides a number divides its variance by the square, (2 step)^2.",
        ),
        Mistake(
            "distance step",
            _with(lambda v, n, step: v * 4),
            "You divide by step^2. The two points are 2 step apart: the variance is divided by 4 step^2.",
        ),
        Mistake(
            "2 step squared is 4 step squared",
            _with(lambda v, n, step: v * 2),
            "You divide by 2 step^2; (2 step)^2 is 4 step^2.",
        ),
        Mistake(
            "divides by N",
            _biased,
            "Your variances divide by N. The means were fitted to the same numbers, so they divide by N - 1.",
        ),
        Mistake(
            "deviation",
            _with(lambda v, n, step: v.sqrt()),
            "You return standard deviations; the variances are their squares.",
        ),
        Mistake(
            "covariance once",
            _covariance_once,
            "You subtract the covariance once; in the variance of a difference it occurs twice, (2.7).",
        ),
        Mistake(
            "covariance divides by N",
            _covariance_by_n,
            "Your covariance divides by N while the variances divide by N - 1: take N - 1 for all three.",
        ),
        Mistake(
            "covariance added",
            _covariance_added,
            "You add the covariance: that is the variance of a sum. In a difference, what both sides share cancels.",
        ),
        Mistake(
            "difference of variances",
            _difference_of_variances,
            "Without common noise you subtract the two variances; luck never cancels by itself: the variance of a difference "
            "of independent numbers is the sum.",
        ),
        Mistake(
            "independent both times",
            lambda plus, minus, step: (common_noise_variance(plus, minus, step)[1],) * 2,
            "Your first number ignores that the two sides share their noise: take the variance of plus - minus, pair by pair.",
            "FD03",
        ),
    ),
    hints=(
        "With common noise, each pair gives one difference plus_n - minus_n; these N numbers are independent of one another.",
        "A mean of N independent numbers of variance v has variance v / N; dividing by 2 step divides a variance by 4 step^2.",
        "Independent sides: the variances add up. tensor.var() divides by N - 1.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 02.choose_epsilon


def choose_epsilon(third, deviation, evaluations):
    """The step with the smallest mean squared error of a noisy central difference, for each of P parameters.

    third: [P], the third derivative of J along each parameter; of either sign, never zero. deviation: a number > 0, the
    standard deviation sigma of one evaluation. evaluations: a whole number N, how many at each of the two points, all with
    noise of their own. The squared error to be expected is sigma^2 / (2 N step^2) + (step^2 third / 6)^2.
    Returns [P], each > 0.
    """
    return (3 * deviation / (third.abs() * evaluations**0.5)) ** (1 / 3)


def _choose_epsilon_sixth_root(third, deviation, evaluations):
    return (9 * deviation**2 / (evaluations * third**2)) ** (1 / 6)


def _choose_epsilon_by_logarithms(third, deviation, evaluations):
    logs = torch.log(torch.tensor(9 * deviation**2 / evaluations, dtype=third.dtype)) - torch.log(third**2)
    return torch.exp(logs / 6)


def _choose_epsilon_oracle(third, deviation, evaluations):
    """Bisection for the place where the squared error stops falling, in the logarithm of the step."""
    steps = []
    for slope3 in third.tolist():
        low, high = -20.0, 20.0
        for _ in range(200):
            middle = (low + high) / 2
            step = math.exp(middle)
            falling = 4 * step**3 * (slope3 / 6) ** 2 < deviation**2 / (evaluations * step**3)
            low, high = (middle, high) if falling else (low, middle)
        steps.append(math.exp((low + high) / 2))
    return torch.tensor(steps, dtype=third.dtype)


def _choose_epsilon_cases(generator):
    inputs = [(torch.tensor([3.0, -24.0], dtype=torch.float64), 8.0, 4)]
    for p, evaluations in ((1, 3), (3, 20), (5, 7)):
        sign = 2 * torch.randint(0, 2, (p,), generator=generator) - 1
        third = sign * uniform(generator, 0.5, 60, p)
        third[0] = -third[0].abs()
        inputs.append((third, float(uniform(generator, 0.3, 12)), evaluations))
    return cases(_choose_epsilon_oracle, inputs)


def _root(inside):
    return lambda third, deviation, evaluations: inside(third.abs(), deviation, evaluations) ** (1 / 3)


CHOOSE_EPSILON = Task(
    id="02.choose_epsilon",
    title="The right step under noise",
    signature="choose_epsilon(third [P], deviation, evaluations) -> step [P]",
    reference=choose_epsilon,
    stages=(Exact(2, _choose_epsilon_cases),),
    alternatives=(_choose_epsilon_sixth_root, _choose_epsilon_by_logarithms),
    mistakes=(
        Mistake(
            "balances instead of minimising",
            _root(lambda m, s, n: 6 * s / (m * (2 * n) ** 0.5)),
            "At your step variance and squared bias are equal. That is near, but their sum is least where its derivative is "
            "zero.",
        ),
        Mistake(
            "bias not squared",
            _root(lambda m, s, n: 3 * s / (m * (2 * n) ** 0.5)),
            "You minimise bias plus standard deviation. The mean squared error adds their squares.",
        ),
        Mistake(
            "forgets the number of evaluations",
            _root(lambda m, s, n: 3 * s / m),
            "The number of evaluations does not matter to your step; more of them make the noise smaller, and so the step.",
        ),
        Mistake(
            "deviation over N",
            _root(lambda m, s, n: 3 * s / (m * n)),
            "You divide sigma by N. The deviation of a mean of N is sigma / sqrt(N).",
        ),
        Mistake(
            "square root",
            lambda third, deviation, evaluations: (3 * deviation / (third.abs() * evaluations**0.5)) ** 0.5,
            "You take a square root. Setting the derivative to zero gives the sixth power of the step, so a sixth root, or the "
            "cube root of 3 sigma / (sqrt(N) |third|).",
        ),
        Mistake(
            "forgets the sign",
            lambda third, deviation, evaluations: (3 * deviation / (third * evaluations**0.5)) ** (1 / 3),
            "Where third is negative your step is no number: only the size of the bias matters, so take third.abs().",
        ),
        Mistake(
            "negative step",
            lambda third, deviation, evaluations: third.sign() * choose_epsilon(third, deviation, evaluations),
            "Where third is negative your step is, too. The size is right; a step is > 0.",
        ),
        Mistake(
            "the squared step",
            lambda third, deviation, evaluations: choose_epsilon(third, deviation, evaluations) ** 2,
            "You return the square of the step.",
        ),
        Mistake(
            "the sixth power",
            lambda third, deviation, evaluations: 9 * deviation**2 / (evaluations * third**2),
            "You return the sixth power of the step: take the sixth root.",
        ),
        Mistake(
            "variance for deviation",
            _root(lambda m, s, n: 3 * s**2 / (m * n**0.5)),
            "You use sigma^2 where sigma belongs: the sixth power of the step has sigma^2, its cube has sigma.",
        ),
    ),
    hints=(
        "The derivative of sigma^2 / (2 N step^2) by step is -sigma^2 / (N step^3); that of step^4 third^2 / 36 is "
        "step^3 third^2 / 9.",
        "Their sum is zero where step^6 = 9 sigma^2 / (N third^2).",
    ),
    error_budget=EXACT_BUDGET,
)

TASKS = (
    CENTRAL_DIFFERENCE,
    AIBO_UPDATE,
    CROSS_ENTROPY_STEP,
    COMMON_NOISE_VARIANCE,
    CHOOSE_EPSILON,
)
