"""Tasks of lecture 09: trust regions."""

import math

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable

# ----------------------------------------------------------------------------------------------------------------------
# 09.gaussian_divergences


def gaussian_divergences(mean, log_std, other_mean, other_log_std):
    """Both KL divergences between Gaussians p = N(mean, exp(log_std)^2) and q, with independent coordinates.

    mean, log_std: [N, A], of p; other_mean, other_log_std: [N, A], of q. A row is one distribution over A numbers.
    Returns two tensors [N]: KL(p || q) and KL(q || p), in nats.
    """

    def kl(m, s, other_m, other_s):
        return (other_s - s + ((2 * s).exp() + (m - other_m).square()) / (2 * (2 * other_s).exp()) - 0.5).sum(-1)

    return kl(mean, log_std, other_mean, other_log_std), kl(other_mean, other_log_std, mean, log_std)


def _gaussian_divergences_by_torch(mean, log_std, other_mean, other_log_std):
    p = torch.distributions.Normal(mean, log_std.exp())
    q = torch.distributions.Normal(other_mean, other_log_std.exp())
    return torch.distributions.kl_divergence(p, q).sum(1), torch.distributions.kl_divergence(q, p).sum(1)


def _gaussian_divergences_by_ratios(mean, log_std, other_mean, other_log_std):
    ratio = (log_std - other_log_std).exp()
    apart = mean - other_mean
    there = 0.5 * (ratio**2 - 1 + (apart / other_log_std.exp()) ** 2) - ratio.log()
    back = 0.5 * (ratio**-2 - 1 + (apart / log_std.exp()) ** 2) + ratio.log()
    return there.sum(1), back.sum(1)


def _gaussian_divergences_oracle(mean, log_std, other_mean, other_log_std):
    """Cross-entropy less entropy, coordinate by coordinate in Python numbers."""

    def kl(m, s, other_m, other_s):
        variance, other_variance = math.exp(2 * s), math.exp(2 * other_s)
        cross = 0.5 * math.log(2 * math.pi * other_variance) + (variance + (m - other_m) ** 2) / (2 * other_variance)
        return cross - 0.5 * math.log(2 * math.pi * math.e * variance)

    rows = [zip(*row, strict=True) for row in zip(mean, log_std, other_mean, other_log_std, strict=True)]
    rows = [[[float(x) for x in each] for each in row] for row in rows]
    there = [math.fsum(kl(*each) for each in row) for row in rows]
    back = [math.fsum(kl(*each[2:], *each[:2]) for each in row) for row in rows]
    return torch.tensor(there, dtype=mean.dtype), torch.tensor(back, dtype=mean.dtype)


def _gaussian_divergences_cases(generator):
    inputs = [tuple(readable(normal(generator, n, a) * 0.7) for _ in range(4)) for n, a in ((1, 1), (2, 3))]
    inputs += [tuple(normal(generator, n, a) * 0.7 for _ in range(4)) for n, a in ((4, 2), (3, 5))]
    return cases(_gaussian_divergences_oracle, inputs)


def _terms(m, s, other_m, other_s):
    return other_s - s + ((2 * s).exp() + (m - other_m).square()) / (2 * (2 * other_s).exp()) - 0.5


