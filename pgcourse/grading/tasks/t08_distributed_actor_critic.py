"""Tasks of lecture 08: what an A3C worker accumulates, what synchronous workers average, and what old gradients do."""

import math

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable

_FORBIDDEN = (
    "pgcourse.returns.n_step",
    "pgcourse.returns.gae",
    "pgcourse.returns.lambda_return",
    "pgcourse.returns.backward_sum",
    "pgcourse.algorithms.a2c",
    "pgcourse.algorithms.a3c",
    "pgcourse.algorithms.a2c_distributed",
    "pgcourse.figures_08",
)


def _like(values, tensor):
    return torch.tensor(values, dtype=tensor.dtype)


# ----------------------------------------------------------------------------------------------------------------------
# 08.worker_gradients


def worker_gradients(reward, value, next_value, terminated, discount, score, value_gradient):
    """What an A3C worker accumulates over the T steps of one batch, from the last step to the first.

    reward, value: [T], r_t and V(s_t). next_value: V of the state after the last step, a number; it counts only if the episode
    goes on: terminated is true where the world ended with the last step. score: [T, P], grad log pi(a_t | s_t).
    value_gradient: [T, Q], grad V(s_t). With R_t = r_t + discount R_{t+1}, and R_T = next_value or 0,

        d_theta = sum_t (R_t - V(s_t)) grad log pi(a_t | s_t),    d_phi = sum_t grad (R_t - V(s_t))^2 / 2,    R_t held fixed

    Returns (d_theta [P], d_phi [Q]): the first is climbed, the second descended.
    """
    R = 0.0 if terminated else next_value
    d_theta, d_phi = torch.zeros_like(score[0]), torch.zeros_like(value_gradient[0])
    for t in reversed(range(len(reward))):
        R = reward[t] + discount * R
        d_theta = d_theta + (R - value[t]) * score[t]
        d_phi = d_phi - (R - value[t]) * value_gradient[t]
    return d_theta, d_phi


def _worker_gradients_by_products(reward, value, next_value, terminated, discount, score, value_gradient):
    count = len(reward)
    power = torch.arange(count, dtype=reward.dtype)
    ahead = (power[None, :] - power[:, None]).clamp(min=0)
    weights = torch.triu(discount**ahead)
    last = 0.0 if terminated else next_value * discount ** (count - power)
    surprise = weights @ reward + last - value
    return surprise @ score, -surprise @ value_gradient


def _worker_gradients_by_errors(reward, value, next_value, terminated, discount, score, value_gradient):
    """Through sums of TD errors."""
    following = torch.cat([value[1:], value.new_full((1,), 0.0 if terminated else float(next_value))])
    delta = reward + discount * following - value
    advantage = torch.stack([sum(discount ** (k - t) * delta[k] for k in range(t, len(delta))) for t in range(len(delta))])
    return (advantage[:, None] * score).sum(0), (-advantage[:, None] * value_gradient).sum(0)


def _worker(
    start=lambda v, nv, ended: 0.0 if ended else nv,
    returns=None,
    actor=lambda R, v: R - v,
    critic=lambda R, v: v - R,
    divide=lambda count: 1,
    discounts=lambda d: d,
):
    """In Python numbers, with one thing changed; as it stands it is right. returns: (r, v, start, d) -> R of each step."""

    def backward(r, v, R, d):
        found = []
        for each in reversed(r):
            R = each + d * R
            found.insert(0, R)
        return found

    def function(reward, value, next_value, terminated, discount, score, value_gradient):
        r, v = reward.tolist(), value.tolist()
        R = (returns or backward)(r, v, start(v, float(next_value), terminated), discounts(discount))
        outputs = []
        for weight, rows in ((actor, score), (critic, value_gradient)):
            weights = [weight(a, b) for a, b in zip(R, v, strict=True)]
            sums = [math.fsum(w * x for w, x in zip(weights, column, strict=True)) for column in rows.T.tolist()]
            outputs.append(_like(sums, reward) / divide(len(r)))
        return tuple(outputs)

    return function


