"""Tasks of lecture 07: advantages, ends of episodes, critics, and the step of an online actor-critic."""

import math

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable, uniform

_FORBIDDEN = (
    "pgcourse.returns.td_error",
    "pgcourse.returns.n_step",
    "pgcourse.returns.gae",
    "pgcourse.returns.lambda_return",
    "pgcourse.returns.backward_sum",
    "pgcourse.algorithms.a2c",
    "pgcourse.algorithms.online_actor_critic",
)


def _rows(generator, steps, environments, tidy=lambda x: x):
    """reward, value, next_value, terminated, truncated, each [T, E], of episodes that follow one another.

    Within an episode next_value is the value of the next row; where one ends it is that of the state it ended in, which no row
    shows. Both kinds of ends occur before the last row where there is room: the columns take turns.
    """
    reward, value, end_value = (tidy(normal(generator, steps, environments) + shift) for shift in (0.5, 1.0, 2.0))
    terminated, truncated = (torch.rand(2, steps, environments, generator=generator) < 0.15).unbind()
    truncated = truncated & ~terminated
    middle = (steps - 1) // 2
    for column in range(environments):
        terminated[middle, column], truncated[middle, column] = column % 2 == 0, column % 2 == 1
    # one column, then, has an end of the other kind, and the first runs on beyond the last row
    if steps > 3:
        terminated[middle + 1, 0], truncated[middle + 1, 0] = False, True
        terminated[-1, 0] = truncated[-1, 0] = False
    done = terminated | truncated
    following = torch.cat([value[1:], end_value[-1:]])
    return reward, value, torch.where(done, end_value, following), terminated, truncated


def _as_numbers(*tensors):
    return [tensor.tolist() for tensor in tensors]


# ----------------------------------------------------------------------------------------------------------------------
# 07.td_errors


def td_errors(reward, value, next_value, terminated, truncated, discount):
    """TD errors, delta_t = r_t + discount V(s_{t+1}) - V(s_t), of episodes that follow one another.

    reward, value, next_value: [T, E]; value is V(s_t), next_value is V of the state that followed, before any new episode.
    terminated: [T, E], true where the world ended: what follows is worth 0, whatever next_value says. truncated: [T, E], true
    where the episode was only cut off. discount: a number in [0, 1]. Returns [T, E].
    """
    return reward + discount * next_value * ~terminated - value


def _td_errors_with_where(reward, value, next_value, terminated, truncated, discount):
    ahead = torch.where(terminated, torch.zeros_like(next_value), next_value)
    return (reward - value).add(ahead, alpha=discount)


def _td_errors_in_loops(reward, value, next_value, terminated, truncated, discount):
    delta = torch.empty_like(reward)
    for t in range(reward.shape[0]):
        for e in range(reward.shape[1]):
            future = 0.0 if terminated[t, e] else discount * next_value[t, e]
            delta[t, e] = reward[t, e] + future - value[t, e]
    return delta


def _td_errors_oracle(reward, value, next_value, terminated, truncated, discount):
    columns = zip(*(tensor.flatten().tolist() for tensor in (reward, value, next_value, terminated)), strict=True)
    errors = [math.fsum((r, 0.0 if over else discount * ahead, -v)) for r, v, ahead, over in columns]
    return torch.tensor(errors, dtype=reward.dtype).reshape(reward.shape)


def _td_errors_cases(generator):
    inputs = [(*_rows(generator, t, e, readable), d) for t, e, d in ((2, 2, 0.5), (4, 2, 0.9), (5, 3, 0.5))]
    inputs += [(*_rows(generator, t, e), d) for t, e, d in ((9, 4, 0.9), (6, 5, 0.7))]
    return cases(_td_errors_oracle, inputs)


def _next_row(value):
    """V of the next row; 0 after the last."""
    return torch.cat([value[1:], torch.zeros_like(value[:1])])