GAUSSIAN_DIVERGENCES = Task(
    id="09.gaussian_divergences",
    title="KL between Gaussians, both ways",
    signature=(
        "gaussian_divergences(mean [N, A], log_std [N, A], other_mean [N, A], other_log_std [N, A]) -> "
        "KL(p || q) [N], KL(q || p) [N]"
    ),
    reference=gaussian_divergences,
    stages=(Exact(1, _gaussian_divergences_cases),),
    alternatives=(_gaussian_divergences_by_torch, _gaussian_divergences_by_ratios),
    mistakes=(
        Mistake(
            "the two exchanged",
            lambda m, s, n, t: gaussian_divergences(m, s, n, t)[::-1],
            "Your two outputs are exchanged: KL(p || q) comes first; it averages over p and divides by q's variance.",
        ),
        Mistake(
            "one way twice",
            lambda m, s, n, t: (gaussian_divergences(m, s, n, t)[0],) * 2,
            "Both outputs are KL(p || q); the other way round is another number.",
        ),
        Mistake(
            "symmetric mean",
            lambda m, s, n, t: (sum(gaussian_divergences(m, s, n, t)) / 2,) * 2,
            "You return the mean of the two directions; asked is each by itself.",
        ),
        Mistake(
            "variance for standard deviation",
            lambda m, s, n, t: gaussian_divergences(m, s / 2, n, t / 2),
            "You take exp(log_std) for the variance; it is the standard deviation, and the variance is its square.",
        ),
        Mistake(
            "one half forgotten",
            lambda m, s, n, t: (_terms(m, s, n, t).add(0.5).sum(-1), _terms(n, t, m, s).add(0.5).sum(-1)),
            "Each coordinate is too large by 1/2: a Gaussian's KL from itself must be 0.",
        ),
        Mistake(
            "coordinates averaged",
            lambda m, s, n, t: (_terms(m, s, n, t).mean(-1), _terms(n, t, m, s).mean(-1)),
            "You average over the A coordinates; independent coordinates add up.",
        ),
        Mistake(
            "coordinates not summed",
            lambda m, s, n, t: (_terms(m, s, n, t), _terms(n, t, m, s)),
            "You return one number for each coordinate; a row has one divergence, the sum over its A coordinates.",
        ),
        Mistake(
            "summed over the rows",
            lambda m, s, n, t: (_terms(m, s, n, t).sum(0), _terms(n, t, m, s).sum(0)),
            "You sum over the N distributions; the sum runs over the A coordinates of each.",
        ),
        Mistake(
            "sign of the logarithms",
            lambda m, s, n, t: (
                (_terms(m, s, n, t) + 2 * (s - t)).sum(-1),
                (_terms(n, t, m, s) + 2 * (t - s)).sum(-1),
            ),
            "The difference of the log_std has the wrong sign: log(q's std / p's std) stands in KL(p || q).",
        ),
        Mistake(
            "means only",
            lambda m, s, n, t: (
                ((m - n).square() / (2 * (2 * t).exp())).sum(-1),
                ((m - n).square() / (2 * (2 * s).exp())).sum(-1),
            ),
            "Only the means enter your numerator; Gaussians of different width differ too, and p's variance stands beside "
            "the squared distance.",
        ),
        Mistake(
            "shift not squared",
            lambda m, s, n, t: (
                (_terms(m, s, n, t) + ((m - n).abs() - (m - n).square()) / (2 * (2 * t).exp())).sum(-1),
                (_terms(n, t, m, s) + ((m - n).abs() - (m - n).square()) / (2 * (2 * s).exp())).sum(-1),
            ),
            "The distance of the means enters as it is; it must be squared.",
        ),
    ),
    hints=(
        "For one coordinate: log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2.",
        "With s = exp(log_std) the logarithm is other_log_std - log_std. Sum over the last axis.",
        "Write an inner function for one direction and call it twice, the second time with p and q exchanged.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.distributions.Normal",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 09.categorical_divergences


def categorical_divergences(logits, other_logits):
    """Both KL divergences between choices among K: p = softmax(logits) and q = softmax(other_logits).

    logits, other_logits: [N, K]; they may be as large as 1000.
    Returns two tensors [N]: KL(p || q) and KL(q || p), in nats.
    """
    log_p, log_q = logits.log_softmax(-1), other_logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1), (log_q.exp() * (log_q - log_p)).sum(-1)


def _categorical_divergences_by_torch(logits, other_logits):
    p, q = (torch.distributions.Categorical(logits=each) for each in (logits, other_logits))
    return torch.distributions.kl_divergence(p, q), torch.distributions.kl_divergence(q, p)


def _categorical_divergences_by_free_energies(logits, other_logits):
    """E_p[difference of the logits] less the difference of the log-sum-exps."""
    apart = logits - other_logits
    norm = torch.logsumexp(logits, 1) - torch.logsumexp(other_logits, 1)
    return (logits.softmax(1) * apart).sum(1) - norm, norm - (other_logits.softmax(1) * apart).sum(1)


def _categorical_divergences_oracle(logits, other_logits):
    """Row by row in Python numbers, with each row's largest logit taken off first."""
    there, back = [], []
    for row, other in zip(logits.tolist(), other_logits.tolist(), strict=True):
        logs = []
        for each in (row, other):
            top = max(each)
            norm = top + math.log(math.fsum(math.exp(x - top) for x in each))
            logs.append([x - norm for x in each])
        p, q = logs
        there.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True)))
        back.append(math.fsum(math.exp(b) * (b - a) for a, b in zip(p, q, strict=True)))
    return torch.tensor(there, dtype=logits.dtype), torch.tensor(back, dtype=logits.dtype)


def _categorical_divergences_cases(generator):
    inputs = [tuple(readable(normal(generator, n, k)) for _ in range(2)) for n, k in ((1, 2), (2, 3))]
    inputs += [tuple(1.5 * normal(generator, n, k) for _ in range(2)) for n, k in ((4, 5), (6, 3))]
    # large logits, and choices that one of the two all but excludes
    large = torch.tensor([[1000.0], [-1000.0]], dtype=torch.float64)
    apart = torch.tensor([[0.0, 30.0, 10.0], [30.0, 10.0, 0.0]], dtype=torch.float64)
    inputs.append((large + apart + normal(generator, 2, 3), -large - apart + normal(generator, 2, 3)))
    return cases(_categorical_divergences_oracle, inputs)


def _logs(logits, other):
    return logits.log_softmax(-1), other.log_softmax(-1)


def _overflowing_divergences(logits, other):
    p, q = (each.exp() / each.exp().sum(-1, keepdim=True) for each in (logits, other))
    return (p * (p.log() - q.log())).sum(-1), (q * (q.log() - p.log())).sum(-1)


def _padded_divergences(logits, other):
    p, q = (each.softmax(-1) + 1e-8 for each in (logits, other))
    return (p * (p / q).log()).sum(-1), (q * (q / p).log()).sum(-1)


def _difference_of_entropies(logits, other):
    p, q = _logs(logits, other)
    apart = (p.exp() * p).sum(-1) - (q.exp() * q).sum(-1)
    return apart, -apart