def _by_terms(r, v, last, d):
    """Every return from its definition."""
    count = len(r)
    return [math.fsum([*(d ** (k - t) * r[k] for k in range(t, count)), d ** (count - t) * last]) for t in range(count)]


def _forward(r, v, last, d):
    R, found = last, []
    for each in r:
        R = each + d * R
        found.append(R)
    return found


def _one_step(r, v, last, d):
    return [a + d * b for a, b in zip(r, [*v[1:], last], strict=True)]


def _first_for_all(r, v, last, d):
    return [_by_terms(r, v, last, d)[0]] * len(r)


_worker_gradients_oracle = _worker(returns=_by_terms)
"""In Python numbers, every return from its definition."""


def _worker_gradients_cases(generator):
    def draw(steps, parameters, features, terminated, discount, tidy=lambda x: x):
        shapes = ((steps,), (steps,), (steps, parameters), (steps, features))
        reward, value, score, slope = (tidy(normal(generator, *shape)) for shape in shapes)
        next_value = float(tidy(normal(generator, 1) + 2.0))
        return reward + 0.5, value + 1.0, next_value, terminated, discount, score, slope

    inputs = [draw(2, 2, 1, False, 0.5, readable), draw(2, 1, 2, True, 0.5, readable), draw(3, 2, 2, False, 0.9, readable)]
    inputs += [draw(7, 4, 3, False, 0.9), draw(5, 3, 6, True, 0.8), draw(9, 2, 5, False, 0.7)]
    return cases(_worker_gradients_oracle, inputs)


