"""Tasks of lecture 05: baselines."""

import math

import torch

from ..task import EXACT_BUDGET, Exact, Gradient, Mistake, Task, cases, normal, readable, uniform


def _valid(generator, steps, episodes):
    """[T, E], true during the first 1 .. T steps of each episode; one lasts all T steps, and one does not if there are two."""
    length = torch.randint(1, steps + 1, (episodes,), generator=generator)
    length[0] = max(1, steps - 1)
    length[-1] = steps
    return torch.arange(steps)[:, None] < length


def _whole(x):
    return x


# ----------------------------------------------------------------------------------------------------------------------
# 05.reward_to_go


def reward_to_go(reward, valid, discount):
    """What came of each step: G_t = sum_{k >= t} discount^(k - t) r_k, over the steps k of its own episode.

    reward: [T, E], one episode in each column. valid: [T, E], true while the episode lasts; after its end reward means nothing.
    discount: a number in [0, 1].
    Returns [T, E], with 0 after the end of an episode.
    """
    reward = reward * valid
    G = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = reward[t] + discount * following
        G[t] = following
    return G


def _reward_to_go_by_matrix(reward, valid, discount):
    t = torch.arange(len(reward), dtype=reward.dtype)
    ahead = t[None] - t[:, None]
    weight = torch.where(ahead >= 0, discount ** ahead.clamp(min=0), 0.0)
    return weight @ torch.where(valid, reward, 0.0)


def _reward_to_go_in_a_loop(reward, valid, discount):
    rows = []
    for t in range(len(reward)):
        rows.append(sum(discount ** (k - t) * reward[k] * valid[k] for k in range(t, len(reward))))
    return torch.stack(rows)


def _reward_to_go_oracle(reward, valid, discount):
    """Term by term in Python numbers, correctly rounded."""
    columns = []
    for rewards, valids in zip(reward.T.tolist(), valid.T.tolist(), strict=True):
        left = [r for r, v in zip(rewards, valids, strict=True) if v]
        G = [math.fsum(discount**k * r for k, r in enumerate(left[t:])) for t in range(len(rewards))]
        columns.append(G)
    return torch.tensor(columns, dtype=reward.dtype).T


def _reward_to_go_cases(generator):
    inputs = []
    for t, e, discount in ((2, 1, 0.5), (3, 2, 0.5), (4, 3, 1.0), (3, 4, 0.0)):
        inputs.append((readable(normal(generator, t, e) + 1), _valid(generator, t, e), discount))
    for t, e, discount in ((9, 4, 0.9), (6, 7, 0.7), (7, 3, 1.0)):
        inputs.append((normal(generator, t, e) + 1, _valid(generator, t, e), discount))
    return cases(_reward_to_go_oracle, inputs)


def _to_go(reward, discount):
    G, following = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        G[t] = following = reward[t] + discount * following
    return G


def _powers(discount, steps):
    return discount ** torch.arange(steps, dtype=torch.float64)[:, None]


def _late(G):
    return torch.cat([G[1:], torch.zeros_like(G[:1])])


def _so_far(reward, discount):
    return _to_go(reward.flip(0), discount).flip(0)