TD_ERRORS = Task(
    id="07.td_errors",
    title="TD errors",
    signature=(
        "td_errors(reward [T, E], value [T, E], next_value [T, E], terminated [T, E], truncated [T, E], discount) "
        "-> delta [T, E]"
    ),
    reference=td_errors,
    stages=(Exact(1, _td_errors_cases),),
    alternatives=(_td_errors_with_where, _td_errors_in_loops),
    mistakes=(
        Mistake(
            "cut off taken for ended",
            lambda r, v, n, ended, cut, discount: r + discount * n * ~(ended | cut) - v,
            "You drop the future of episodes that were only cut off: where truncated is true the world goes on, unseen, and "
            "next_value says what it is worth.",
            "AC01; Toni-SM/skrl#449",
        ),
        Mistake(
            "looks past the end",
            lambda r, v, n, ended, cut, discount: r + discount * n - v,
            "You bootstrap past the end: where terminated is true nothing follows, and next_value must not count.",
            "AC02",
        ),
        Mistake(
            "the two ends exchanged",
            lambda r, v, n, ended, cut, discount: r + discount * n * ~cut - v,
            "You drop the future where truncated is true and keep it where terminated is: it is the other way round.",
            "AC01",
        ),
        Mistake(
            "mask on the wrong term",
            lambda r, v, n, ended, cut, discount: r + ~ended * (discount * n - v),
            "At an end you do not subtract V(s_t) either: dying is then always a good surprise. Only next_value drops out.",
            "AC08; AI4Finance ElegantRL#183",
        ),
        Mistake(
            "loses the last reward",
            lambda r, v, n, ended, cut, discount: (r + discount * n) * ~ended - v,
            "At an end you lose the reward too; it was paid. Only what follows drops out.",
        ),
        Mistake(
            "value of the next row",
            lambda r, v, n, ended, cut, discount: r + discount * _next_row(v) * ~ended - v,
            "You take V of the next row for V(s_{t+1}): after a cut that row belongs to another episode, and the last row has "
            "none. next_value is there for that.",
        ),
        Mistake(
            "value of the next row where there is one",
            lambda r, v, n, ended, cut, discount: r + discount * torch.cat([v[1:], n[-1:]]) * ~ended - v,
            "You take V of the next row for V(s_{t+1}): after a cut that row belongs to another episode. next_value is there "
            "for that, in every row.",
        ),
        Mistake(
            "sign",
            lambda r, v, n, ended, cut, discount: v - r - discount * n * ~ended,
            "You have the sign reversed: what came, minus what was expected.",
            "SF01",
        ),
        Mistake(
            "forgets the discount",
            lambda r, v, n, ended, cut, discount: r + n * ~ended - v,
            "You forget the discount in front of next_value.",
        ),
        Mistake(
            "discounts the reward",
            lambda r, v, n, ended, cut, discount: discount * (r + n * ~ended) - v,
            "You discount the reward as well; it is paid in this step, so it counts fully.",
        ),
        Mistake(
            "forgets the reward",
            lambda r, v, n, ended, cut, discount: discount * n * ~ended - v,
            "You leave out the reward.",
        ),
        Mistake(
            "returns the target",
            lambda r, v, n, ended, cut, discount: r + discount * n * ~ended,
            "You return what came, r + discount V(s'); what was expected, V(s), is to be subtracted.",
        ),
        Mistake(
            "terminated the wrong way round",
            lambda r, v, n, ended, cut, discount: r + discount * n * ended - v,
            "You have terminated the wrong way round: ~terminated is true where the world goes on.",
        ),
        Mistake(
            "discounts the present",
            lambda r, v, n, ended, cut, discount: r + n * ~ended - discount * v,
            "The discount belongs to V of the state that follows, not to V(s_t).",
        ),
    ),
    hints=(
        "Three terms: the reward, what is expected from the next state, and minus what was expected from this one.",
        "~terminated multiplies like zeros and ones.",
        "Which of the two kinds of ends has no future? The other one needs nothing done about it.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 07.n_step_returns


def n_step_returns(reward, next_value, terminated, truncated, discount, steps):
    """n-step returns, r_t + discount r_{t+1} + ... + discount^(n-1) r_{t+n-1} + discount^n V(s_{t+n}), with n = steps.

    reward, next_value: [T, E]; next_value[t] is V(s_{t+1}), before any new episode. The sum stops early, and V of the state
    that followed comes after its last reward: where the episode was cut off (truncated, [T, E]) and at the last row. Where the
    world ended (terminated, [T, E]) it stops as well, and nothing comes after it. discount: a number in [0, 1]; steps: a whole
    number >= 1. Returns [T, E].
    """
    done = terminated | truncated
    G = torch.zeros_like(reward)
    for t in range(len(reward)):
        last = min(t + steps, len(reward)) - 1
        following = next_value[last] * ~terminated[last]
        for k in range(last, t - 1, -1):
            following = reward[k] + discount * torch.where(done[k], next_value[k] * ~terminated[k], following)
        G[t] = following
    return G


def _n_step_returns_by_rounds(reward, next_value, terminated, truncated, discount, steps):
    """One reward more in each round."""
    stop = torch.where(terminated, 0.0, next_value)
    ahead = stop
    for _ in range(steps - 1):
        longer = torch.cat([(reward + discount * ahead)[1:], stop[-1:]])
        ahead = torch.where(terminated | truncated, stop, longer)
    return reward + discount * ahead


def _n_step_returns_by_terms(reward, next_value, terminated, truncated, discount, steps):
    G = torch.zeros_like(reward)
    for t in range(reward.shape[0]):
        alive = torch.ones_like(terminated[t])
        for k in range(t, min(t + steps, reward.shape[0])):
            G[t] += discount ** (k - t) * reward[k] * alive
            stops = terminated[k] | truncated[k] | (k == min(t + steps, reward.shape[0]) - 1)
            G[t] += discount ** (k - t + 1) * next_value[k] * (alive & stops & ~terminated[k])
            alive = alive & ~stops
    return G


def _n_step(
    reward,
    next_value,
    terminated,
    truncated,
    discount,
    steps,
    ended=None,
    stops=None,
    extra=0,
    power=0,
    full_power=False,
    bootstrap=True,
    tail=True,
    per_reward=None,
    at=None,
):
    """By terms, in Python numbers, with things that can be changed; as it stands it is right.

    ended: where nothing follows. stops: where the sum stops. extra: rewards more than ``steps``. power: added to that of the
    discount in front of V. full_power: that power is ``steps``, however few rewards there were. bootstrap, tail: whether V
    comes at all, and after the last row. per_reward: the rewards' discount. at: which V.
    """
    ended = terminated if ended is None else ended
    stops = (terminated | truncated) if stops is None else stops
    factor = discount if per_reward is None else per_reward
    r, v, ended, stops = _as_numbers(reward, next_value, ended, stops)
    G, rows = torch.zeros_like(reward), len(reward)
    for t in range(rows):
        for e in range(reward.shape[1]):
            terms, full = [], min(t + steps + extra, rows)
            k = t
            while k < full:
                terms.append(factor ** (k - t) * r[k][e])
                if stops[k][e]:
                    k += 1
                    break
                k += 1
            last = k - 1
            if last < t:  # no reward at all
                G[t, e] = 0.0
                continue
            by_tail = last == rows - 1 and not stops[last][e] and k - t < steps + extra
            if bootstrap and not ended[last][e] and (tail or not by_tail):
                place = last if at is None else at(t, last)
                terms.append(discount ** (steps if full_power else k - t + power) * v[place][e])
            G[t, e] = math.fsum(terms)
    return G


def _n_step_returns_oracle(reward, next_value, terminated, truncated, discount, steps):
    return _n_step(reward, next_value, terminated, truncated, discount, steps)


def _n_step_returns_cases(generator):
    def draw(steps, environments, discount, n, tidy=lambda x: x):
        reward, _, next_value, terminated, truncated = _rows(generator, steps, environments, tidy)
        return reward, next_value, terminated, truncated, discount, n

    inputs = [draw(4, 2, 0.5, 2, readable), draw(5, 2, 0.5, 1, readable), draw(5, 3, 0.9, 3, readable)]
    inputs += [draw(10, 4, 0.9, 3), draw(9, 5, 0.7, 2), draw(7, 3, 0.8, 20)]
    return cases(_n_step_returns_oracle, inputs)


def _never(x):
    return torch.zeros_like(x)


N_STEP_RETURNS = Task(
    id="07.n_step_returns",
    title="n-step returns",
    signature=(
        "n_step_returns(reward [T, E], next_value [T, E], terminated [T, E], truncated [T, E], discount, steps) -> G [T, E]"
    ),
    reference=n_step_returns,
    stages=(Exact(2, _n_step_returns_cases),),
    alternatives=(_n_step_returns_by_rounds, _n_step_returns_by_terms),
    mistakes=(
        Mistake(
            "V discounted once too little",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, power=-1),
            "V(s_{t+n}) comes n steps later, so it is discounted by discount^n; you have discount^(n-1), the last reward's.",
            "AC14",
        ),
        Mistake(
            "V discounted once too often",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, power=1),
            "After n rewards V is discounted by discount^n; you have discount^(n+1).",
            "AC14",
        ),
        Mistake(
            "V discounted by n steps after fewer rewards",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, full_power=True),
            "Where the sum stops early you still discount V by discount^n. V comes after the last reward counted: one power of "
            "the discount for each reward.",
            "AC14",
        ),
        Mistake(
            "one reward too many",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, extra=1),
            "You add up n + 1 rewards: those of the steps t to t + n - 1 count.",
            "AC14",
        ),
        Mistake(
            "no V at all",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, bootstrap=False),
            "You add up n rewards and stop there: what follows is worth V, discounted.",
        ),
        Mistake(
            "cut off taken for ended",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, ended=ended | cut),
            "Where an episode was cut off you let nothing follow. It goes on unseen: V of the state that followed counts.",
            "AC01",
        ),
        Mistake(
            "looks past the end",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, ended=_never(ended)),
            "You bootstrap past the end: where terminated is true the sum stops and no V comes after it.",
            "AC02",
        ),
        Mistake(
            "runs on into the next episode",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, stops=_never(cut), ended=_never(cut)),
            "Your sums run on into the next episode: both kinds of ends stop them.",
        ),
        Mistake(
            "runs on after a cut",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, stops=ended),
            "Where an episode is cut off your sum runs on into the next one: a cut stops the sum, only V comes after it.",
        ),
        Mistake(
            "nothing after the last row",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, tail=False),
            "Sums that run into the last row lose their future: the episode goes on, so V of the state that followed counts.",
        ),
        Mistake(
            "no V in the last row",
            lambda r, v, ended, cut, d, n: _n_step(r, torch.cat([v[:-1], 0 * v[-1:]]), ended, cut, d, n),
            "Sums that use the last row's reward get no V after it, as if the world ended with the batch. next_value[-1] is "
            "there for them.",
        ),
        Mistake(
            "forgets the discount of the rewards",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, per_reward=1.0),
            "You add up the rewards without discounting them.",
        ),
        Mistake(
            "forgets the discount",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, 1.0, n),
            "You forget the discount.",
        ),
        Mistake(
            "V of the first step",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, n, at=lambda t, last: t),
            "You take V of the state after the first reward; after n rewards it is the state they led to, s_{t+n}.",
        ),
        Mistake(
            "always to the end",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, len(r)),
            "Your sums go on to the end of the episode or batch, whatever steps says.",
        ),
        Mistake(
            "always one step",
            lambda r, v, ended, cut, d, n: _n_step(r, v, ended, cut, d, 1),
            "You look one step ahead only, whatever steps says.",
        ),
        Mistake(
            "time and environment swapped",
            lambda r, v, ended, cut, d, n: _n_step(r.T, v.T, ended.T, cut.T, d, n).T,
            "You go along the environments; time is axis 0.",
            "SF09",
        ),
    ),
    hints=(
        "For each t: which is the last step whose reward may count at most? It is t + steps - 1, or the last row.",
        "From there go backward to t: what follows step k is the sum so far or, where the episode is done, V or nothing.",
        "torch.where(done[k], next_value[k] * ~terminated[k], following) says just that.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 07.generalised_advantages


def generalised_advantages(reward, value, next_value, terminated, truncated, discount, trace_decay):
    """GAE, A_t = delta_t + (discount lambda) delta_{t+1} + (discount lambda)^2 delta_{t+2} + ..., with lambda = trace_decay.

    reward, value, next_value, terminated, truncated: [T, E], as in td_errors: delta_t has no future where terminated is true.
    The sum goes up to the end of the episode that step t belongs to, whether it ended or was cut off, or to the last row.
    discount, trace_decay: numbers in [0, 1]. Returns [T, E].
    """
    delta = reward + discount * next_value * ~terminated - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        goes_on = ~(terminated[t] | truncated[t])
        advantage[t] = following = delta[t] + discount * trace_decay * (following * goes_on)
    return advantage


def _generalised_advantages_by_matrix(reward, value, next_value, terminated, truncated, discount, trace_decay):
    """W[t, k] = (discount lambda)^(k - t) where steps t <= k belong to one episode."""
    done = terminated | truncated
    number = torch.cumsum(done.long(), 0) - done.long()
    age = torch.arange(len(done))[None] - torch.arange(len(done))[:, None]
    decay = torch.tensor(discount * trace_decay, dtype=reward.dtype)
    weight = torch.where(age >= 0, decay ** age.clamp(min=0), 0.0)[..., None] * (number[:, None] == number[None])
    delta = reward + torch.where(terminated, 0.0, discount * next_value) - value
    return (weight * delta[None]).sum(1)


def _generalised_advantages_by_returns(reward, value, next_value, terminated, truncated, discount, trace_decay):
    """The lambda-return backward, minus V."""
    G, rows = None, []
    for r, n, ended, cut in zip(*(x.flip(0) for x in (reward, next_value, terminated, truncated)), strict=True):
        ahead = n if G is None else torch.where(cut, n, (1 - trace_decay) * n + trace_decay * G)
        G = r + discount * torch.where(ended, 0.0, ahead)
        rows.append(G)
    return torch.stack(rows).flip(0) - value


def _generalised_advantages_oracle(reward, value, next_value, terminated, truncated, discount, trace_decay):
    """The definition: deltas added up from each step forward until an end."""
    r, v, n, ended, cut = _as_numbers(reward, value, next_value, terminated, truncated)
    A = torch.zeros_like(reward)
    for t in range(len(r)):
        for e in range(len(r[0])):
            terms = []
            for k in range(t, len(r)):
                delta = r[k][e] + (0.0 if ended[k][e] else discount * n[k][e]) - v[k][e]
                terms.append((discount * trace_decay) ** (k - t) * delta)
                if ended[k][e] or cut[k][e]:
                    break
            A[t, e] = math.fsum(terms)
    return A


def _generalised_advantages_cases(generator):
    draw = ((4, 2, 0.5, 0.5), (5, 2, 0.9, 0.5), (4, 3, 0.5, 1.0), (5, 2, 0.5, 0.0))
    inputs = [(*_rows(generator, t, e, readable), d, decay) for t, e, d, decay in draw]
    inputs += [(*_rows(generator, t, e), d, decay) for t, e, d, decay in ((12, 4, 0.9, 0.8), (9, 5, 0.7, 0.6))]
    return cases(_generalised_advantages_oracle, inputs)


def _gae(delta=None, goes_on=None, decay=None, weigh=lambda A, decay: A):
    """GAE with one thing changed; as it stands it is right."""
    delta = delta or (lambda r, v, n, ended, cut, d: r + d * n * ~ended - v)
    goes_on = goes_on or (lambda ended, cut: ~(ended | cut))
    decay = decay or (lambda d, trace_decay: d * trace_decay)

    def advantages(r, v, n, ended, cut, d, trace_decay):
        deltas, on = delta(r, v, n, ended, cut, d), goes_on(ended, cut)
        A, following = torch.zeros_like(r), torch.zeros_like(r[0])
        for t in reversed(range(len(r))):
            A[t] = following = deltas[t] + decay(d, trace_decay) * (following * on[t])
        return weigh(A, trace_decay)

    return advantages


def _earlier(x):
    """The row after each; the last one twice."""
    return torch.cat([x[1:], x[-1:]])


def _later(x):
    """The row before each; the first is nothing."""
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def _past_deltas(r, v, n, ended, cut, d, trace_decay):
    done = _later(ended | cut)
    before = _gae(lambda *x: x[0], lambda e, c: ~c)
    delta = r + d * n * ~ended - v
    # the recursion run forward is the backward one on rows turned round
    turned = before(*(x.flip(0) for x in (delta, v, n, ended, done)), d, trace_decay)
    return turned.flip(0)


GENERALISED_ADVANTAGES = Task(
    id="07.generalised_advantages",
    title="Generalised advantage estimation",
    signature=(
        "generalised_advantages(reward [T, E], value [T, E], next_value [T, E], terminated [T, E], truncated [T, E], discount, "
        "trace_decay) -> advantage [T, E]"
    ),
    reference=generalised_advantages,
    stages=(Exact(3, _generalised_advantages_cases),),
    alternatives=(_generalised_advantages_by_matrix, _generalised_advantages_by_returns),
    mistakes=(
        Mistake(
            "cut off taken for ended",
            _gae(lambda r, v, n, ended, cut, d: r + d * n * ~(ended | cut) - v),
            "Where an episode was cut off you drop its future: next_value counts there, only the sum stops.",
            "AC01; jsboige/CoursIA#7825",
        ),
        Mistake(
            "looks past the end",
            _gae(lambda r, v, n, ended, cut, d: r + d * n - v),
            "You bootstrap past the end: delta has no next_value where terminated is true.",
            "AC02",
        ),
        Mistake(
            "the sum runs over a cut",
            _gae(goes_on=lambda ended, cut: ~ended),
            "Your sum runs on after a cut: the next row is another episode, whose surprises are none of this action's.",
        ),
        Mistake(
            "the sum runs over an end",
            _gae(goes_on=lambda ended, cut: ~cut),
            "Your sum runs on after an end: the next row is another episode.",
        ),
        Mistake(
            "runs on into the next episode",
            _gae(goes_on=lambda ended, cut: torch.ones_like(cut)),
            "Your sums run on into the next episode: both kinds of ends stop them.",
        ),
        Mistake(
            "cuts one step early",
            _gae(goes_on=lambda ended, cut: ~_earlier(ended | cut)),
            "You cut one step early: the flags of row t say that t is the last step of its episode, so it is A_t that takes "
            "nothing from A_{t+1}; you look at row t + 1.",
            "AC07; hill-a/stable-baselines#385",
        ),
        Mistake(
            "cuts one step late",
            _gae(goes_on=lambda ended, cut: ~_later(ended | cut)),
            "You cut one step late: it is A_t that takes nothing from A_{t+1} where row t is done; you look at row t - 1.",
            "AC07",
        ),
        Mistake(
            "mask on the wrong term",
            _gae(lambda r, v, n, ended, cut, d: r + ~ended * (d * n - v)),
            "At an end you do not subtract V(s_t) either: dying is then always a good surprise. Only next_value drops out.",
            "AC08; AI4Finance ElegantRL#183",
        ),
        Mistake(
            "trace without the discount",
            _gae(decay=lambda d, trace_decay: trace_decay),
            "Your sum decays by lambda alone; each step back costs discount times lambda.",
        ),
        Mistake(
            "trace without lambda",
            _gae(decay=lambda d, trace_decay: d),
            "Your sum decays by the discount alone; each step back costs discount times lambda.",
        ),
        Mistake(
            "delta without the discount",
            _gae(lambda r, v, n, ended, cut, d: r + n * ~ended - v),
            "You forget the discount in front of next_value; the trace has its own.",
        ),
        Mistake(
            "only delta",
            _gae(decay=lambda d, trace_decay: 0.0),
            "You return the TD errors themselves: those of later steps count too, with powers of discount times lambda.",
        ),
        Mistake(
            "the lambda-return",
            lambda r, v, n, ended, cut, d, trace_decay: _gae()(r, v, n, ended, cut, d, trace_decay) + v,
            "You return A_t + V(s_t), the critic's target; the advantage alone is asked for.",
        ),
        Mistake(
            "(1 - lambda) in front",
            _gae(weigh=lambda A, trace_decay: (1 - trace_decay) * A),
            "You multiply by 1 - lambda. It belongs to the mixture of n-step estimates; in the sum of TD errors it cancels.",
        ),
        Mistake(
            "adds up the past",
            _past_deltas,
            "You add up the errors before each step; the action answers for what comes after it. Go through time backward.",
        ),
        Mistake(
            "rewards in the place of errors",
            _gae(lambda r, v, n, ended, cut, d: r),
            "You add up rewards; it is the TD errors that are added up.",
        ),
        Mistake(
            "value of the next row",
            _gae(lambda r, v, n, ended, cut, d: r + d * _next_row(v) * ~ended - v),
            "You take V of the next row for V(s_{t+1}): after a cut that row belongs to another episode, and the last row has "
            "none. next_value is there for that.",
        ),
        Mistake(
            "time and environment swapped",
            lambda r, v, n, ended, cut, d, trace_decay: _gae()(r.T, v.T, n.T, ended.T, cut.T, d, trace_decay).T,
            "You go along the environments; time is axis 0.",
            "SF09",
        ),
    ),
    hints=(
        "First all TD errors: your td_errors is a line.",
        "Go through time backward: A_t is delta_t and discount * lambda times A_{t+1}.",
        "Where row t is the last of its episode, of either kind, A_{t+1} belongs to another one: multiply it by zero.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 07.critic_target


def critic_target(reward, next_q, next_probability, terminated, discount):
    """What a critic of actions, Q(s, a), should say: r + discount sum_a' pi(a' | s') Q(s', a').

    reward: [N]. next_q: [N, A], what the critic says of every action in the state that followed. next_probability: [N, A],
    pi(a' | s'), how likely the policy takes each. terminated: [N], true where the world ended and nothing follows. discount: a
    number in [0, 1]. Returns [N]: the value of *this policy*, not of the best one.
    """
    following = (next_probability * next_q).sum(1)
    return reward + discount * following * ~terminated


def _critic_target_by_einsum(reward, next_q, next_probability, terminated, discount):
    following = torch.einsum("na,na->n", next_probability, next_q)
    return torch.where(terminated, reward, reward + discount * following)


def _critic_target_in_loops(reward, next_q, next_probability, terminated, discount):
    target = reward.clone()
    for n in range(len(reward)):
        if not terminated[n]:
            target[n] += discount * sum(p * q for p, q in zip(next_probability[n], next_q[n], strict=True))
    return target


def _critic_target_oracle(reward, next_q, next_probability, terminated, discount):
    targets = []
    for r, q, p, over in zip(*_as_numbers(reward, next_q, next_probability, terminated), strict=True):
        targets.append(math.fsum([r, *([] if over else [discount * a * b for a, b in zip(p, q, strict=True)])]))
    return torch.tensor(targets, dtype=reward.dtype)


def _critic_target_cases(generator):
    def draw(count, actions, discount, tidy=lambda x: x):
        weight = uniform(generator, 0.2, 1, count, actions)
        weight = (10 * weight / weight.sum(1, keepdim=True)).round().clamp(min=1) if tidy is readable else weight
        probability = weight / weight.sum(1, keepdim=True)
        terminated = torch.arange(count) % 3 == 1
        return tidy(normal(generator, count)), tidy(normal(generator, count, actions) + 1), probability, terminated, discount

    inputs = [draw(2, 3, 0.5, readable), draw(3, 2, 0.9, readable), draw(4, 4, 0.5, readable)]
    return cases(_critic_target_oracle, [*inputs, draw(7, 3, 0.9), draw(5, 6, 0.7)])


CRITIC_TARGET = Task(
    id="07.critic_target",
    title="The target of a Q critic",
    signature="critic_target(reward [N], next_q [N, A], next_probability [N, A], terminated [N], discount) -> target [N]",
    reference=critic_target,
    stages=(Exact(1, _critic_target_cases),),
    alternatives=(_critic_target_by_einsum, _critic_target_in_loops),
    mistakes=(
        Mistake(
            "the best action's value",
            lambda r, q, p, ended, d: r + d * q.amax(1) * ~ended,
            "You take the maximum over the next actions: that is the value of a policy nobody follows. Average over what the "
            "policy does.",
        ),
        Mistake(
            "the likeliest action's value",
            lambda r, q, p, ended, d: r + d * q.gather(1, p.argmax(1, keepdim=True))[:, 0] * ~ended,
            "You take the value of the policy's likeliest action; it takes the others too, each with its probability.",
        ),
        Mistake(
            "all actions alike",
            lambda r, q, p, ended, d: r + d * q.mean(1) * ~ended,
            "You average over the actions as if each were as likely; weigh them with next_probability.",
        ),
        Mistake(
            "sum without probabilities",
            lambda r, q, p, ended, d: r + d * q.sum(1) * ~ended,
            "You add up the values of all actions; weigh each with its probability.",
        ),
        Mistake(
            "mean of the products",
            lambda r, q, p, ended, d: r + d * (p * q).mean(1) * ~ended,
            "You divide by the number of actions; the probabilities sum to 1 already.",
        ),
        Mistake(
            "looks past the end",
            lambda r, q, p, ended, d: r + d * (p * q).sum(1),
            "You bootstrap past the end: where terminated is true the target is the reward alone.",
            "AC02",
        ),
        Mistake(
            "loses the last reward",
            lambda r, q, p, ended, d: (r + d * (p * q).sum(1)) * ~ended,
            "At an end your target is 0; the reward was paid. Only what follows drops out.",
            "AC08",
        ),
        Mistake(
            "terminated the wrong way round",
            lambda r, q, p, ended, d: r + d * (p * q).sum(1) * ended,
            "You have terminated the wrong way round: ~terminated is true where the world goes on.",
        ),
        Mistake(
            "forgets the discount",
            lambda r, q, p, ended, d: r + (p * q).sum(1) * ~ended,
            "You forget the discount.",
        ),
        Mistake(
            "discounts the reward",
            lambda r, q, p, ended, d: d * (r + (p * q).sum(1) * ~ended),
            "You discount the reward as well; it is paid in this step, so it counts fully.",
        ),
        Mistake(
            "forgets the reward",
            lambda r, q, p, ended, d: d * (p * q).sum(1) * ~ended,
            "You leave out the reward.",
        ),
        Mistake(
            "sums over the batch",
            lambda r, q, p, ended, d: r + d * (p * q).sum() * ~ended,
            "You sum over the batch as well: each row has its own next state. Sum over axis 1.",
            "SF09",
        ),
        Mistake(
            "a column and a row",
            lambda r, q, p, ended, d: r + d * (p * q).sum(1, keepdim=True) * ~ended,
            "Your result is [N, N]: a column [N, 1] was added to a row [N]. Sum over axis 1 without keepdim.",
            "AC16",
        ),
        Mistake(
            "softmax of the values",
            lambda r, q, p, ended, d: r + d * (q.softmax(1) * q).sum(1) * ~ended,
            "You weigh the actions by a softmax of their values; the policy says how likely they are: next_probability.",
        ),
    ),
    hints=(
        "First the value of the next state under the policy, V(s') = sum_a' pi(a'|s') Q(s', a'): [N].",
        "(next_probability * next_q) is [N, A]; its sum over axis 1 is [N].",
        "Where terminated is true the target is the reward.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

# ----------------------------------------------------------------------------------------------------------------------
# 07.online_step


def online_step(theta, phi, score, feature, next_feature, reward, terminated, discount, step_size, value_step_size):
    """One step of an online actor-critic, with a critic that is linear: V(s) = phi . feature(s).

    theta: [P], the actor's parameters; score: [P], grad log pi(a | s) of the action taken. phi: [F], the critic's parameters;
    feature, next_feature: [F], of s and of s'. reward: a number. terminated: true where the world ended with this step.

        delta = reward + discount V(s') - V(s),    V(s') = 0 at an end
        theta <- theta + step_size delta score,    phi <- phi + value_step_size delta grad_phi V(s)

    Both steps use the same delta, of the critic as it was. Returns (new theta [P], new phi [F]); the old ones stay as they are.
    """
    ahead = 0.0 if terminated else discount * (phi @ next_feature)
    delta = reward + ahead - phi @ feature
    return theta + step_size * delta * score, phi + value_step_size * delta * feature


def _online_step_by_sums(theta, phi, score, feature, next_feature, reward, terminated, discount, step_size, value_step_size):
    target = reward + discount * (1 - float(terminated)) * (phi * next_feature).sum()
    delta = target - (phi * feature).sum()
    return theta.add(score, alpha=float(step_size * delta)), phi.add(feature, alpha=float(value_step_size * delta))


def _online_step_by_autograd(
    theta, phi, score, feature, next_feature, reward, terminated, discount, step_size, value_step_size
):
    weights = phi.detach().clone().requires_grad_()
    with torch.no_grad():
        target = reward + (0.0 if terminated else discount) * torch.dot(weights, next_feature)
    value = torch.dot(weights, feature)
    (slope,) = torch.autograd.grad(0.5 * (target - value) ** 2, weights)
    return theta + step_size * (target - value).detach() * score, phi - value_step_size * slope


def _online_step_oracle(theta, phi, score, feature, next_feature, reward, terminated, discount, step_size, value_step_size):
    """In Python numbers, every sum correctly rounded."""
    t, p, g, x, y = _as_numbers(theta, phi, score, feature, next_feature)
    ahead = [] if terminated else [discount * a * b for a, b in zip(p, y, strict=True)]
    delta = math.fsum([reward, *ahead, *(-a * b for a, b in zip(p, x, strict=True))])
    new_theta = [a + step_size * delta * b for a, b in zip(t, g, strict=True)]
    new_phi = [a + value_step_size * delta * b for a, b in zip(p, x, strict=True)]
    return torch.tensor(new_theta, dtype=theta.dtype), torch.tensor(new_phi, dtype=phi.dtype)


def _online_step_cases(generator):
    def draw(parameters, features, terminated, discount, tidy=lambda x: x):
        shapes = (parameters, features, parameters, features, features)
        theta, phi, score, feature, next_feature = (tidy(normal(generator, size)) for size in shapes)
        reward = float(tidy(normal(generator, 1) + 1.0))
        return theta, phi, score, feature, next_feature, reward, terminated, discount, 0.5, 0.2

    inputs = [draw(2, 3, False, 0.5, readable), draw(2, 3, True, 0.5, readable), draw(3, 2, False, 0.9, readable)]
    inputs += [draw(5, 4, False, 0.9), draw(4, 6, True, 0.7), draw(3, 5, False, 0.8)]
    return cases(_online_step_oracle, inputs)


def _online(
    delta=lambda r, ahead, V, d: r + d * ahead - V,
    actor=lambda theta, step: theta + step,
    critic=lambda phi, step: phi + step,
    direction=lambda x, y, d, ended: x,
    pull=lambda delta, r, V, d, ahead: delta,
    ends=True,
    again=False,
    swapped=False,
):
    """The step with one thing changed; as it stands it is right."""

    def step(theta, phi, score, x, y, r, terminated, d, alpha, beta):
        if swapped:
            alpha, beta = beta, alpha
        on = 0.0 if terminated and ends else 1.0
        error = delta(r, on * (phi @ y), phi @ x, d)
        new_phi = critic(phi, beta * error * direction(x, y, d, terminated))
        if again:
            error = delta(r, on * (new_phi @ y), new_phi @ x, d)
        return actor(theta, alpha * pull(error, r, phi @ x, d, on * (phi @ y)) * score), new_phi

    return step


ONLINE_STEP = Task(
    id="07.online_step",
    title="The step of an online actor-critic",
    signature=(
        "online_step(theta [P], phi [F], score [P], feature [F], next_feature [F], reward, terminated, discount, step_size, "
        "value_step_size) -> new_theta [P], new_phi [F]"
    ),
    reference=online_step,
    stages=(Exact(3, _online_step_cases),),
    alternatives=(_online_step_by_sums, _online_step_by_autograd),
    mistakes=(
        Mistake(
            "gradient through the target",
            _online(direction=lambda x, y, d, ended: x - (0.0 if ended else d) * y),
            "You also move the critic at s', to meet its own target: delta's gradient goes through V(s') with you. The target "
            "is a number; only grad V(s) counts.",
            "AC11",
        ),
        Mistake(
            "delta again with the new critic",
            _online(again=True),
            "Your actor uses a delta computed after the critic's step, which is smaller: part of the surprise has been learned "
            "away. Both use the same delta.",
            "BL03",
        ),
        Mistake(
            "looks past the end",
            _online(ends=False),
            "You bootstrap past the end: with terminated true, delta is reward - V(s).",
            "AC02",
        ),
        Mistake(
            "forgets the discount",
            _online(delta=lambda r, ahead, V, d: r + ahead - V),
            "You forget the discount in front of V(s').",
        ),
        Mistake(
            "delta with the wrong sign",
            _online(delta=lambda r, ahead, V, d: V - r - d * ahead),
            "Your delta has the wrong sign: what came, minus what was expected. Now both walk away from what is good and true.",
            "SF01",
        ),
        Mistake(
            "the critic descends",
            _online(critic=lambda phi, step: phi - step),
            "Your critic moves away from the target: V(s) should rise where delta is positive.",
        ),
        Mistake(
            "the actor descends",
            _online(actor=lambda theta, step: theta - step),
            "Your actor steps against the score times delta: what went better than expected should become more likely.",
            "SF01",
        ),
        Mistake(
            "step sizes swapped",
            _online(swapped=True),
            "You have the step sizes swapped: step_size is the actor's, value_step_size the critic's.",
        ),
        Mistake(
            "the actor weighs by the reward",
            _online(pull=lambda delta, r, V, d, ahead: r),
            "Your actor weighs the score by the reward alone; what it led to, and what was expected, count too: delta.",
        ),
        Mistake(
            "the actor weighs by the target",
            _online(pull=lambda delta, r, V, d, ahead: r + d * ahead),
            "Your actor weighs the score by r + discount V(s'), without subtracting V(s): right on average, needlessly noisy. "
            "delta is asked for.",
        ),
        Mistake(
            "the actor weighs by V(s)",
            _online(pull=lambda delta, r, V, d, ahead: V),
            "Your actor weighs the score by V(s), which does not know what the action did; weigh it by delta.",
        ),
        Mistake(
            "the actor is not moved",
            _online(actor=lambda theta, step: theta),
            "You return theta as it was: the actor learns too, by step_size * delta * score.",
        ),
        Mistake(
            "the critic is not moved",
            _online(critic=lambda phi, step: phi),
            "You return phi as it was: the critic learns too, by value_step_size * delta * feature.",
        ),
        Mistake(
            "moves the critic at s'",
            _online(direction=lambda x, y, d, ended: y),
            "You move the critic along the feature of s'; it is the prediction at s that is corrected.",
        ),
        Mistake(
            "returns the steps",
            _online(actor=lambda theta, step: step, critic=lambda phi, step: step),
            "You return the steps; the new parameters are asked for, old ones plus steps.",
        ),
        Mistake(
            "forgets to subtract V(s)",
            _online(delta=lambda r, ahead, V, d: r + d * ahead),
            "Your delta lacks - V(s): a surprise is what came minus what was expected.",
        ),
    ),
    hints=(
        "phi @ feature is V(s), a number. At an end V(s') is 0.",
        "For a linear critic grad_phi V(s) is feature.",
        "Compute delta once, before anything moves; then both steps.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=_FORBIDDEN,
)

TASKS = (TD_ERRORS, N_STEP_RETURNS, GENERALISED_ADVANTAGES, CRITIC_TARGET, ONLINE_STEP)