WORKER_GRADIENTS = Task(
    id="08.worker_gradients",
    title="What an A3C worker accumulates",
    signature=(
        "worker_gradients(reward [T], value [T], next_value, terminated, discount, score [T, P], value_gradient [T, Q]) "
        "-> d_theta [P], d_phi [Q]"
    ),
    reference=worker_gradients,
    stages=(Exact(3, _worker_gradients_cases),),
    alternatives=(_worker_gradients_by_products, _worker_gradients_by_errors),
    mistakes=(
        Mistake(
            "looks past the end",
            _worker(start=lambda v, nv, ended: nv),
            "You bootstrap past the end: where terminated is true R begins at 0, whatever next_value says.",
            "AC02",
        ),
        Mistake(
            "never bootstraps",
            _worker(start=lambda v, nv, ended: 0.0),
            "R begins at 0 with you even where the episode goes on: what follows the last step is worth next_value.",
            "AC01",
        ),
        Mistake(
            "terminated the wrong way round",
            _worker(start=lambda v, nv, ended: nv if ended else 0.0),
            "You have terminated the wrong way round: it is true where nothing follows.",
        ),
        Mistake(
            "bootstraps from the last state",
            _worker(start=lambda v, nv, ended: 0.0 if ended else v[-1]),
            "R begins at V of the state *after* the last step, next_value; you take the last state's own.",
        ),
        Mistake(
            "bootstrap discounted once too often",
            lambda r, v, nv, ended, d, s, g: _worker()(r, v, d * nv, ended, d, s, g),
            "next_value is discounted once too often: the first thing the loop does to R is to multiply it by the discount.",
            "AC14",
        ),
        Mistake(
            "forgets the discount",
            _worker(discounts=lambda d: 1.0),
            "You forget the discount in R = r + discount R.",
        ),
        Mistake(
            "from the first step to the last",
            _worker(returns=_forward),
            "Your loop runs forward in time: R_t is made of what comes after t, so it runs from the last step to the first.",
        ),
        Mistake(
            "one step ahead only",
            _worker(returns=_one_step),
            "You bootstrap after every step, r_t + discount V(s_{t+1}): an A3C worker uses all rewards of the batch.",
        ),
        Mistake(
            "the whole batch's return for every step",
            _worker(returns=_first_for_all),
            "Every step gets the return of the whole batch: R_t counts what comes from t on.",
        ),
        Mistake(
            "no baseline",
            _worker(actor=lambda R, v: R),
            "Your actor weighs the score by R alone; subtract V(s_t), or the noise is needless.",
        ),
        Mistake(
            "d_theta with the wrong sign",
            _worker(actor=lambda R, v: v - R),
            "d_theta has the wrong sign: it is climbed, so what went better than expected counts positively.",
            "SF01",
        ),
        Mistake(
            "d_phi with the wrong sign",
            _worker(critic=lambda R, v: R - v),
            "d_phi has the wrong sign: it is the gradient of the squared error, which is descended: -(R - V) grad V.",
        ),
        Mistake(
            "d_phi without the half",
            _worker(critic=lambda R, v: 2 * (v - R)),
            "d_phi is twice too large: half the squared error is asked for, whose gradient is -(R - V) grad V.",
        ),
        Mistake(
            "d_phi weighs by R alone",
            _worker(critic=lambda R, v: -R),
            "Your d_phi does not subtract V(s_t): a critic that is right would still be moved.",
        ),
        Mistake(
            "averages over the steps",
            _worker(divide=lambda count: count),
            "You average over the steps; the worker accumulates: a sum.",
        ),
    ),
    hints=(
        "Begin with R = 0 if terminated, else next_value, and go through t from T - 1 down to 0.",
        "In each round first R = reward[t] + discount * R, then the two sums: R - value[t] is the advantage.",
        "The gradient of (R - V)^2 / 2 with R held fixed is -(R - V) grad V.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 08.synchronous_gradient


def synchronous_gradient(gradients, samples, max_norm):
    """The gradient that synchronous workers step along: that of the mean over all their samples, shortened where it is long.

    gradients: [W, P], each worker's, a mean over its own samples. samples: [W], how many those were (whole numbers >= 1, as
    floats). The result has length max_norm where it would be longer, and is left alone where it is not. Returns [P].
    """
    mean = (samples[:, None] * gradients).sum(0) / samples.sum()
    return mean * (max_norm / mean.norm().clamp(min=max_norm))


def _synchronous_gradient_by_product(gradients, samples, max_norm):
    mean = torch.mv(gradients.T, samples / samples.sum())
    length = torch.linalg.vector_norm(mean)
    return mean / length * max_norm if length > max_norm else mean


def _synchronous_gradient_in_loops(gradients, samples, max_norm):
    total = torch.zeros_like(gradients[0])
    for gradient, count in zip(gradients, samples, strict=True):
        total += count * gradient
    total /= sum(samples.tolist())
    return total * min(1.0, max_norm / float((total**2).sum() ** 0.5))


def _shorten(x, max_norm):
    return x * (max_norm / x.norm(dim=-1, keepdim=True).clamp(min=max_norm))


def _weighted(gradients, samples):
    return (samples[:, None] * gradients).sum(0) / samples.sum()


def _synchronous_gradient_oracle(gradients, samples, max_norm):
    """In Python numbers, every sum correctly rounded."""
    n = samples.tolist()
    mean = [math.fsum(a * b for a, b in zip(n, column, strict=True)) / math.fsum(n) for column in gradients.T.tolist()]
    return _like([min(1.0, max_norm / math.hypot(*mean)) * x for x in mean], gradients)


def _synchronous_gradient_cases(generator):
    def draw(workers, parameters, share, tidy=lambda x: x):
        """max_norm: ``share`` of the mean's length."""
        gradients = tidy(normal(generator, workers, parameters) + 0.5)
        samples = torch.randint(1, 9, (workers,), generator=generator).to(gradients.dtype)
        samples[0] = samples[1] + 3  # never all alike
        length = float(_weighted(gradients, samples).norm())
        return gradients, samples, max(round(share * length, 1), 0.1) if tidy is readable else share * length

    inputs = [draw(2, 2, 3.0, readable), draw(2, 2, 0.4, readable), draw(3, 2, 4.0, readable)]
    inputs += [draw(4, 5, 10.0), draw(3, 6, 0.3), draw(5, 4, 0.8), draw(6, 3, 1.3)]
    return cases(_synchronous_gradient_oracle, inputs)


SYNCHRONOUS_GRADIENT = Task(
    id="08.synchronous_gradient",
    title="The gradient of synchronous workers",
    signature="synchronous_gradient(gradients [W, P], samples [W], max_norm) -> gradient [P]",
    reference=synchronous_gradient,
    stages=(Exact(2, _synchronous_gradient_cases),),
    alternatives=(_synchronous_gradient_by_product, _synchronous_gradient_in_loops),
    mistakes=(
        Mistake(
            "every worker alike",
            lambda g, n, m: _shorten(g.mean(0), m),
            "Every worker counts alike with you; one with more samples must count for more, or the result is no mean over all "
            "samples.",
        ),
        Mistake(
            "adds the workers up",
            lambda g, n, m: _shorten(g.sum(0), m),
            "You add the workers' gradients up: the step would grow with their number.",
        ),
        Mistake(
            "divides by the number of workers",
            lambda g, n, m: _shorten((n[:, None] * g).sum(0) / len(n), m),
            "You weigh by the samples, but divide by the number of workers: divide by the number of samples of all.",
        ),
        Mistake(
            "takes means for sums",
            lambda g, n, m: _shorten(g.sum(0) / n.sum(), m),
            "You divide the sum of the gradients by all samples, as if each were a sum over its samples; each is a mean.",
        ),
        Mistake(
            "fewer samples count for more",
            lambda g, n, m: _shorten(_weighted(g, 1 / n), m),
            "You weigh by 1 / samples: a worker with more samples counts for less.",
        ),
        Mistake(
            "clips each worker first",
            lambda g, n, m: _weighted(_shorten(g, m), n),
            "You shorten each worker's gradient before averaging; one process on all samples would average first. What is left "
            "then points elsewhere.",
        ),
        Mistake(
            "never clips",
            lambda g, n, m: _weighted(g, n),
            "You never shorten it: where the mean is longer than max_norm, its length becomes max_norm.",
        ),
        Mistake(
            "always to that length",
            lambda g, n, m: m * _weighted(g, n) / _weighted(g, n).norm(),
            "You give every gradient the length max_norm; one that is shorter is left alone.",
        ),
        Mistake(
            "clips each coordinate",
            lambda g, n, m: _weighted(g, n).clamp(-m, m),
            "You clip each coordinate, which turns the gradient; shorten the whole vector by one factor.",
        ),
        Mistake(
            "measures by the largest coordinate",
            lambda g, n, m: _weighted(g, n) * (m / _weighted(g, n).abs().max().clamp(min=m)),
            "You measure the gradient by its largest coordinate; max_norm is about its Euclidean length.",
        ),
        Mistake(
            "the squared length",
            lambda g, n, m: _weighted(g, n) * (m / _weighted(g, n).square().sum().clamp(min=m)),
            "You compare the squared length with max_norm: take the root.",
        ),
        Mistake(
            "the worker with most samples",
            lambda g, n, m: _shorten(g[n.argmax()], m),
            "You take one worker's gradient and drop the others': average them.",
        ),
    ),
    hints=(
        "A mean over samples times their number is their sum. Add the sums, divide by the number of all.",
        "samples[:, None] * gradients has shape [W, P].",
        "Shorten last: multiply by max_norm / length, but by 1 where the length is below max_norm.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 08.compare_staleness


def compare_staleness(theta, hessian, staleness, step_size):
    """Descent with old gradients on the bowl f(theta) = theta^T hessian theta / 2, plain and corrected for staleness.

        theta_{k+1} = theta_k - s_k hessian theta_{k - staleness[k]},    s_k = step_size, or step_size / (1 + staleness[k])

    theta: [P], where both runs begin, theta_0. hessian: [P, P], symmetric. staleness: [K], whole numbers (torch.int64),
    staleness[k] in 0 .. k. Each run has a path of its own, and takes its old gradients from that. Returns (plain [K + 1],
    corrected [K + 1]): f(theta_0), ..., f(theta_K) of both.
    """
    found = []
    for corrected in (False, True):
        path = [theta]
        for k, d in enumerate(staleness.tolist()):
            size = step_size / (1 + d) if corrected else step_size
            path.append(path[k] - size * hessian @ path[k - d])
        found.append(torch.stack([x @ hessian @ x / 2 for x in path]))
    return found[0], found[1]


def _compare_staleness_in_one_table(theta, hessian, staleness, step_size):
    path = torch.empty(len(staleness) + 1, 2, len(theta), dtype=theta.dtype)
    path[0] = theta
    for k, d in enumerate(staleness.tolist()):
        size = torch.tensor([[step_size], [step_size / (d + 1)]], dtype=theta.dtype)
        path[k + 1] = path[k] - size * (path[k - d] @ hessian.T)
    height = 0.5 * torch.einsum("krp,pq,krq->rk", path, hessian, path)
    return height[0], height[1]


def _compare_staleness_by_gradients(theta, hessian, staleness, step_size):
    """Gradients are computed when a worker copies, and kept until they are used."""

    def run(sizes):
        now, gradients, heights = theta.clone(), [hessian @ theta], [0.5 * theta.dot(hessian @ theta)]
        for k, d in enumerate(staleness.tolist()):
            now = now - sizes[k] * gradients[k - d]
            gradients.append(hessian @ now)
            heights.append(0.5 * now.dot(gradients[-1]))
        return torch.stack(heights)

    return run([step_size] * len(staleness)), run([step_size / (1.0 + d) for d in staleness.tolist()])


def _stale(
    size=lambda d, ds: 1 / (1 + d),
    plain=lambda d, ds: 1.0,
    old=lambda path, k, d: path[k - d],
    new=lambda path, k, d: path[k],
    gradient=lambda hessian, x: hessian @ x,
    height=lambda hessian, x: x @ hessian @ x / 2,
    own=True,
    order=lambda a, b: (a, b),
):
    """Both runs with one thing changed; as it stands it is right. own: each run takes old gradients from its own path."""

    def function(theta, hessian, staleness, step_size):
        paths = []
        for factor in (plain, size):
            path = [theta]
            for k, d in enumerate(staleness.tolist()):
                source = path if own or not paths else paths[0]
                slope = gradient(hessian, old(source, k, d))
                path.append(new(path, k, d) - step_size * factor(d, staleness.tolist()) * slope)
            paths.append(path)
        return order(*(torch.stack([height(hessian, x) for x in path]) for path in paths))

    return function


def _changed_in_place(theta, hessian, staleness, step_size):
    """The path is a list of one tensor, many times."""
    found = []
    for corrected in (False, True):
        now = theta.clone()
        for d in staleness.tolist():
            now -= step_size / (1 + d * corrected) * hessian @ now
        found.append((now @ hessian @ now / 2).repeat(len(staleness) + 1))
    return tuple(found)


def _compare_staleness_oracle(theta, hessian, staleness, step_size):
    """In the bowl's own axes, where every coordinate goes alone; in Python numbers."""
    curvature, axes = torch.linalg.eigh(hessian)
    found = []
    for corrected in (False, True):
        total = [0.0] * (len(staleness) + 1)
        for h, x in zip(curvature.tolist(), (axes.T @ theta).tolist(), strict=True):
            path = [x]
            for k, d in enumerate(staleness.tolist()):
                path.append(path[k] - step_size / (1 + d * corrected) * h * path[k - d])
            total = [a + h * b * b / 2 for a, b in zip(total, path, strict=True)]
        found.append(_like(total, theta))
    return tuple(found)


def _compare_staleness_cases(generator):
    def draw(parameters, staleness, step_size, tidy=lambda x: x):
        root = normal(generator, parameters, parameters)
        hessian = tidy(root @ root.T / parameters) + 0.5 * torch.eye(parameters, dtype=root.dtype)
        return tidy(normal(generator, parameters) + 1.0), hessian, torch.tensor(staleness), step_size

    def late(count):
        return [int(torch.randint(0, min(k, 4) + 1, (1,), generator=generator)) for k in range(count)]

    inputs = [draw(1, [0, 1, 0], 0.5, readable), draw(2, [0, 1, 2], 0.5, readable), draw(2, [0, 0, 1, 3], 0.5, readable)]
    inputs += [
        draw(4, [0, 1, *late(8)[2:]], 0.3),
        draw(3, [0, 1, 2, *late(12)[3:]], 0.4),
        draw(5, [0, 0, 2, *late(9)[3:]], 0.2),
    ]
    return cases(_compare_staleness_oracle, inputs)


COMPARE_STALENESS = Task(
    id="08.compare_staleness",
    title="Old gradients, plain and corrected",
    signature="compare_staleness(theta [P], hessian [P, P], staleness [K], step_size) -> plain [K + 1], corrected [K + 1]",
    reference=compare_staleness,
    stages=(Exact(3, _compare_staleness_cases),),
    alternatives=(_compare_staleness_in_one_table, _compare_staleness_by_gradients),
    mistakes=(
        Mistake(
            "fresh gradients",
            _stale(old=lambda path, k, d: path[k]),
            "Your gradients are those of the present weights; a worker computed them staleness[k] updates ago.",
            "AC13",
        ),
        Mistake(
            "changed in place",
            _changed_in_place,
            "All heights of a run are the same: your list holds one tensor many times, changed in place (-=). Make a new one "
            "for each update.",
        ),
        Mistake(
            "steps from the old weights",
            _stale(new=lambda path, k, d: path[k - d]),
            "You step from the old weights, which undoes what the others did meanwhile: the gradient is old, but the step "
            "starts from theta_k.",
        ),
        Mistake(
            "one update too old",
            _stale(old=lambda path, k, d: path[max(k - d - 1, 0)]),
            "Your gradients are one update older than staleness says: with staleness 0 the gradient is that of theta_k.",
        ),
        Mistake(
            "staleness counted from the start",
            _stale(old=lambda path, k, d: path[d]),
            "You take the gradient at theta_d; it is that at theta_{k - d}, d updates ago.",
        ),
        Mistake(
            "divides by the staleness",
            _stale(size=lambda d, ds: 1 / max(d, 1)),
            "You divide by the staleness; divide by 1 + staleness, so that a gradient one update old counts half.",
        ),
        Mistake(
            "multiplies instead",
            _stale(size=lambda d, ds: 1 + d),
            "Your correction makes the step of an old gradient longer; it is to be shorter.",
        ),
        Mistake(
            "one correction for all",
            _stale(size=lambda d, ds: 1 / (1 + sum(ds) / len(ds))),
            "You divide every step by the same mean; each step is divided by its own 1 + staleness[k].",
        ),
        Mistake(
            "correction by powers",
            _stale(size=lambda d, ds: 0.5**d),
            "You halve the step for every update that a gradient is old; divide by 1 + staleness[k].",
        ),
        Mistake(
            "gradients of the other run",
            _stale(own=False),
            "Your corrected run takes its gradients from the plain run's path: each run has a path of its own.",
        ),
        Mistake(
            "no correction",
            _stale(size=lambda d, ds: 1.0),
            "Your two runs are the same: the second divides each step by 1 + staleness[k].",
        ),
        Mistake(
            "both corrected",
            _stale(plain=lambda d, ds: 1 / (1 + d)),
            "Both your runs are corrected: the first takes step_size as it is.",
        ),
        Mistake(
            "the two exchanged",
            _stale(order=lambda a, b: (b, a)),
            "You return the corrected run first; the plain one is asked for first.",
        ),
        Mistake(
            "climbs",
            _stale(plain=lambda d, ds: -1.0, size=lambda d, ds: -1 / (1 + d)),
            "You climb the bowl: a step goes against the gradient.",
            "SF01",
        ),
        Mistake(
            "height without the half",
            _stale(height=lambda hessian, x: x @ hessian @ x),
            "Your f is twice too large: f(theta) = theta^T hessian theta / 2.",
        ),
        Mistake(
            "gradient without the hessian",
            _stale(gradient=lambda hessian, x: x),
            "Your gradient is theta; that of the bowl is hessian @ theta.",
        ),
        Mistake(
            "leaves out the start",
            _stale(order=lambda a, b: (a[1:], b[1:])),
            "You leave out f(theta_0): K updates make K + 1 heights.",
        ),
    ),
    hints=(
        "Keep the whole path in a list: path[k - d] is where the gradient was computed, path[k] where the step begins.",
        "The gradient of theta^T hessian theta / 2 is hessian @ theta.",
        "Two runs, two paths. They differ in the size of the step alone.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

TASKS = (WORKER_GRADIENTS, SYNCHRONOUS_GRADIENT, COMPARE_STALENESS)