REWARD_TO_GO = Task(
    id="05.reward_to_go",
    title="Reward-to-go",
    signature="reward_to_go(reward [T, E], valid [T, E], discount) -> G [T, E]",
    reference=reward_to_go,
    stages=(Exact(1, _reward_to_go_cases),),
    alternatives=(_reward_to_go_by_matrix, _reward_to_go_in_a_loop),
    mistakes=(
        Mistake(
            "rewards after the end",
            lambda reward, valid, discount: _to_go(reward, discount),
            "Rewards after the end of an episode count in your G; multiply reward by valid before you sum.",
        ),
        Mistake(
            "masks too late",
            lambda reward, valid, discount: _to_go(reward, discount) * valid,
            "You put zeros after the end, but the rewards there have already gone into the G before it: mask the rewards, "
            "then sum.",
        ),
        Mistake(
            "starts one step late",
            lambda reward, valid, discount: _late(_to_go(reward * valid, discount)),
            "Your sum starts at t + 1: the reward of step t itself is the first that its action brought about.",
            "SF03",
        ),
        Mistake(
            "discounts from the start",
            lambda reward, valid, discount: _to_go(reward * valid * _powers(discount, len(reward)), 1.0),
            "You return discount^t G_t: seen from step t its own reward counts fully, discount^(k - t) is 1 for k = t.",
            "SF04",
        ),
        Mistake(
            "forgets the discount",
            lambda reward, valid, discount: _to_go(reward * valid, 1.0),
            "You add up the rewards without the discount.",
        ),
        Mistake(
            "whole return",
            lambda reward, valid, discount: _to_go(reward * valid, discount)[:1] * valid,
            "Every step of yours has the return of the whole episode: leave out the rewards before it.",
        ),
        Mistake(
            "adds up the past",
            lambda reward, valid, discount: _so_far(reward * valid, discount) * valid,
            "You add up the rewards up to each step: those no action can change any more. Go through time backwards.",
        ),
        Mistake(
            "own reward only",
            lambda reward, valid, discount: reward * valid,
            "You return the rewards themselves; what comes later counts too, discounted.",
        ),
        Mistake(
            "time and episode swapped",
            lambda reward, valid, discount: _to_go((reward * valid).T, discount).T,
            "You sum along the episodes; time is axis 0.",
            "SF09",
        ),
        Mistake(
            "discounts its own reward",
            lambda reward, valid, discount: discount * _to_go(reward * valid, discount),
            "You discount the reward of step t itself; seen from step t it counts fully.",
        ),
    ),
    hints=(
        "Only rewards of valid steps count: mask first.",
        "Going backward, G_t = r_t + discount * G_{t+1}.",
        "Begin with zeros [E] for what follows the last row.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.to_go", "pgcourse.returns.discounted", "pgcourse.returns.backward_sum"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.three_baselines


def three_baselines(G, seen, valid):
    """Three things to compare a return with: its mean over all steps, at each time, and in each state.

    G: [T, E], returns-to-go. seen: [T, E, S], the state of each step, one-hot: 1 at its number, else 0. valid: [T, E], true
    while the episode lasts; G and seen mean nothing elsewhere.
    Returns (constant [], by_time [T], by_state [S]); 0 where there is no valid step to take the mean of.
    """
    weight = valid.to(G.dtype)
    constant = (G * weight).sum() / weight.sum()
    by_time = (G * weight).sum(1) / weight.sum(1).clamp(min=1)
    here = seen * weight[..., None]  # [T, E, S]
    by_state = (G[..., None] * here).sum((0, 1)) / here.sum((0, 1)).clamp(min=1)
    return constant, by_time, by_state


def _three_baselines_in_loops(G, seen, valid):
    def mean(values):
        return values.mean() if len(values) else G.new_zeros(())

    by_time = torch.stack([mean(g[v]) for g, v in zip(G, valid, strict=True)])
    by_state = torch.stack([mean(G[valid & (here > 0)]) for here in seen.unbind(-1)])
    return G[valid].mean(), by_time, by_state


def _three_baselines_by_counting(G, seen, valid):
    kept, places = G[valid], seen.argmax(-1)[valid]
    total, count = torch.zeros(2, seen.shape[-1], dtype=G.dtype)
    total.index_add_(0, places, kept)
    count.index_add_(0, places, torch.ones_like(kept))
    by_time = torch.where(valid, G, 0).sum(1) / valid.sum(1).clamp(min=1)
    return kept.mean(), by_time, total / count.clamp(min=1)


def _mean(values):
    return math.fsum(values) / len(values) if values else 0.0


def _three_baselines_oracle(G, seen, valid):
    """Lists of Python numbers, one for each time and state."""
    rows = list(zip(G.tolist(), seen.argmax(-1).tolist(), valid.tolist(), strict=True))
    steps = [[(g, s) for g, s, v in zip(*row, strict=True) if v] for row in rows]
    every = [step for row in steps for step in row]
    numbers = (
        _mean([g for g, _ in every]),
        [_mean([g for g, _ in row]) for row in steps],
        [_mean([g for g, s in every if s == place]) for place in range(seen.shape[-1])],
    )
    return tuple(torch.tensor(each, dtype=G.dtype) for each in numbers)


def _three_baselines_cases(generator):
    def draw(steps, episodes, states, tidy, unseen, rows=0):
        """``unseen``: so many of the last states occur in the padding only; ``rows``: so many last rows are all padding."""
        G = tidy(normal(generator, steps, episodes) + 2)
        state = torch.randint(0, states - unseen, (steps, episodes), generator=generator)
        valid = _valid(generator, steps, episodes) & (torch.arange(steps) < steps - rows)[:, None]
        state = torch.where(valid, state, states - 1)
        return G, torch.nn.functional.one_hot(state, states).to(G.dtype), valid

    inputs = [draw(2, 3, 2, readable, 0), draw(3, 2, 4, readable, 1), draw(4, 3, 2, readable, 0), draw(3, 4, 2, readable, 0, 1)]
    inputs += [draw(7, 5, 3, _whole, 0), draw(6, 8, 5, _whole, 1)]
    return cases(_three_baselines_oracle, inputs)


def _forgets_valid(G, seen, valid):
    return three_baselines(G, seen, torch.ones_like(valid))


def _divides_by_all_rows(G, seen, valid):
    kept = G * valid
    return kept.mean(), kept.mean(1), (kept[..., None] * seen).mean((0, 1))


def _mean_of_means(G, seen, valid):
    _, by_time, by_state = three_baselines(G, seen, valid)
    return by_time.mean(), by_time, by_state


def _other_axis(G, seen, valid):
    constant, _, by_state = three_baselines(G, seen, valid)
    return constant, (G * valid).sum(0) / valid.sum(0).clamp(min=1), by_state


def _sums(G, seen, valid):
    kept = G * valid
    return kept.sum(), kept.sum(1), (kept[..., None] * seen).sum((0, 1))


def _empty_is_nan(G, seen, valid):
    kept, here = G * valid, seen * valid[..., None]
    return kept.sum() / valid.sum(), kept.sum(1) / valid.sum(1), (kept[..., None] * seen).sum((0, 1)) / here.sum((0, 1))


def _state_swapped_with_time(G, seen, valid):
    constant, by_time, by_state = three_baselines(G, seen, valid)
    return constant, by_state, by_time


def _of_first_visits(G, seen, valid):
    """Counts each state once in an episode."""
    here = seen * valid[..., None]
    first = here * (here.cumsum(0) == 1)
    constant, by_time, _ = three_baselines(G, seen, valid)
    return constant, by_time, three_baselines(G, first, valid)[2]


THREE_BASELINES = Task(
    id="05.three_baselines",
    title="Three baselines",
    signature="three_baselines(G [T, E], seen [T, E, S], valid [T, E]) -> constant [], by_time [T], by_state [S]",
    reference=three_baselines,
    stages=(Exact(2, _three_baselines_cases),),
    alternatives=(_three_baselines_in_loops, _three_baselines_by_counting),
    mistakes=(
        Mistake(
            "forgets valid",
            _forgets_valid,
            "Steps after the end of an episode count in your means; leave them out, in the sums and in the counts.",
        ),
        Mistake(
            "divides by all rows",
            _divides_by_all_rows,
            "You divide by T times E, or by E, also where fewer steps are valid (or few in that state): divide by how many you "
            "summed.",
        ),
        Mistake(
            "mean of the means",
            _mean_of_means,
            "Your constant is the mean of the means at each time; a step at a late time, where few episodes are left, then "
            "counts more than an early one. Take the mean over all valid steps.",
        ),
        Mistake(
            "mean over time",
            _other_axis,
            "Your second output is the mean of each episode over its own time; asked is the mean at each time over the "
            "episodes, one number for each row. (An episode's own mean has seen its own actions.)",
            "BL05",
        ),
        Mistake(
            "sums",
            _sums,
            "You return sums; divide by the number of steps in each.",
        ),
        Mistake(
            "empty is NaN",
            _empty_is_nan,
            "Where no step is valid, or a state was never visited, you divide 0 by 0; return 0 there: .clamp(min=1) the count.",
        ),
        Mistake(
            "state and time swapped",
            _state_swapped_with_time,
            "You return the means by state where those by time are asked for, and the other way round.",
        ),
        Mistake(
            "first visits only",
            _of_first_visits,
            "You count a state once in each episode; asked is the mean over all valid steps in it.",
        ),
    ),
    hints=(
        "A mean over valid steps: (G * valid).sum() / valid.sum(). Over which axis for each time?",
        "For the states: seen is 1 where the step was in that state. Mask it, multiply G[..., None] by it, and sum over the "
        "first two axes.",
        "Counts may be 0: .clamp(min=1) makes the mean 0 there.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.constant_baseline", "pgcourse.returns.time_baseline", "pgcourse.returns.fit_linear"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.optimal_constant


def optimal_constant(score, R):
    """The constant b with the least squared length of (R_e - b) score_e, on average over the episodes.

    score: [E, P], each episode's sum of scores. R: [E], its return.
    Returns b, a tensor with one number, shape [].
    """
    size = score.square().sum(1)
    return (size * R).sum() / size.sum()


def _optimal_constant_by_least_squares(score, R):
    pull = (R[:, None] * score).flatten()
    return torch.linalg.lstsq(score.flatten()[:, None], pull[:, None]).solution[0, 0]


def _optimal_constant_by_parabola(score, R):
    def squares(b):
        return ((R - b)[:, None] * score).square().sum()

    low, middle, high = squares(-1.0), squares(0.0), squares(1.0)
    return (low - high) / (2 * (low - 2 * middle + high))


def _optimal_constant_oracle(score, R):
    """In Python numbers: sum |s|^2 R / sum |s|^2."""
    sizes = [math.fsum(s * s for s in row) for row in score.tolist()]
    top = math.fsum(size * r for size, r in zip(sizes, R.tolist(), strict=True))
    return torch.tensor(top / math.fsum(sizes), dtype=R.dtype)


def _optimal_constant_cases(generator):
    inputs = [
        (readable(normal(generator, e, p)) + 0.05, readable(normal(generator, e) + 2)) for e, p in ((2, 1), (3, 2), (2, 3))
    ]
    inputs += [(normal(generator, e, p), 3 * normal(generator, e) + 2) for e, p in ((7, 4), (12, 3))]
    return cases(_optimal_constant_oracle, inputs)


OPTIMAL_CONSTANT = Task(
    id="05.optimal_constant",
    title="The best constant",
    signature="optimal_constant(score [E, P], R [E]) -> b []",
    reference=optimal_constant,
    stages=(Exact(1, _optimal_constant_cases),),
    alternatives=(_optimal_constant_by_least_squares, _optimal_constant_by_parabola),
    mistakes=(
        Mistake(
            "mean return",
            lambda score, R: R.mean(),
            "You return the mean return: a good baseline, not the best. Episodes with long scores must count more, by (5.5).",
            "BL06",
        ),
        Mistake(
            "weighs with the length",
            lambda score, R: (score.norm(dim=1) * R).sum() / score.norm(dim=1).sum(),
            "You weigh the returns with the length of the score; it is the squared length that stands in (5.5).",
        ),
        Mistake(
            "squares the sum",
            lambda score, R: (score.sum(1).square() * R).sum() / score.sum(1).square().sum(),
            "You add up the coordinates of a score before you square; the squared length is the sum of the squares.",
        ),
        Mistake(
            "each coordinate by itself",
            lambda score, R: ((score.square() * R[:, None]).sum(0) / score.square().sum(0)).mean(),
            "You find the best constant for each coordinate and average them; one b for all minimises the sum over "
            "coordinates, so sum first, then divide.",
        ),
        Mistake(
            "normalises by the number of episodes",
            lambda score, R: (score.square().sum(1) * R).mean(),
            "You divide by the number of episodes; divide by the sum of the squared lengths: b is a weighted mean of returns.",
        ),
        Mistake(
            "signed scores",
            lambda score, R: (score.sum(1) * R).sum() / score.sum(),
            "You weigh the returns with the scores themselves, which have mean zero; weigh with their squared length.",
        ),
        Mistake(
            "squares the return too",
            lambda score, R: (score.square().sum(1) * R.square()).sum() / (score.square().sum(1) * R).sum(),
            "A return too many stands in your sums: squared length times R above, squared length below.",
        ),
        Mistake(
            "upside down",
            lambda score, R: score.square().sum() / (score.square().sum(1) * R).sum(),
            "Your fraction is upside down: the squared lengths alone belong below.",
        ),
    ),
    hints=(
        "Write out the squared length of (R_e - b) score_e: a parabola in b. Where is its slope zero?",
        "(R_e - b)^2 times the squared length of score_e: a weighted sum of squares, so b is a weighted mean of the R_e.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.optimal_baseline",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.leave_one_out_means


def leave_one_out_means(G, valid):
    """For each step the mean of the *other* episodes' returns at that time, over those that are still going on.

    G: [T, E]. valid: [T, E], true while the episode lasts; G means nothing elsewhere, and its baseline is not looked at
    there: return 0.
    Returns [T, E]; 0 where no other episode is going on.
    """
    kept = G * valid
    others = valid.sum(1, keepdim=True) - 1
    return (kept.sum(1, keepdim=True) - kept) / others.clamp(min=1) * (others > 0) * valid


def _leave_one_out_means_in_loops(G, valid):
    b = torch.zeros_like(G)
    for t in range(G.shape[0]):
        for e in range(G.shape[1]):
            other = valid[t].clone()
            other[e] = False
            if valid[t, e] and other.any():
                b[t, e] = G[t, other].mean()
    return b


def _leave_one_out_means_by_matrix(G, valid):
    apart = 1 - torch.eye(G.shape[1], dtype=G.dtype)
    kept = torch.where(valid, G, 0)
    return valid * (kept @ apart) / (valid.to(G.dtype) @ apart).clamp(min=1)


def _leave_one_out_means_oracle(G, valid):
    rows = []
    for values, valids in zip(G.tolist(), valid.tolist(), strict=True):
        row = []
        for e, running in enumerate(valids):
            others = [g for i, (g, v) in enumerate(zip(values, valids, strict=True)) if v and i != e]
            row.append(_mean(others) if running else 0.0)
        rows.append(row)
    return torch.tensor(rows, dtype=G.dtype)


def _leave_one_out_means_cases(generator):
    inputs = [(readable(normal(generator, t, e) + 2), _valid(generator, t, e)) for t, e in ((2, 3), (3, 2), (4, 5), (3, 1))]
    inputs += [(normal(generator, t, e) + 2, _valid(generator, t, e)) for t, e in ((7, 4), (6, 9))]
    return cases(_leave_one_out_means_oracle, inputs)


def _left_out(G, valid, own=True, count=None):
    kept = G * valid
    running = valid.sum(1, keepdim=True)
    others = running - 1 if count is None else torch.full_like(running, count)
    return (kept.sum(1, keepdim=True) - own * kept) / others.clamp(min=1) * valid


LEAVE_ONE_OUT_MEANS = Task(
    id="05.leave_one_out_means",
    title="Leave one out",
    signature="leave_one_out_means(G [T, E], valid [T, E]) -> b [T, E]",
    reference=leave_one_out_means,
    stages=(Exact(2, _leave_one_out_means_cases),),
    alternatives=(_leave_one_out_means_in_loops, _leave_one_out_means_by_matrix),
    mistakes=(
        Mistake(
            "its own return included",
            lambda G, valid: ((G * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)) * valid,
            "Your mean contains the episode's own return: that takes 1/E of the gradient away. Leave it out, and divide by one "
            "less.",
            "GE18",
        ),
        Mistake(
            "leaves out, divides by all",
            lambda G, valid: _left_out(G, valid) * (valid.sum(1, keepdim=True) - 1) / valid.sum(1, keepdim=True).clamp(min=1),
            "You leave the own return out and still divide by the number of all episodes; of the others there is one less.",
        ),
        Mistake(
            "divides by E - 1",
            lambda G, valid: ((G * valid).sum(1, keepdim=True) - G * valid) / max(1, G.shape[1] - 1) * valid,
            "You divide by E - 1 also where fewer episodes are still going on; count the valid ones at each time.",
        ),
        Mistake(
            "forgets valid",
            lambda G, valid: (G.sum(1, keepdim=True) - G) / max(1, G.shape[1] - 1) * valid,
            "Returns after the end of other episodes count in your mean; leave them out, in the sum and in the count.",
        ),
        Mistake(
            "sum of the others",
            lambda G, valid: ((G * valid).sum(1, keepdim=True) - G * valid) * valid,
            "You return the sum over the other episodes; divide by how many there are.",
        ),
        Mistake(
            "over time",
            lambda G, valid: (
                ((G * valid).sum(0, keepdim=True) - G * valid) / (valid.sum(0, keepdim=True) - 1).clamp(min=1) * valid
            ),
            "You average over the other times of the same episode, whose later returns this very action has changed. Average "
            "over the other episodes, at the same time: axis 1.",
        ),
        Mistake(
            "the advantage",
            lambda G, valid: (G - leave_one_out_means(G, valid)) * valid,
            "You return the return minus the baseline; asked is the baseline itself.",
        ),
        Mistake(
            "alone is compared with itself",
            lambda G, valid: torch.where((valid.sum(1, keepdim=True) == 1) & valid, G * valid, leave_one_out_means(G, valid)),
            "Where an episode is the only one left you return its own return: 0 is asked there. Its own return must not stand "
            "in its baseline.",
        ),
    ),
    hints=(
        "The sum over the others is the sum over all, minus one's own.",
        "Count the episodes that are still going on, at each time: valid.sum(1, keepdim=True).",
        "Where it is the only one there are 0 others: .clamp(min=1), the sum is 0 anyway.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.leave_one_out_baseline",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.fitted_value


def fitted_value(feature, target, phi, proximal):
    """One round of value regression: the q with the least sum_n (target_n - q . feature_n)^2 + proximal |q - phi|^2.

    feature: [N, F], what is seen of each of N steps. target: [N]; returns (Monte Carlo), or r + discount * phi . feature' of
    what followed (TD). phi: [F], as it was. proximal: a number > 0.
    Returns q [F], the new phi; phi itself stays as it is.
    """
    matrix = feature.T @ feature + proximal * torch.eye(feature.shape[1], dtype=feature.dtype)
    return torch.linalg.solve(matrix, feature.T @ target + proximal * phi)


def _fitted_value_by_least_squares(feature, target, phi, proximal):
    leash = proximal**0.5 * torch.eye(len(phi), dtype=phi.dtype)
    rows, goals = torch.cat([feature, leash]), torch.cat([target, proximal**0.5 * phi])
    return torch.linalg.lstsq(rows, goals[:, None]).solution[:, 0]


def _fitted_value_as_a_step(feature, target, phi, proximal):
    matrix = feature.T @ feature + proximal * torch.eye(len(phi), dtype=phi.dtype)
    return phi + torch.linalg.inv(matrix) @ feature.T @ (target - feature @ phi)


def _fitted_value_oracle(feature, target, phi, proximal):
    """By the other form of the same solution: a system with a row for each step instead of each feature."""
    kernel = feature @ feature.T + proximal * torch.eye(len(target), dtype=target.dtype)
    return phi + feature.T @ torch.linalg.solve(kernel, target - feature @ phi)


def _fitted_value_cases(generator):
    inputs = []
    for n, f, proximal in ((2, 1, 0.5), (3, 2, 1.0), (2, 3, 0.5)):
        numbers = (readable(normal(generator, *shape) + 1) for shape in ((n, f), (n,), (f,)))
        inputs.append((*numbers, proximal))
    for n, f, proximal in ((9, 4, 0.3), (6, 3, 5.0), (3, 5, 0.7)):
        inputs.append((normal(generator, n, f), normal(generator, n) + 1, normal(generator, f), proximal))
    return cases(_fitted_value_oracle, inputs)


def _ridge(feature, target, phi, proximal, around=1.0):
    eye = torch.eye(feature.shape[1], dtype=feature.dtype)
    return torch.linalg.solve(feature.T @ feature + proximal * eye, feature.T @ target + around * proximal * phi)


FITTED_VALUE = Task(
    id="05.fitted_value",
    title="Value regression on a leash",
    signature="fitted_value(feature [N, F], target [N], phi [F], proximal) -> new_phi [F]",
    reference=fitted_value,
    stages=(Exact(2, _fitted_value_cases),),
    alternatives=(_fitted_value_by_least_squares, _fitted_value_as_a_step),
    mistakes=(
        Mistake(
            "leash to zero",
            lambda feature, target, phi, proximal: _ridge(feature, target, phi, proximal, 0.0),
            "You hold the new phi near zero; the leash is tied to the old phi, so proximal * phi stands on the right-hand side "
            "too.",
        ),
        Mistake(
            "no leash",
            lambda feature, target, phi, proximal: torch.linalg.lstsq(feature, target[:, None], driver="gelsd").solution[:, 0],
            "You leave the proximal term out: without it one batch tears phi away from all that was learned before.",
        ),
        Mistake(
            "leash on the right only",
            lambda feature, target, phi, proximal: (
                torch.linalg.pinv(feature.T @ feature) @ (feature.T @ target + proximal * phi)
            ),
            "proximal stands on the right-hand side only; the squared distance contributes proximal times the identity on the "
            "left as well.",
        ),
        Mistake(
            "mean over the steps",
            lambda feature, target, phi, proximal: _ridge(feature, target, phi, proximal * len(target)),
            "You divide the sum of squares by N; here it is a sum, and proximal is weighed against it.",
        ),
        Mistake(
            "half the leash",
            lambda feature, target, phi, proximal: _ridge(feature, target, phi, proximal / 2),
            "Your leash is half as strong: the factors 2 in front of both derivatives cancel.",
        ),
        Mistake(
            "squares proximal",
            lambda feature, target, phi, proximal: _ridge(feature, target, phi, proximal**2),
            "Your leash is proximal squared: it multiplies |new phi - phi|^2 as it is.",
        ),
        Mistake(
            "returns the step",
            lambda feature, target, phi, proximal: _ridge(feature, target, phi, proximal) - phi,
            "You return the change of phi, which fits what the old one leaves over; asked is the new phi: add the old one.",
        ),
        Mistake(
            "one gradient step",
            lambda feature, target, phi, proximal: phi + 0.1 * feature.T @ (target - feature @ phi),
            "You take a step toward the targets; asked is the minimum itself: set the derivative to zero and solve.",
        ),
    ),
    hints=(
        "Set the derivative by the new phi to zero: -2 feature^T (target - feature phi') + 2 proximal (phi' - phi) = 0.",
        "(feature^T feature + proximal I) phi' = feature^T target + proximal phi.",
        "torch.linalg.solve(matrix, vector) solves a linear system.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.fit_linear",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.td_value_loss


def td_value_loss(value, next_value, reward, terminated, valid, discount):
    """The squared TD error, summed over the valid steps: what a network's V descends in fitted TD iteration.

    value, next_value: [T, E], V(s_t) and V(s_{t+1}), both from the network. The target r_t + discount V(s_{t+1}) is held fixed:
    no gradient through it; nothing follows where terminated. reward: [T, E]. terminated: [T, E]. valid: [T, E], true while the
    episode lasts; elsewhere the numbers mean nothing. discount: a number in [0, 1].
    Returns a tensor with one number, shape []. Its gradients with respect to value and next_value are judged.
    """
    target = reward + discount * next_value.detach() * ~terminated
    return ((value - target).square() * valid).sum()


def _td_value_loss_without_grad(value, next_value, reward, terminated, valid, discount):
    with torch.no_grad():
        target = torch.where(terminated, reward, reward + discount * next_value)
    return torch.where(valid, (target - value) ** 2, 0).sum()


def _td_value_loss_by_mask(value, next_value, reward, terminated, valid, discount):
    follows = discount * (1 - terminated.to(reward.dtype))
    error = (reward + follows * next_value.detach() - value)[valid]
    return (error * error).sum()


def _td_value_loss_oracle(value, next_value, reward, terminated, valid, discount):
    """By value 2 (V - target) where valid, by next_value nothing."""
    target = [
        [r + (0.0 if end else discount * n) for r, n, end in zip(*row, strict=True)]
        for row in zip(reward.tolist(), next_value.tolist(), terminated.tolist(), strict=True)
    ]
    slope = 2 * (value - torch.tensor(target, dtype=value.dtype))
    return torch.where(valid, slope, 0.0), torch.zeros_like(next_value)


def _td_value_loss_cases(generator):
    inputs = []
    for t, e, discount, tidy in (
        (2, 1, 0.5, readable),
        (3, 2, 0.9, readable),
        (4, 3, 1.0, readable),
        (3, 4, 0.0, readable),
        (7, 4, 0.9, _whole),
        (5, 6, 0.7, _whole),
    ):
        value, following, reward = (tidy(normal(generator, t, e) + 1) for _ in range(3))
        valid = _valid(generator, t, e)
        last = valid & ~torch.nn.functional.pad(valid, (0, 0, 0, 1))[1:]
        terminated = last & (torch.rand(t, e, generator=generator) < 0.6)
        terminated[:, -1] = last[:, -1]
        inputs.append((value, following, reward, terminated, valid, discount))
    return cases(_td_value_loss_oracle, inputs)


def _td_loss(target, reduce=torch.sum):
    """The loss with another target(value, next_value, reward, terminated, discount)."""

    def loss(value, next_value, reward, terminated, valid, discount):
        error = value - target(value, next_value, reward, terminated, discount)
        return reduce(error.square() * valid)

    return loss


TD_VALUE_LOSS = Task(
    id="05.td_value_loss",
    title="The TD loss, with its target held fixed",
    signature=(
        "td_value_loss(value [T, E], next_value [T, E], reward [T, E], terminated [T, E], valid [T, E], discount) -> loss []"
    ),
    reference=td_value_loss,
    stages=(Exact(2, _td_value_loss_cases, Gradient(("value", "next_value"))),),
    alternatives=(_td_value_loss_without_grad, _td_value_loss_by_mask),
    mistakes=(
        Mistake(
            "gradient through the target",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V * ~end),
            "Gradient flows through your target: V(s') is pulled toward V(s) as well. Detach next_value: in (5.8) the target "
            "is computed with the old phi and held fixed.",
            "AC11",
        ),
        Mistake(
            "detaches the value",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V * ~end + V - V.detach()),
            "You have detached the wrong one: value must move, and next_value stay.",
            "AC11",
        ),
        Mistake(
            "bootstraps past the end",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V.detach()),
            "You add V(s') where the episode has terminated: nothing comes after, so the target is the reward alone.",
            "AC02",
        ),
        Mistake(
            "loses the last reward",
            _td_loss(lambda V, next_V, r, end, discount: (r + discount * next_V.detach()) * ~end),
            "Where the episode terminates your target is 0; the reward of the last step counts, only V(s') is cut off.",
            "AC08",
        ),
        Mistake(
            "terminated the wrong way round",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V.detach() * end),
            "You have terminated the wrong way round: V(s') counts where the episode goes on. ~terminated is true there.",
        ),
        Mistake(
            "forgets the discount",
            _td_loss(lambda V, next_V, r, end, discount: r + next_V.detach() * ~end),
            "V(s') stands in your target without the discount.",
        ),
        Mistake(
            "discounts the reward",
            _td_loss(lambda V, next_V, r, end, discount: discount * (r + next_V.detach() * ~end)),
            "You discount the reward too; it is earned at once, only V(s') is discounted.",
        ),
        Mistake(
            "forgets valid",
            lambda value, next_value, reward, terminated, valid, discount: (
                (value - reward - discount * next_value.detach() * ~terminated).square().sum()
            ),
            "Steps after the end of an episode count in your loss; mask the squared errors with valid.",
        ),
        Mistake(
            "mean",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V.detach() * ~end, torch.mean),
            "You take the mean; (5.8) is a sum over the valid steps, and the leash is weighed against it.",
        ),
        Mistake(
            "half",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V.detach() * ~end, lambda x: x.sum() / 2),
            "Your loss is half of what is asked: the sum of the squares, without 1/2 in front.",
        ),
        Mistake(
            "sign",
            _td_loss(lambda V, next_V, r, end, discount: r + discount * next_V.detach() * ~end, lambda x: -x.sum()),
            "Your loss has the wrong sign: descending it drives V away from its target.",
        ),
        Mistake(
            "absolute value",
            lambda value, next_value, reward, terminated, valid, discount: (
                (value - reward - discount * next_value.detach() * ~terminated).abs() * valid
            ).sum(),
            "You sum absolute errors, whose minimum is a median; squares are asked for, whose minimum is the mean, V.",
        ),
    ),
    hints=(
        "First the target, [T, E]: reward plus discounted next_value, where the episode goes on.",
        ".detach() cuts a tensor off from the gradient.",
        "Then squares of value minus target, masked with valid, and summed.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.td_error", "pgcourse.returns.n_step", "pgcourse.algorithms.vanilla"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 05.vanilla_loss


def vanilla_loss(log_probability, value, reward, valid, discount):
    """The loss of the vanilla policy gradient: descending it climbs mean_e sum_t (G_t - V(s_t)) log pi(a_t | s_t).

    log_probability: [T, E]. value: [T, E], V(s_t) from a network of its own: no gradient may reach it from here.
    reward: [T, E]. valid: [T, E], true while the episode lasts; elsewhere the numbers mean nothing. discount: a number in
    [0, 1], inside G_t; the factor discount^t in front is dropped, as in algorithm 5.1.
    Returns a tensor with one number, shape []. Its gradients with respect to log_probability and value are judged.
    """
    G, following = [], torch.zeros_like(reward[0])
    for r in (reward * valid).flip(0):
        following = r + discount * following
        G.append(following)
    advantage = torch.stack(G[::-1]) - value.detach()
    return -(log_probability * advantage * valid).sum(0).mean()


def _vanilla_loss_by_matrix(log_probability, value, reward, valid, discount):
    with torch.no_grad():
        weight = torch.where(valid, _reward_to_go_by_matrix(reward, valid, discount) - value, 0.0)
    return -(weight * log_probability).sum() / reward.shape[1]


def _vanilla_loss_episode_by_episode(log_probability, value, reward, valid, discount):
    losses = []
    for e in range(reward.shape[1]):
        alive = valid[:, e]
        r, total = reward[alive, e], 0.0
        for t in range(len(r)):
            G = sum(discount**k * x for k, x in enumerate(r[t:]))
            total = total - (G - value[alive, e][t].detach()) * log_probability[alive, e][t]
        losses.append(total)
    return sum(losses) / len(losses)


def _vanilla_loss_oracle(log_probability, value, reward, valid, discount):
    """Step t of episode e is pushed by -(G_t - V_t) / E, the value by nothing."""
    weight = (_reward_to_go_oracle(reward, valid, discount) - value) / reward.shape[1]
    return torch.where(valid, -weight, 0.0), torch.zeros_like(value)


def _vanilla_loss_cases(generator):
    inputs = []
    for t, e, discount, tidy in (
        (2, 1, 0.5, readable),
        (3, 2, 0.9, readable),
        (4, 3, 1.0, readable),
        (3, 4, 0.0, readable),
        (7, 4, 0.9, _whole),
        (5, 6, 0.7, _whole),
    ):
        log_probability = tidy(-uniform(generator, 0.1, 2, t, e))
        value, reward = (tidy(normal(generator, t, e) + 1) for _ in range(2))
        inputs.append((log_probability, value, reward, _valid(generator, t, e), discount))
    return cases(_vanilla_loss_oracle, inputs)


def _vanilla(weigh, reduce=lambda x: x.sum(0).mean()):
    """The loss with other weights: weigh(reward * valid, value, valid, discount)."""

    def loss(log_probability, value, reward, valid, discount):
        return -reduce(log_probability * weigh(reward * valid, value, valid, discount) * valid)

    return loss


def _right_weight(reward, value, valid, discount):
    return _to_go(reward, discount) - value.detach()


VANILLA_LOSS = Task(
    id="05.vanilla_loss",
    title="The vanilla policy gradient",
    signature="vanilla_loss(log_probability [T, E], value [T, E], reward [T, E], valid [T, E], discount) -> loss []",
    reference=vanilla_loss,
    stages=(Exact(3, _vanilla_loss_cases, Gradient(("log_probability", "value"))),),
    alternatives=(_vanilla_loss_by_matrix, _vanilla_loss_episode_by_episode),
    mistakes=(
        Mistake(
            "sign",
            _vanilla(lambda *x: -_right_weight(*x)),
            "Your loss has the wrong sign: descending it makes good actions rarer. The loss is minus the surrogate.",
            "SF01",
        ),
        Mistake(
            "gradient reaches the value",
            _vanilla(lambda reward, value, valid, discount: _to_go(reward, discount) - value),
            "Gradient flows into value: its network would learn to please the policy's loss instead of predicting returns. "
            "Detach it.",
            "SF12",
        ),
        Mistake(
            "no baseline",
            _vanilla(lambda reward, value, valid, discount: _to_go(reward, discount)),
            "You do not subtract the value: that is REINFORCE, with all its noise.",
        ),
        Mistake(
            "adds the value",
            _vanilla(lambda reward, value, valid, discount: _to_go(reward, discount) + value.detach()),
            "You add the value; it is what was to be expected, and is subtracted.",
        ),
        Mistake(
            "whole return",
            _vanilla(lambda reward, value, valid, discount: _to_go(reward, discount)[:1] - value.detach()),
            "You weigh with the return of the whole episode; compared with V(s_t) it must be what came from step t on.",
        ),
        Mistake(
            "only its own reward",
            _vanilla(lambda reward, value, valid, discount: reward - value.detach()),
            "You compare the reward of one step with V, which is a sum over all steps to come: use the reward-to-go.",
        ),
        Mistake(
            "starts one step late",
            _vanilla(lambda reward, value, valid, discount: _late(_to_go(reward, discount)) - value.detach()),
            "Your return starts at t + 1: the reward of step t itself is missing.",
            "SF03",
        ),
        Mistake(
            "keeps the discount in front",
            _vanilla(lambda *x: _right_weight(*x) * _powers(x[3], len(x[0]))),
            "You keep discount^t in front, as the gradient of the discounted J has it; algorithm 5.1 drops it.",
        ),
        Mistake(
            "discounts the return only",
            _vanilla(
                lambda reward, value, valid, discount: _to_go(reward * _powers(discount, len(reward)), 1.0) - value.detach()
            ),
            "Your return is discounted from the start of the episode; V(s_t) counts from step t, and so must G_t: "
            "discount^(k - t).",
            "SF04",
        ),
        Mistake(
            "forgets the discount",
            _vanilla(lambda reward, value, valid, discount: _to_go(reward, 1.0) - value.detach()),
            "You add up the rewards without the discount.",
        ),
        Mistake(
            "rewards after the end",
            lambda log_probability, value, reward, valid, discount: (
                -(log_probability * (_to_go(reward, discount) - value.detach()) * valid).sum(0).mean()
            ),
            "Rewards after the end of an episode count in your returns: mask reward with valid before you sum.",
        ),
        Mistake(
            "steps after the end",
            lambda log_probability, value, reward, valid, discount: (
                -(log_probability * (_to_go(reward * valid, discount) - value.detach())).sum(0).mean()
            ),
            "Steps after the end of an episode are pushed too: mask with valid before you sum.",
        ),
        Mistake(
            "mean over the steps",
            _vanilla(_right_weight, lambda x: x.mean()),
            "You take the mean over time as well; the sum over time stays a sum, and the mean is over the E episodes.",
        ),
        Mistake(
            "mean over the valid steps",
            lambda log_probability, value, reward, valid, discount: (
                -(log_probability * _right_weight(reward * valid, value, valid, discount) * valid).sum() / valid.sum()
            ),
            "You divide by the number of valid steps, as the library's file does; asked is the mean over the E episodes of a "
            "sum over time.",
        ),
        Mistake(
            "sum over the episodes",
            _vanilla(_right_weight, lambda x: x.sum()),
            "You sum over the episodes; an expectation is estimated by their mean.",
            "SF09",
        ),
    ),
    hints=(
        "Three steps: G [T, E], the advantage G - value, and minus the weighted sum of log-probabilities.",
        "Your reward_to_go gives G. value.detach() is a number that no gradient reaches.",
        "Sum over time (axis 0), mean over episodes, and a minus sign: an optimizer descends.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=(
        "pgcourse.returns.to_go",
        "pgcourse.gradients.score_surrogate",
        "pgcourse.algorithms.vanilla",
        "pgcourse.algorithms.reinforce",
    ),
)

TASKS = (
    REWARD_TO_GO,
    THREE_BASELINES,
    OPTIMAL_CONSTANT,
    LEAVE_ONE_OUT_MEANS,
    FITTED_VALUE,
    TD_VALUE_LOSS,
    VANILLA_LOSS,
)