CATEGORICAL_DIVERGENCES = Task(
    id="09.categorical_divergences",
    title="KL between choices, both ways",
    signature="categorical_divergences(logits [N, K], other_logits [N, K]) -> KL(p || q) [N], KL(q || p) [N]",
    reference=categorical_divergences,
    stages=(Exact(1, _categorical_divergences_cases),),
    alternatives=(_categorical_divergences_by_torch, _categorical_divergences_by_free_energies),
    mistakes=(
        Mistake(
            "the two exchanged",
            lambda logits, other: categorical_divergences(other, logits),
            "Your two outputs are exchanged: KL(p || q) averages over p, the distribution of the first logits.",
        ),
        Mistake(
            "one way twice",
            lambda logits, other: (categorical_divergences(logits, other)[0],) * 2,
            "Both outputs are KL(p || q); the other way round is another number.",
        ),
        Mistake(
            "symmetric mean",
            lambda logits, other: (sum(categorical_divergences(logits, other)) / 2,) * 2,
            "You return the mean of the two directions; asked is each by itself.",
        ),
        Mistake(
            "logits for log-probabilities",
            lambda logits, other: (
                (logits.softmax(-1) * (logits - other)).sum(-1),
                (other.softmax(-1) * (other - logits)).sum(-1),
            ),
            "You subtract the logits themselves; each row's log-sum-exp belongs under them (log_softmax).",
        ),
        Mistake(
            "sign",
            lambda logits, other: tuple(-each for each in categorical_divergences(logits, other)),
            "Your divergences are negative; KL(p || q) is the mean of log p - log q under p, and never below 0.",
        ),
        Mistake(
            "averaged over the choices",
            lambda logits, other: tuple(each / logits.shape[-1] for each in categorical_divergences(logits, other)),
            "You take the mean over the K choices; the probabilities are the weights already, so it is a sum.",
        ),
        Mistake(
            "choices counted alike",
            lambda logits, other: (
                (_logs(logits, other)[0] - _logs(logits, other)[1]).mean(-1),
                (_logs(logits, other)[1] - _logs(logits, other)[0]).mean(-1),
            ),
            "You count all choices alike; each log-ratio is weighted with its probability.",
        ),
        Mistake(
            "cross-entropy",
            lambda logits, other: (
                -(logits.softmax(-1) * other.log_softmax(-1)).sum(-1),
                -(other.softmax(-1) * logits.log_softmax(-1)).sum(-1),
            ),
            "You return the cross-entropy; the KL divergence is that less the entropy of the first.",
        ),
        Mistake(
            "difference of the entropies",
            _difference_of_entropies,
            "You subtract q's entropy from p's, with each its own weights; in KL(p || q) both logarithms are weighted with p.",
        ),
        Mistake(
            "softmax over the rows",
            lambda logits, other: categorical_divergences(logits.log_softmax(0), other.log_softmax(0)),
            "Your softmax runs over the N distributions; each row's K probabilities must sum to one.",
            "SF09",
        ),
        Mistake(
            "not summed",
            lambda logits, other: (
                logits.softmax(-1) * (_logs(logits, other)[0] - _logs(logits, other)[1]),
                other.softmax(-1) * (_logs(logits, other)[1] - _logs(logits, other)[0]),
            ),
            "You return a number for each choice; sum over them.",
        ),
        Mistake(
            "a small number added to the probabilities",
            _padded_divergences,
            "You add a small number to the probabilities, to keep their logarithms finite; where one choice is nearly "
            "impossible, the divergence then comes out too small. torch.log_softmax needs no such help.",
        ),
        Mistake(
            "overflows",
            _overflowing_divergences,
            "Right for small logits, but exp(1000) is infinite and exp(-1000) is zero to a computer. torch.log_softmax "
            "subtracts each row's largest number first, which changes nothing but that.",
        ),
    ),
    hints=(
        "KL(p || q) = sum_k p_k (log p_k - log q_k).",
        "torch.log_softmax gives log p and log q; p is its exponential.",
        "The second output has p and q exchanged, in the weights as well.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.distributions.Categorical",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 09.fisher_times


def fisher_times(weight, observation, vector, damping):
    """(F + damping) v for the Fisher matrix F of a linear softmax policy, pi(. | s) = softmax(s @ weight).

    weight: [O, A]. observation: [N, O], the states of a batch. vector: [O, A], v in the shape of the weights. damping: >= 0.
    F is the mean over the N states of E_{a ~ pi}[grad log pi(a | s) grad log pi(a | s)^T].
    Returns [O, A].
    """
    with torch.enable_grad():
        weight = weight.detach().clone().requires_grad_()
        log_p = (observation @ weight).log_softmax(-1)
        fixed = log_p.detach()
        kl = (fixed.exp() * (fixed - log_p)).sum(-1).mean()
        (slope,) = torch.autograd.grad(kl, weight, create_graph=True)
        (product,) = torch.autograd.grad((slope * vector).sum(), weight)
    return product + damping * vector


def _fisher_times_in_closed_form(weight, observation, vector, damping):
    p, change = (observation @ weight).softmax(-1), observation @ vector
    centred = p * (change - (p * change).sum(-1, keepdim=True))
    return observation.T @ centred / len(observation) + damping * vector


def _fisher_times_by_the_matrix(weight, observation, vector, damping):
    p = (observation @ weight).softmax(1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ni,nj,nab->iajb", observation, observation, inner) / len(observation)
    return torch.einsum("iajb,jb->ia", matrix, vector) + damping * vector


def _fisher_times_oracle(weight, observation, vector, damping):
    """The mean of p (v . score) score over every state and action, each score written out."""
    total = torch.zeros_like(weight)
    for s in observation:
        logits = (s @ weight).tolist()
        norm = math.log(math.fsum(math.exp(x) for x in logits))
        p = [math.exp(x - norm) for x in logits]
        for chosen, chance in enumerate(p):
            marks = torch.tensor([float(a == chosen) - q for a, q in enumerate(p)], dtype=weight.dtype)
            score = torch.outer(s, marks)
            total += chance * (score * vector).sum() * score / len(observation)
    return total + damping * vector


def _fisher_times_cases(generator):
    inputs = [
        (readable(normal(generator, o, a)), readable(normal(generator, n, o)), readable(normal(generator, o, a)), damping)
        for n, o, a, damping in ((2, 1, 2, 0.0), (4, 2, 3, 0.5))
    ]
    inputs += [
        (normal(generator, o, a), normal(generator, n, o), normal(generator, o, a), damping)
        for n, o, a, damping in ((5, 4, 3, 0.1), (7, 3, 6, 0.3))
    ]
    return cases(_fisher_times_oracle, inputs)


def _product(weight, observation, vector, inner):
    """mean_n s (inner(p, s @ vector)), the outer product with each state."""
    p = (observation @ weight).softmax(-1)
    return observation.T @ inner(p, observation @ vector) / len(observation)


def _spread(p):
    return p * (1 - p)


def _mean_score(weight, observation, vector, damping):
    p, change = (observation @ weight).softmax(-1), observation @ vector
    score = observation.T @ (p - 1 / weight.shape[1]) / len(observation)
    return score * (score * vector).sum() + damping * vector + 0 * change.sum()


FISHER_TIMES = Task(
    id="09.fisher_times",
    title="Fisher-vector product",
    signature="fisher_times(weight [O, A], observation [N, O], vector [O, A], damping) -> product [O, A]",
    reference=fisher_times,
    stages=(Exact(2, _fisher_times_cases),),
    alternatives=(_fisher_times_in_closed_form, _fisher_times_by_the_matrix),
    mistakes=(
        Mistake(
            "no damping",
            lambda weight, observation, vector, damping: fisher_times(weight, observation, vector, 0.0),
            "The damping is missing: add damping times the vector.",
            "TR03",
        ),
        Mistake(
            "the diagonal only",
            lambda weight, observation, vector, damping: (
                (observation**2).T @ _spread((observation @ weight).softmax(-1)) / len(observation) * vector + damping * vector
            ),
            "You multiply each entry of the vector with F's diagonal; F mixes the parameters, so the others enter too.",
        ),
        Mistake(
            "damping without the vector",
            lambda weight, observation, vector, damping: fisher_times(weight, observation, vector, 0.0) + damping,
            "You add the damping itself; (F + damping I) v is F v plus damping times v.",
        ),
        Mistake(
            "damping multiplies",
            lambda weight, observation, vector, damping: (1 + damping) * fisher_times(weight, observation, vector, 0.0),
            "You scale the whole product; damping is added to the diagonal of F, so damping times v is added to F v.",
        ),
        Mistake(
            "summed over the states",
            lambda weight, observation, vector, damping: (
                len(observation) * fisher_times(weight, observation, vector, 0.0) + damping * vector
            ),
            "You sum over the N states of the batch; F is the mean over them.",
        ),
        Mistake(
            "states and actions averaged",
            lambda weight, observation, vector, damping: (
                fisher_times(weight, observation, vector, 0.0) / weight.shape[1] + damping * vector
            ),
            "You take the mean over the A actions as well; their probabilities are the weights already.",
        ),
        Mistake(
            "sign",
            lambda weight, observation, vector, damping: damping * vector - fisher_times(weight, observation, vector, 0.0),
            "The product with F has the wrong sign: F is the Hessian of the KL divergence, minus that of E[log pi].",
        ),
        Mistake(
            "not centred",
            lambda weight, observation, vector, damping: (
                _product(weight, observation, vector, lambda p, u: p * u) + damping * vector
            ),
            "Your scores lack the mean: a score is one-hot minus the probabilities, so p (u - p.u) stands where you have p u.",
        ),
        Mistake(
            "all actions alike",
            lambda weight, observation, vector, damping: (
                _product(weight, observation, vector, lambda p, u: (u - u.mean(-1, keepdim=True)) / p.shape[-1])
                + damping * vector
            ),
            "You count all actions alike; the expectation is over a ~ pi.",
        ),
        Mistake(
            "mean not weighted",
            lambda weight, observation, vector, damping: (
                _product(weight, observation, vector, lambda p, u: p * (u - u.mean(-1, keepdim=True))) + damping * vector
            ),
            "You subtract the plain mean over the actions; it is the mean under pi that belongs there.",
        ),
        Mistake(
            "square of the mean score",
            _mean_score,
            "You multiply mean scores; F is the mean of the products, state by state and action by action.",
        ),
        Mistake(
            "the vector itself",
            lambda weight, observation, vector, damping: (1 + damping) * vector,
            "F has no effect: you return (1 + damping) v, as if F were the identity.",
        ),
        Mistake(
            "softmax over the states",
            lambda weight, observation, vector, damping: _fisher_times_wrong_axis(weight, observation, vector, damping),
            "Your softmax runs over the N states; the A probabilities of each state must sum to one.",
            "SF09",
        ),
        Mistake(
            "half",
            lambda weight, observation, vector, damping: fisher_times(weight, observation, vector, 0.0) / 2 + damping * vector,
            "Your product is half of F v. One half stands in the KL of a small step, v^T F v / 2, not in its Hessian.",
        ),
    ),
    hints=(
        "The KL of the policy from itself, held fixed, has F for its Hessian: (9.9).",
        "Differentiate the mean KL with create_graph=True, then the sum of (that gradient * vector) once more: (9.12).",
        "Detach the first policy of the KL only. Then add damping * vector.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.fisher_vector_product", "pgcourse.gradients.kl_from_itself"),
)


def _fisher_times_wrong_axis(weight, observation, vector, damping):
    p, change = (observation @ weight).softmax(0), observation @ vector
    return observation.T @ (p * (change - (p * change).sum(-1, keepdim=True))) / len(observation) + damping * vector


# ----------------------------------------------------------------------------------------------------------------------
# 09.solve_by_directions


def solve_by_directions(matrix, target, iterations):
    """What conjugate gradient has found for matrix @ x = target after so many iterations, from x = 0.

    matrix: [P, P], symmetric and positive definite. target: [P]. iterations: >= 1.
    Where the residual is 0, x is the solution and stays as it is, whatever iterations are left.
    Returns x [P].
    """
    x, residual, direction = torch.zeros_like(target), target, target
    for _ in range(iterations):
        square = residual @ residual
        if square == 0:
            break
        ahead = matrix @ direction
        size = square / (direction @ ahead)
        x = x + size * direction
        residual = residual - size * ahead
        direction = residual + (residual @ residual) / square * direction
    return x


def _solve_by_directions_fresh_residuals(matrix, target, iterations):
    x, p, old = torch.zeros_like(target), target.clone(), (target * target).sum()
    for _ in range(iterations):
        if old <= 1e-28 * (target * target).sum():
            return x
        x = x + old / (p * (matrix @ p)).sum() * p
        r = target - matrix @ x
        new = (r * r).sum()
        p, old = r + new / old * p, new
    return x


def _solve_by_directions_by_masks(matrix, target, iterations):
    """Without a branch: a residual of 0 gives steps of 0."""
    x, r, p = torch.zeros_like(target), target, target
    for _ in range(iterations):
        square, curvature = r @ r, p @ matrix @ p
        alive = (curvature > 0).to(target.dtype)
        size = alive * square / (curvature + (1 - alive))
        x, r = x + size * p, r - size * (matrix @ p)
        p = r + (r @ r) / (square + (1 - alive)) * p
    return x


def _solve_by_directions_oracle(matrix, target, iterations):
    """The best point of the space that target, A target, A^2 target ... span: Q (Q^T A Q)^-1 Q^T target."""
    basis = []
    vector = target
    for _ in range(iterations):
        for _ in range(2):  # twice is enough for rounding
            for q in basis:
                vector = vector - (q @ vector) * q
        if vector.norm() <= 1e-10 * (1 + target.norm()):
            break
        basis.append(vector / vector.norm())
        vector = matrix @ basis[-1]
    if not basis:
        return torch.zeros_like(target)
    q = torch.stack(basis, 1)
    return q @ torch.linalg.solve(q.T @ matrix @ q, q.T @ target)


def _positive(generator, size, draw):
    factor = draw(normal(generator, size, size))
    return factor @ factor.T + torch.eye(size, dtype=torch.float64)


def _solve_by_directions_cases(generator):
    inputs = [
        (_positive(generator, p, lambda x: readable(0.5 * x)), readable(normal(generator, p)), k) for p, k in ((2, 1), (3, 2))
    ]
    inputs += [(_positive(generator, p, lambda x: x), normal(generator, p), k) for p, k in ((6, 3), (5, 5), (8, 2), (7, 4))]
    inputs.append((2 * torch.eye(3, dtype=torch.float64), readable(normal(generator, 3)), 3))
    inputs.append((_positive(generator, 4, lambda x: x), torch.zeros(4, dtype=torch.float64), 2))
    return cases(_solve_by_directions_oracle, inputs)


def _loop(size_of, keep_of):
    """Conjugate gradient with another length of the steps, or another share of the last direction."""

    def solve(matrix, target, iterations):
        x, r, p = torch.zeros_like(target), target, target
        for _ in range(iterations):
            if r @ r == 0:
                break
            ahead = matrix @ p
            size = size_of(r, p, ahead)
            x, following = x + size * p, r - size * ahead
            r, p = following, following + keep_of(r, following) * p
        return x

    return solve


def _right_size(r, p, ahead):
    return (r @ r) / (p @ ahead)


def _right_keep(r, following):
    return (following @ following) / (r @ r)


def _unguarded(matrix, target, iterations):
    x, r, p = torch.zeros_like(target), target, target
    for _ in range(iterations):
        size = _right_size(r, p, matrix @ p)
        x, following = x + size * p, r - size * (matrix @ p)
        r, p = following, following + _right_keep(r, following) * p
    return x


def _late_residual(matrix, target, iterations):
    x, r, p = torch.zeros_like(target), target, target
    for _ in range(iterations):
        if r @ r == 0:
            break
        size = _right_size(r, p, matrix @ p)
        x, following = x + size * p, r - size * (matrix @ p)
        r, p = following, r + _right_keep(r, following) * p
    return x


def _from_target(matrix, target, iterations):
    x, r = target.clone(), target - matrix @ target
    return x + solve_by_directions(matrix, r, iterations)


SOLVE_BY_DIRECTIONS = Task(
    id="09.solve_by_directions",
    title="Conjugate gradient",
    signature="solve_by_directions(matrix [P, P], target [P], iterations) -> x [P]",
    reference=solve_by_directions,
    stages=(Exact(2, _solve_by_directions_cases),),
    alternatives=(_solve_by_directions_fresh_residuals, _solve_by_directions_by_masks),
    mistakes=(
        Mistake(
            "the solution",
            lambda matrix, target, iterations: torch.linalg.solve(matrix, target),
            "You return the solution itself; asked is how far conjugate gradient has come after so many iterations.",
        ),
        Mistake(
            "steepest descent",
            _loop(_right_size, lambda r, following: 0.0),
            "Your directions are the residuals: that is steepest descent. Each new direction keeps a share of the last.",
        ),
        Mistake(
            "share upside down",
            _loop(_right_size, lambda r, following: (r @ r) / (following @ following)),
            "The share of the last direction is upside down: it is the new residual's square over the old one's.",
        ),
        Mistake(
            "share of lengths",
            _loop(_right_size, lambda r, following: following.norm() / r.norm()),
            "The share of the last direction is a ratio of squared lengths; you take the lengths.",
        ),
        Mistake(
            "share subtracted",
            _loop(_right_size, lambda r, following: -_right_keep(r, following)),
            "You subtract the share of the last direction; it is added.",
        ),
        Mistake(
            "no curvature",
            _loop(lambda r, p, ahead: (r @ r) / (p @ p), _right_keep),
            "Your step length does not see the matrix: r.r is divided by p.A p, not by p.p.",
        ),
        Mistake(
            "curvature of the residual",
            _loop(lambda r, p, ahead: (r @ r) / (r @ ahead) if (r @ ahead) != 0 else 0.0, lambda r, following: 1.0),
            "Your directions keep all of the last one; the share is r'.r' / r.r.",
        ),
        Mistake(
            "residual of before",
            _late_residual,
            "Your new direction is built on the old residual; it starts from the new one.",
        ),
        Mistake(
            "one iteration too few",
            lambda matrix, target, iterations: (
                solve_by_directions(matrix, target, iterations - 1) if iterations > 1 else torch.zeros_like(target)
            ),
            "You stop one iteration too early.",
        ),
        Mistake(
            "one iteration too many",
            lambda matrix, target, iterations: solve_by_directions(matrix, target, iterations + 1),
            "You do one iteration too many.",
        ),
        Mistake(
            "starts at the target",
            _from_target,
            "You start from x = target; conjugate gradient starts from x = 0, so that the first residual is the target.",
        ),
        Mistake(
            "returns the residual",
            lambda matrix, target, iterations: target - matrix @ solve_by_directions(matrix, target, iterations),
            "You return the residual; asked is x.",
        ),
        Mistake(
            "zero by zero",
            _unguarded,
            "Right until it has converged: then the residual is 0, and 0 / 0 is no number. Stop where the residual is 0.",
        ),
    ),
    hints=(
        "Start with x = 0 and residual = direction = target. The loop is algorithm 9.1.",
        "size = r.r / p.Ap; x <- x + size p; r' = r - size Ap; p <- r' + (r'.r' / r.r) p.",
        "Leave the loop where r.r is 0, before anything is divided by it.",
    ),
    error_budget=(
        "Exact: compared in float64, to 1e-5, with the best point of the same Krylov space, found by orthogonalisation and one "
        "small system. The matrices have condition numbers below some thousands and at most 8 rows: a right answer differs by "
        "less than 1e-8. Each listed wrong one differs by far more on matrices drawn at random."
    ),
    forbidden=("pgcourse.gradients.conjugate_gradient",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 09.tnpg_step


def tnpg_step(fisher, gradient, delta, damping):
    """The natural-gradient step to a given divergence: sqrt(2 delta / x^T H x) x with H = fisher + damping I, H x = gradient.

    fisher: [P, P], symmetric, not always invertible. gradient: [P]; where it is 0, so is the step. delta, damping: > 0.
    Returns the step [P].
    """
    damped = fisher + damping * torch.eye(len(gradient), dtype=gradient.dtype)
    x = torch.linalg.solve(damped, gradient)
    curvature = x @ damped @ x
    return torch.sqrt(2 * delta / curvature) * x if curvature > 0 else torch.zeros_like(gradient)


def _tnpg_step_by_the_gradient(fisher, gradient, delta, damping):
    """x^T H x is x^T gradient, because H x = gradient."""
    x = torch.linalg.inv(fisher + damping * torch.eye(len(fisher)).to(fisher)) @ gradient
    return (2 * delta / (x @ gradient).clamp(min=1e-300)) ** 0.5 * x


def _tnpg_step_by_cholesky(fisher, gradient, delta, damping):
    """With H = L L^T and L z = gradient: the length of z is sqrt(x^T H x)."""
    factor = torch.linalg.cholesky(fisher + torch.diag(torch.full_like(gradient, damping)))
    z = torch.linalg.solve_triangular(factor, gradient[:, None], upper=False)
    x = torch.linalg.solve_triangular(factor.T, z, upper=True)[:, 0]
    return math.sqrt(2 * delta) * x / max(z.norm().item(), 1e-150)


def _tnpg_step_oracle(fisher, gradient, delta, damping):
    """In the eigenvectors of F, where everything is a division."""
    values, vectors = torch.linalg.eigh(fisher)
    part = vectors.T @ gradient
    square = math.fsum((c**2 / (v + damping)) for c, v in zip(part.tolist(), values.tolist(), strict=True))
    if square == 0:
        return torch.zeros_like(gradient)
    return math.sqrt(2 * delta / square) * (vectors @ (part / (values + damping)))


def _fisher_like(generator, size, rank, draw):
    factor = draw(normal(generator, size, rank))
    return factor @ factor.T / rank


def _tnpg_step_cases(generator):
    inputs = [
        (_fisher_like(generator, p, k, readable), readable(normal(generator, p) + 0.1), delta, damping)
        for p, k, delta, damping in ((2, 2, 0.02, 0.5), (3, 2, 0.01, 0.2))
    ]
    inputs += [
        (_fisher_like(generator, p, k, lambda x: x), normal(generator, p), delta, damping)
        for p, k, delta, damping in ((5, 3, 0.05, 0.1), (6, 6, 0.3, 0.02))
    ]
    inputs.append((_fisher_like(generator, 4, 4, lambda x: x), torch.zeros(4, dtype=torch.float64), 0.01, 0.1))
    return cases(_tnpg_step_oracle, inputs)


def _variant(solved=True, factor=2.0, damped_length=True, root=True, sign=1.0, length=None, damped=True):
    """tnpg_step with one thing changed."""

    def step(fisher, gradient, delta, damping):
        plain, eye = fisher, torch.eye(len(gradient), dtype=gradient.dtype)
        h = plain + damping * eye if damped else plain
        if not gradient.any():
            return torch.zeros_like(gradient)
        x = (torch.linalg.pinv(h) @ gradient) if solved else h @ gradient
        curvature = length(x, gradient) if length else x @ (h if damped_length else plain) @ x
        ratio = factor * delta / curvature
        return sign * (ratio.sqrt() if root else ratio) * x

    return step


def _plain_gradient(fisher, gradient, delta, damping):
    curvature = gradient @ (fisher + damping * torch.eye(len(gradient), dtype=gradient.dtype)) @ gradient
    return torch.sqrt(2 * delta / curvature) * gradient if curvature > 0 else torch.zeros_like(gradient)


def _unguarded_step(fisher, gradient, delta, damping):
    damped = fisher + damping * torch.eye(len(gradient), dtype=gradient.dtype)
    x = torch.linalg.solve(damped, gradient)
    return torch.sqrt(2 * delta / (x @ damped @ x)) * x


TNPG_STEP = Task(
    id="09.tnpg_step",
    title="The step of the natural gradient",
    signature="tnpg_step(fisher [P, P], gradient [P], delta, damping) -> step [P]",
    reference=tnpg_step,
    stages=(Exact(1, _tnpg_step_cases),),
    alternatives=(_tnpg_step_by_the_gradient, _tnpg_step_by_cholesky),
    mistakes=(
        Mistake(
            "factor 2 forgotten",
            _variant(factor=1.0),
            "Your step is too short by sqrt(2): the KL of a step is x^T F x / 2, so 2 delta stands under the root.",
            "TR06",
        ),
        Mistake(
            "no root",
            _variant(root=False),
            "The root is missing: the KL grows with the square of the step's length.",
        ),
        Mistake(
            "no damping",
            _variant(damped=False),
            "The damping is missing; where F is singular the solution then runs away, or does not exist.",
            "TR03",
        ),
        Mistake(
            "length without damping",
            _variant(damped_length=False),
            "You solve with F + damping, but measure the step's length with F alone. Use the same matrix for both: the "
            "step is then never too long.",
        ),
        Mistake(
            "downhill",
            _variant(sign=-1.0),
            "Your step goes downhill: the gradient is that of what is to be raised.",
        ),
        Mistake(
            "multiplied by F",
            _variant(solved=False),
            "You multiply the gradient by the matrix; the natural gradient is its *inverse* times the gradient.",
        ),
        Mistake(
            "plain gradient",
            _plain_gradient,
            "Your step points along the plain gradient; only its length knows of F.",
            "TR11",
        ),
        Mistake(
            "length in the parameters",
            _variant(length=lambda x, g: x @ x),
            "Your step has length sqrt(2 delta) in the parameters. It is to have the KL delta, so x^T H x stands below.",
        ),
        Mistake(
            "square of the gradient",
            _variant(length=lambda x, g: g @ g),
            "You divide by gradient.gradient; x^T H x stands there, which is x.gradient.",
        ),
        Mistake(
            "not scaled",
            lambda fisher, gradient, delta, damping: torch.linalg.solve(
                fisher + damping * torch.eye(len(gradient), dtype=gradient.dtype), gradient
            ),
            "You return x itself; its length depends on the scale of the rewards. Scale it so that x^T H x / 2 = delta.",
        ),
        Mistake(
            "zero by zero",
            _unguarded_step,
            "Right, but a gradient of 0 gives 0 / 0, which is no number; then the step is 0.",
        ),
    ),
    hints=(
        "H = fisher + damping * torch.eye(P); x = torch.linalg.solve(H, gradient).",
        "Scale x so that (size x)^T H (size x) / 2 = delta: (9.13).",
        "Before you divide, look whether x^T H x is 0.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.trpo.natural_step", "pgcourse.algorithms.natural_gradient.natural_step"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 09.searched_weights


def searched_weights(theta, step, gain, divergence, delta, shrink):
    """The weights after TRPO's line search: theta + shrink^k step for the first acceptable k = 0, 1, ..., K - 1.

    theta, step: [P]. gain, divergence: [K], what was measured at each of the K trials: by how much the surrogate rose, and the
    mean KL. delta: the largest mean KL that is allowed. shrink: between 0 and 1.
    Acceptable is a trial whose gain is above 0 and whose KL is at most delta; a NaN is neither. Returns [P]; theta itself
    where no trial is acceptable.
    """
    for k in range(len(gain)):
        if gain[k] > 0 and divergence[k] <= delta:
            return theta + shrink**k * step
    return theta


def _searched_weights_by_where(theta, step, gain, divergence, delta, shrink):
    fine = (gain > 0) & (divergence <= delta)
    fraction = shrink ** fine.to(torch.int64).argmax().item() if fine.any() else 0.0
    return theta + fraction * step


def _searched_weights_backwards(theta, step, gain, divergence, delta, shrink):
    """From the shortest to the longest, so that the first acceptable one has the last word."""
    found = theta.clone()
    for k in reversed(range(gain.numel())):
        if bool(gain[k] > 0) and bool(divergence[k] <= delta):
            found = theta + step * math.pow(shrink, k)
    return found


def _searched_weights_oracle(theta, step, gain, divergence, delta, shrink):
    trials = zip(gain.tolist(), divergence.tolist(), strict=True)
    fine = [k for k, (g, d) in enumerate(trials) if g > 0.0 and d <= delta]
    size = math.exp(min(fine) * math.log(shrink)) if fine else 0.0
    return torch.tensor([t + size * s for t, s in zip(theta.tolist(), step.tolist(), strict=True)], dtype=theta.dtype)


def _searched_weights_cases(generator):
    nan = math.nan
    tables = [  # gain, divergence in units of delta
        ((0.2, 0.1, 0.05), (1.3, 0.9, 0.5)),  # the first is too far
        ((-0.1, 0.1, 0.2), (0.9, 0.6, 0.4)),  # the first does not gain; the third gains most
        ((0.3, -0.2, 0.1, 0.05), (2.0, 0.8, 0.6, 0.3)),  # one fails on each side
        ((-0.3, -0.1, -0.2), (0.9, 0.5, 0.2)),  # nothing gains
        ((0.5, 0.4, 0.3), (3.0, 2.0, 1.5)),  # nothing is near enough
        ((0.1, 0.3, 0.2), (0.8, 0.4, 0.2)),  # the whole step
        ((0.0, 0.2, 0.1), (0.9, 0.6, 0.3)),  # no gain is no gain
        ((nan, 0.1, 0.2), (nan, 0.7, 0.5)),
        ((nan, nan, nan), (nan, nan, nan)),
        ((0.2, 0.1), (1.0, 0.5)),  # at the edge
    ]
    inputs = []
    for number, (gain, divergence) in enumerate(tables):
        size = (3, 5)[number % 2] + (len(gain) in (3, 5)) * 1
        draw = readable if number < 3 else (lambda x: x)
        delta, shrink = (0.01, 0.5) if number % 2 else (0.02, 0.8)
        table = (torch.tensor(gain, dtype=torch.float64), torch.tensor(divergence, dtype=torch.float64) * delta)
        inputs.append((draw(normal(generator, size)), draw(normal(generator, size)), *table, delta, shrink))
    return cases(_searched_weights_oracle, inputs)


def _search(fine_of, choose=min, power=lambda shrink, k: shrink**k, fallback=lambda theta, step, shrink, trials: theta):
    """searched_weights with another condition, choice, length or fallback."""

    def search(theta, step, gain, divergence, delta, shrink):
        fine = [k for k in range(len(gain)) if fine_of(gain[k], divergence[k], delta)]
        if not fine:
            return fallback(theta, step, shrink, len(gain))
        return theta + power(shrink, choose(fine) if choose is not None else fine[gain[fine].argmax()]) * step

    return search


def _fine(gain, divergence, delta):
    return gain > 0 and divergence <= delta


SEARCHED_WEIGHTS = Task(
    id="09.searched_weights",
    title="Line search with restore",
    signature="searched_weights(theta [P], step [P], gain [K], divergence [K], delta, shrink) -> theta' [P]",
    reference=searched_weights,
    stages=(Exact(1, _searched_weights_cases),),
    alternatives=(_searched_weights_by_where, _searched_weights_backwards),
    mistakes=(
        Mistake(
            "looks at the gain only",
            _search(lambda gain, divergence, delta: gain > 0),
            "You accept a trial that goes too far: its KL must be at most delta, too.",
            "TR07",
        ),
        Mistake(
            "looks at the divergence only",
            _search(lambda gain, divergence, delta: divergence <= delta),
            "You accept a trial that does not raise the surrogate: its gain must be above 0, too.",
            "TR07",
        ),
        Mistake(
            "either is enough",
            _search(lambda gain, divergence, delta: gain > 0 or divergence <= delta),
            "You accept a trial that meets one of the two conditions; it must meet both.",
            "TR07",
        ),
        Mistake(
            "not restored",
            _search(_fine, fallback=lambda theta, step, shrink, trials: theta + shrink ** (trials - 1) * step),
            "Where no trial is acceptable you keep the last one; the weights must be what they were.",
            "TR08",
        ),
        Mistake(
            "one more trial unseen",
            _search(_fine, fallback=lambda theta, step, shrink, trials: theta + shrink**trials * step),
            "Where no trial is acceptable you take a shorter step that nobody has tried; the weights must be what they were.",
            "TR08",
        ),
        Mistake(
            "zeros",
            _search(_fine, fallback=lambda theta, step, shrink, trials: torch.zeros_like(theta)),
            "Where no trial is acceptable you return zeros; the weights must be what they were.",
            "TR08",
        ),
        Mistake(
            "no search",
            lambda theta, step, gain, divergence, delta, shrink: theta + step,
            "You always take the whole step: that is the truncated natural gradient, without a search.",
        ),
        Mistake(
            "whole step or none",
            lambda theta, step, gain, divergence, delta, shrink: (
                theta + step if _fine(gain[0], divergence[0], delta) else theta
            ),
            "You look at the whole step only; where it is not acceptable, shorter ones are to be tried.",
        ),
        Mistake(
            "shrunk once too often",
            _search(_fine, power=lambda shrink, k: shrink ** (k + 1)),
            "Trial k is shrink^k step; you shrink once too often, so the whole step is never taken.",
        ),
        Mistake(
            "linear",
            _search(_fine, power=lambda shrink, k: 1 - (1 - shrink) * k),
            "You shorten the step by equal amounts; each trial is shrink times the one before.",
        ),
        Mistake(
            "last acceptable",
            _search(_fine, choose=max),
            "You take the shortest acceptable trial; the search stops at the first.",
        ),
        Mistake(
            "largest gain",
            _search(_fine, choose=None),
            "You take the acceptable trial with the largest gain; the search stops at the first acceptable one.",
        ),
        Mistake(
            "no gain is enough",
            _search(lambda gain, divergence, delta: gain >= 0 and divergence <= delta),
            "You accept a gain of 0; it must be above 0.",
        ),
        Mistake(
            "accepts NaN",
            _search(lambda gain, divergence, delta: not (gain <= 0 or divergence > delta)),
            "You accept a trial that is no number. Comparisons with NaN are false: ask what must hold, not what must not.",
        ),
        Mistake(
            "below delta",
            _search(lambda gain, divergence, delta: gain > 0 and divergence < delta),
            "You refuse a KL equal to delta; at most delta is allowed.",
        ),
        Mistake(
            "step instead of weights",
            lambda theta, step, gain, divergence, delta, shrink: (
                searched_weights(theta, step, gain, divergence, delta, shrink) - theta
            ),
            "You return the step that was found; asked are the weights after it.",
        ),
    ),
    hints=(
        "Go through the trials, k = 0 first, and return at the first that is acceptable.",
        "Acceptable: gain[k] > 0 and divergence[k] <= delta. With NaN both are false, as they should be.",
        "After the loop, return theta.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.algorithms.trpo.line_search",),
)

TASKS = (
    GAUSSIAN_DIVERGENCES,
    CATEGORICAL_DIVERGENCES,
    FISHER_TIMES,
    SOLVE_BY_DIRECTIONS,
    TNPG_STEP,
    SEARCHED_WEIGHTS,
)
