"""Tasks of lecture 01: policies and objectives."""

import itertools
import math
import statistics

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable, uniform


def _probability(generator, *shape):
    """Probabilities over the last axis, none near zero."""
    if shape[-1] == 2:  # with one decimal, for cases that are printed
        first = readable(uniform(generator, 0.1, 0.9, *shape[:-1]))
        return torch.stack([first, 1 - first], -1)
    weight = uniform(generator, 0.2, 1, *shape)
    return weight / weight.sum(-1, keepdim=True)


def _whole(generator, below, *shape):
    """Whole numbers 0 .. below - 1."""
    return torch.randint(below, shape, generator=generator)


def _valid(generator, steps, episodes):
    """[T, E], true during the first steps of each episode: one is as long as can be, another is not."""
    length = torch.randint(1, steps + 1, (episodes,), generator=generator)
    length[0], length[-1] = steps - 1, steps
    return torch.arange(steps)[:, None] < length


# ----------------------------------------------------------------------------------------------------------------------
# 01.trajectory_log_probability


def trajectory_log_probability(initial, transition, policy, state, action):
    """log p(tau) of E trajectories in an MDP whose tables are known: the world's terms and the policy's, by (1.1).

    initial: [S], p(s_0). transition: [S, A, S], p(s' | s, a) at [s, a, s']. policy: [S, A], pi(a | s).
    state: [T+1, E], s_0 ... s_T of each trajectory. action: [T, E], a_0 ... a_{T-1}. Both are whole numbers.
    Returns [E].
    """
    before, after = state[:-1], state[1:]
    chosen = policy[before, action]  # [T, E]
    moved = transition[before, action, after]  # [T, E]
    return initial[state[0]].log() + (chosen.log() + moved.log()).sum(0)


def _trajectory_log_probability_in_a_loop(initial, transition, policy, state, action):
    total = torch.log(initial[state[0]])
    for t in range(len(action)):
        total = total + torch.log(policy[state[t], action[t]])
        total = total + torch.log(transition[state[t], action[t], state[t + 1]])
    return total


def _trajectory_log_probability_of_a_product(initial, transition, policy, state, action):
    both = policy[:, :, None] * transition  # p(a, s' | s), [S, A, S]
    return (initial[state[0]] * both[state[:-1], action, state[1:]].prod(0)).log()


def _trajectory_log_probability_oracle(initial, transition, policy, state, action):
    """One trajectory after the other, with Python's numbers."""
    found = []
    for states, actions in zip(state.T.tolist(), action.T.tolist(), strict=True):
        factors = [initial[states[0]].item()]
        for s, a, after in zip(states, actions, states[1:], strict=False):
            factors += [policy[s, a].item(), transition[s, a, after].item()]
        found.append(math.fsum(math.log(factor) for factor in factors))
    return torch.tensor(found, dtype=initial.dtype)


def _trajectory_log_probability_cases(generator):
    inputs = []
    for s, a, t, e in ((2, 2, 2, 1), (2, 2, 3, 2), (6, 2, 3, 5), (5, 3, 6, 2), (3, 4, 1, 7)):
        world = _probability(generator, s), _probability(generator, s, a, s), _probability(generator, s, a)
        inputs.append((*world, _whole(generator, s, t + 1, e), _whole(generator, a, t, e)))
    return cases(_trajectory_log_probability_oracle, inputs)


def _terms(initial, transition, policy, state, action):
    """log p(s_0) [E], log pi(a_t | s_t) [T, E], log p(s_{t+1} | s_t, a_t) [T, E]."""
    before, after = state[:-1], state[1:]
    return initial[state[0]].log(), policy[before, action].log(), transition[before, action, after].log()


def _from_terms(combine):
    """A wrong solution that puts the right terms together wrongly."""
    return lambda *inputs: combine(*_terms(*inputs))


TRAJECTORY_LOG_PROBABILITY = Task(
    id="01.trajectory_log_probability",
    title="The log-probability of a trajectory",
    signature="trajectory_log_probability(initial [S], transition [S, A, S], policy [S, A], state [T+1, E], action [T, E]) "
    "-> log_probability [E]",
    reference=trajectory_log_probability,
    stages=(Exact(2, _trajectory_log_probability_cases),),
    alternatives=(_trajectory_log_probability_in_a_loop, _trajectory_log_probability_of_a_product),
    mistakes=(
        Mistake(
            "leaves out the start",
            _from_terms(lambda start, chosen, moved: (chosen + moved).sum(0)),
            "You leave out p(s_0): where a trajectory begins is a matter of chance, too.",
        ),
        Mistake(
            "leaves out the world",
            _from_terms(lambda start, chosen, moved: chosen.sum(0)),
            "You add up the policy's terms alone. How likely a trajectory is depends on the world as well: on where it begins "
            "and on where each action leads. (In lecture 04 the gradient will leave only yours.)",
        ),
        Mistake(
            "leaves out the moves",
            _from_terms(lambda start, chosen, moved: start + chosen.sum(0)),
            "You leave out p(s' | s, a): the same choices can lead along other states.",
        ),
        Mistake(
            "leaves out the policy",
            _from_terms(lambda start, chosen, moved: start + moved.sum(0)),
            "You leave out the policy: each action that was taken has a probability, pi(a_t | s_t).",
        ),
        Mistake(
            "policy of the next state",
            lambda initial, transition, policy, state, action: (
                initial[state[0]].log()
                + (policy[state[1:], action].log() + transition[state[:-1], action, state[1:]].log()).sum(0)
            ),
            "You look the action up in the row of the state it led to; it was chosen in s_t, so the row is state[:-1].",
        ),
        Mistake(
            "moves backwards",
            lambda initial, transition, policy, state, action: (
                initial[state[0]].log()
                + (policy[state[:-1], action].log() + transition[state[1:], action, state[:-1]].log()).sum(0)
            ),
            "You have the states of a move the wrong way round: transition[s, a, s'] begins with the state that is left.",
        ),
        Mistake(
            "forgets which action was taken",
            lambda initial, transition, policy, state, action: (
                initial[state[0]].log()
                + policy[state[:-1], action].log().sum(0)
                + (policy[:, :, None] * transition).sum(1)[state[:-1], state[1:]].log().sum(0)
            ),
            "Your moves are averaged over all actions; the action of each step is known, so it picks its row of transition.",
        ),
        Mistake(
            "start at every step",
            _from_terms(lambda start, chosen, moved: (start + chosen + moved).sum(0)),
            "You count p(s_0) once for each step: it stands outside the sum over time.",
        ),
        Mistake(
            "probability, not its logarithm",
            _from_terms(lambda start, chosen, moved: (start + (chosen + moved).sum(0)).exp()),
            "You return the probability; its logarithm is asked for. (After some hundred steps the probability itself is too "
            "small for a computer's numbers.)",
        ),
        Mistake(
            "mean over the steps",
            _from_terms(lambda start, chosen, moved: start + (chosen + moved).mean(0)),
            "You take the mean over the steps; probabilities of steps multiply, so their logarithms add up.",
        ),
        Mistake(
            "adds up probabilities",
            _from_terms(lambda start, chosen, moved: (start.exp() + (chosen.exp() + moved.exp()).sum(0)).log()),
            "You add up probabilities and take the logarithm then; it is the logarithms that add up.",
        ),
        Mistake(
            "last step missing",
            _from_terms(lambda start, chosen, moved: start + (chosen + moved)[:-1].sum(0)),
            "You leave out the last step: T actions were taken, and the last one led to s_T.",
        ),
        Mistake(
            "one number for all trajectories",
            _from_terms(lambda start, chosen, moved: start.sum() + (chosen + moved).sum()),
            "You sum over the trajectories too; each keeps its own log-probability, so only axis 0, time, is summed over.",
            "SF09",
        ),
        Mistake(
            "sign",
            _from_terms(lambda start, chosen, moved: -(start + (chosen + moved).sum(0))),
            "You return minus the log-probability; it is asked for as it is, below zero.",
        ),
    ),
    hints=(
        "By (1.1) the probability is a product: a factor for the start, two for each step. What is the logarithm of a product?",
        "state[:-1] are the states in which actions were taken, state[1:] those they led to; both are [T, E], like action.",
        "A table can be indexed with whole tensors: policy[state[:-1], action] is [T, E].",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.exact.trajectories",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 01.discounted_return


def discounted_return(reward, discount):
    """The return of E episodes of T steps: G = sum_t discount^t r_t, by (1.2).

    reward: [T, E], r_t of each episode. discount: a number from 0 to 1 (and 0^0 = 1).
    Returns [E].
    """
    t = torch.arange(len(reward), dtype=reward.dtype)
    return (discount ** t[:, None] * reward).sum(0)


def _discounted_return_backwards(reward, discount):
    G = torch.zeros_like(reward[0])
    for r in reward.flip(0):
        G = r + discount * G
    return G


def _discounted_return_as_product(reward, discount):
    weight = torch.tensor([discount**t for t in range(len(reward))], dtype=reward.dtype)
    return weight @ reward


def _discounted_return_oracle(reward, discount):
    """Every episode term by term, with Python's numbers."""
    returns = [math.fsum(discount**t * r for t, r in enumerate(column)) for column in reward.T.tolist()]
    return torch.tensor(returns, dtype=reward.dtype)


def _discounted_return_cases(generator):
    small = [(readable(normal(generator, t, e)), discount) for t, e, discount in ((2, 1, 0.5), (3, 2, 0.9))]
    large = [(normal(generator, t, e), discount) for t, e, discount in ((5, 3, 0.8), (7, 4, 1.0), (4, 6, 0.0), (12, 2, 0.95))]
    return cases(_discounted_return_oracle, small + large)


def _weighted(weight):
    """A wrong solution: the rewards summed with the weights weight(t, T, discount)."""

    def solution(reward, discount):
        t = torch.arange(len(reward), dtype=reward.dtype)[:, None]
        return (weight(t, len(reward), discount) * reward).sum(0)

    return solution


DISCOUNTED_RETURN = Task(
    id="01.discounted_return",
    title="The discounted return",
    signature="discounted_return(reward [T, E], discount) -> G [E]",
    reference=discounted_return,
    stages=(Exact(1, _discounted_return_cases),),
    alternatives=(_discounted_return_backwards, _discounted_return_as_product),
    mistakes=(
        Mistake(
            "no discount",
            lambda reward, discount: reward.sum(0),
            "You add up the rewards as they are; the one at step t counts discount ** t.",
        ),
        Mistake(
            "one step late",
            _weighted(lambda t, T, discount: discount ** (t + 1)),
            "Your first reward is discounted already: t counts from 0, and discount ** 0 is 1.",
        ),
        Mistake(
            "discounts from the end",
            _weighted(lambda t, T, discount: discount ** (T - 1 - t)),
            "Your exponents run the wrong way: the first reward counts in full and the last one least.",
            "SF04",
        ),
        Mistake(
            "same discount for all",
            _weighted(lambda t, T, discount: discount),
            "You multiply every reward by the same discount; it is raised to the power t.",
        ),
        Mistake(
            "discounts all but the first alike",
            _weighted(lambda t, T, discount: torch.where(t == 0, 1.0, discount)),
            "You discount every reward but the first by the same factor; it is raised to the power t, step by step.",
        ),
        Mistake(
            "divides by the weights",
            lambda reward, discount: (
                _weighted(lambda t, T, discount: discount**t)(reward, discount) / sum(discount**t for t in range(len(reward)))
            ),
            "You divide by the sum of the weights: that is a mean reward. The return is a sum.",
        ),
        Mistake(
            "mean over time",
            lambda reward, discount: _weighted(lambda t, T, discount: discount**t)(reward, discount) / len(reward),
            "You take the mean over time; the return is a sum.",
        ),
        Mistake(
            "first reward missing",
            _weighted(lambda t, T, discount: (t > 0) * discount ** (t - 1).clamp(min=0)),
            "Your sum begins at the second reward: t counts from 0.",
            "SF03",
        ),
        Mistake(
            "last reward missing",
            _weighted(lambda t, T, discount: (t < T - 1) * discount**t),
            "You leave out the last reward: there are T of them, from 0 to T - 1.",
        ),
        Mistake(
            "one number for all episodes",
            lambda reward, discount: _weighted(lambda t, T, discount: discount**t)(reward, discount).sum(),
            "You sum over the episodes as well; each keeps its own return.",
            "SF09",
        ),
        Mistake(
            "averages over the episodes",
            lambda reward, discount: _weighted(lambda t, T, discount: discount**t)(reward, discount).mean(),
            "You average over the episodes: that is task 3. Each keeps its own return here.",
        ),
        Mistake(
            "sums over the episodes, not over time",
            lambda reward, discount: (discount ** torch.arange(len(reward), dtype=reward.dtype)[:, None] * reward).sum(1),
            "You sum over the episodes; time is axis 0, and that is the one to sum over.",
            "SF09",
        ),
        Mistake(
            "no sum",
            lambda reward, discount: discount ** torch.arange(len(reward), dtype=reward.dtype)[:, None] * reward,
            "You weigh the rewards and do not add them up: one number for each episode is asked for.",
        ),
    ),
    hints=(
        "The first reward counts in full, the second one times discount, the third times discount twice.",
        "torch.arange(T) are the exponents; as a column, [T, 1], they meet every episode of [T, E].",
        "Or from the end: the return from step t on is r_t + discount times the return from step t + 1 on.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.discounted", "pgcourse.returns.to_go", "pgcourse.returns.backward_sum"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 01.monte_carlo_objective


def monte_carlo_objective(reward, valid, discount):
    """An estimate of J from E episodes that the policy has played, and how far to trust it: (1.4) and (1.5).

    reward, valid: [T, E], E >= 2; valid is true while the episode lasts, and after its end reward holds numbers that mean
    nothing. discount: a number from 0 to 1.
    Returns two tensors with one number each, shape []: the estimate of J, and its standard error (with E - 1).
    """
    t = torch.arange(len(reward), dtype=reward.dtype)
    G = (discount ** t[:, None] * reward * valid).sum(0)  # [E]
    return G.mean(), G.std() / len(G) ** 0.5


def _monte_carlo_objective_in_a_loop(reward, valid, discount):
    G = torch.zeros_like(reward[0])
    for e in range(len(G)):
        for t, r in enumerate(reward[valid[:, e], e]):
            G[e] += discount**t * r
    mean = G.sum() / len(G)
    variance = ((G - mean) ** 2).sum() / (len(G) - 1)
    return mean, torch.sqrt(variance / len(G))


def _monte_carlo_objective_oracle(reward, valid, discount):
    """Episode by episode; mean and standard deviation by Python's ``statistics``, which computes in exact fractions."""
    returns = [
        math.fsum(discount**t * r for t, (r, v) in enumerate(zip(rs, vs, strict=True)) if v)
        for rs, vs in zip(reward.T.tolist(), valid.T.tolist(), strict=True)
    ]
    found = statistics.mean(returns), statistics.stdev(returns) / math.sqrt(len(returns))
    return tuple(torch.tensor(number, dtype=reward.dtype) for number in found)


def _monte_carlo_objective_cases(generator):
    sizes = ((2, 2, 0.5), (3, 4, 0.9))
    inputs = [(readable(normal(generator, t, e) + 1), _valid(generator, t, e), discount) for t, e, discount in sizes]
    sizes = ((5, 3, 0.8), (6, 20, 1.0), (8, 11, 0.95))
    inputs += [(normal(generator, t, e) + 1, _valid(generator, t, e), discount) for t, e, discount in sizes]
    return cases(_monte_carlo_objective_oracle, inputs)


def _from_returns(found):
    """A wrong solution: found(G [E], valid) of the right returns."""

    def solution(reward, valid, discount):
        t = torch.arange(len(reward), dtype=reward.dtype)[:, None]
        return found((discount**t * reward * valid).sum(0), valid)

    return solution


def _estimate(returns):
    return returns.mean(), returns.std() / len(returns) ** 0.5


MONTE_CARLO_OBJECTIVE = Task(
    id="01.monte_carlo_objective",
    title="J by Monte Carlo, and its standard error",
    signature="monte_carlo_objective(reward [T, E], valid [T, E], discount) -> J [], standard_error []",
    reference=monte_carlo_objective,
    stages=(Exact(2, _monte_carlo_objective_cases),),
    alternatives=(_monte_carlo_objective_in_a_loop,),
    mistakes=(
        Mistake(
            "counts what comes after the end",
            lambda reward, valid, discount: _estimate(
                (discount ** torch.arange(len(reward), dtype=reward.dtype)[:, None] * reward).sum(0)
            ),
            "You also count the numbers after the end of an episode; a reward counts only where valid is true.",
        ),
        Mistake(
            "no discount",
            lambda reward, valid, discount: _estimate((reward * valid).sum(0)),
            "You add up the rewards as they are; the one at step t counts discount ** t.",
        ),
        Mistake(
            "one step late",
            lambda reward, valid, discount: _from_returns(lambda G, valid: _estimate(discount * G))(reward, valid, discount),
            "Your first reward is discounted already: t counts from 0, and discount ** 0 is 1.",
        ),
        Mistake(
            "discounts from the end",
            lambda reward, valid, discount: _estimate(
                (discount ** torch.arange(len(reward), dtype=reward.dtype).flip(0)[:, None] * reward * valid).sum(0)
            ),
            "Your exponents run the wrong way: the first reward counts in full and the last one least.",
            "SF04",
        ),
        Mistake(
            "standard deviation for standard error",
            _from_returns(lambda G, valid: (G.mean(), G.std())),
            "Your standard error is the standard deviation of one return; that of the mean of E is sqrt(E) times smaller.",
        ),
        Mistake(
            "divides the deviation by E",
            _from_returns(lambda G, valid: (G.mean(), G.std() / len(G))),
            "Your standard error divides the standard deviation by E; variances add up, so it is sqrt(E) that divides.",
        ),
        Mistake(
            "standard error without its root",
            _from_returns(lambda G, valid: (G.mean(), G.var() / len(G))),
            "Your standard error is the variance of the mean: take its square root.",
        ),
        Mistake(
            "variance divides by E",
            _from_returns(lambda G, valid: (G.mean(), G.std(correction=0) / len(G) ** 0.5)),
            "Your variance divides by E. The mean was taken from the same returns, so it divides by E - 1.",
        ),
        Mistake(
            "steps taken for samples",
            _from_returns(lambda G, valid: (G.mean(), G.std() / valid.sum() ** 0.5)),
            "Your standard error divides by the root of the number of steps. The steps of an episode hang together: there are "
            "E independent returns, and E is what counts.",
        ),
        Mistake(
            "interval instead of standard error",
            _from_returns(lambda G, valid: (G.mean(), 1.96 * G.std() / len(G) ** 0.5)),
            "Your second output is the half-width of a 95 % interval; the standard error is that without the factor 1.96.",
        ),
        Mistake(
            "reward per step",
            lambda reward, valid, discount: _from_returns(lambda G, valid: (G.sum() / valid.sum(), G.std() / len(G) ** 0.5))(
                reward, valid, discount
            ),
            "Your J divides by the number of steps: that is a reward per step. J is the mean return per episode.",
        ),
        Mistake(
            "sum over the episodes",
            _from_returns(lambda G, valid: (G.sum(), G.std() / len(G) ** 0.5)),
            "Your J is the sum of the returns; it is their mean.",
        ),
        Mistake(
            "best episode",
            _from_returns(lambda G, valid: (G.max(), G.std() / len(G) ** 0.5)),
            "Your J is the best of the returns; it is their mean. The best of many is mostly luck.",
            "EV05",
        ),
    ),
    hints=(
        "First the return of each episode, as in task 2, with the padding left out; then their mean.",
        "A boolean tensor multiplies like zeros and ones: reward * valid.",
        "G.std() divides by E - 1, as it should here; a mean of E numbers is sqrt(E) times less uncertain than one of them.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 01.exact_objective


def exact_objective(initial, transition, reward, policy, discount, steps):
    """J of a policy in an MDP whose tables are known: E[sum over t = 0 .. steps - 1 of discount^t r_t], by (1.6).

    initial: [S], p(s_0). transition: [S, A, S], p(s' | s, a) at [s, a, s']. reward: [S, A], r(s, a). policy: [S, A],
    pi(a | s). discount: a number from 0 to 1. steps: how many actions are taken, >= 1. No state ends an episode early.
    Returns a tensor with one number, shape [].
    """
    V = torch.zeros_like(initial)  # after the last step nothing comes
    for _ in range(steps):
        Q = reward + discount * transition @ V  # [S, A]
        V = (policy * Q).sum(-1)  # [S]
    return initial @ V


def _exact_objective_forwards(initial, transition, reward, policy, discount, steps):
    here, total = initial, torch.zeros((), dtype=initial.dtype)
    for t in range(steps):
        both = here[:, None] * policy  # probability of s_t = s and a_t = a
        total = total + discount**t * (both * reward).sum()
        here = torch.einsum("sa,san->n", both, transition)
    return total


def _exact_objective_by_a_matrix(initial, transition, reward, policy, discount, steps):
    moves = torch.einsum("sa,san->sn", policy, transition)
    earned = (policy * reward).sum(1)
    return sum(discount**t * (initial @ torch.linalg.matrix_power(moves, t) @ earned) for t in range(steps))


def _exact_objective_oracle(initial, transition, reward, policy, discount, steps):
    """The sum over all trajectories, (1.3), with Python's numbers."""
    p, r, pi, start = (table.tolist() for table in (transition, reward, policy, initial))
    terms = []
    for path in itertools.product(range(len(start)), *[range(len(pi[0])), range(len(start))] * steps):
        probability, total = start[path[0]], 0.0
        for t, (s, a, after) in enumerate(zip(path[0::2], path[1::2], path[2::2], strict=False)):
            probability *= pi[s][a] * p[s][a][after]
            total += discount**t * r[s][a]
        terms.append(probability * total)
    return torch.tensor(math.fsum(terms), dtype=initial.dtype)


def _exact_objective_cases(generator):
    inputs = []
    for s, a, discount, steps in ((2, 2, 0.5, 2), (2, 3, 0.9, 3), (3, 2, 0.8, 4), (5, 2, 0.99, 3), (3, 3, 0.95, 1)):
        world = _probability(generator, s), _probability(generator, s, a, s)
        inputs.append((*world, readable(2 * normal(generator, s, a)), _probability(generator, s, a), discount, steps))
    return cases(_exact_objective_oracle, inputs)


def _backward(steps=lambda steps: steps, of_actions=lambda policy, Q: (policy * Q).sum(-1), of_states=torch.matmul, turn=None):
    """A wrong solution: the recursion with one of its parts exchanged."""

    def solution(initial, transition, reward, policy, discount, count):
        V = torch.zeros_like(initial)
        for _ in range(steps(count)):
            V = of_actions(policy, reward + discount * (turn(transition) if turn else transition) @ V)
        return of_states(initial, V)

    return solution


EXACT_OBJECTIVE = Task(
    id="01.exact_objective",
    title="J of a world whose tables are known",
    signature="exact_objective(initial [S], transition [S, A, S], reward [S, A], policy [S, A], discount, steps) -> J []",
    reference=exact_objective,
    stages=(Exact(2, _exact_objective_cases),),
    alternatives=(_exact_objective_forwards, _exact_objective_by_a_matrix),
    mistakes=(
        Mistake(
            "best action instead of the policy's",
            _backward(of_actions=lambda policy, Q: Q.max(-1).values),
            "You take the best action in every state. That is the J of the best policy; asked is that of the one given.",
        ),
        Mistake(
            "all actions alike",
            _backward(of_actions=lambda policy, Q: Q.mean(-1)),
            "You average over the actions as if each were as likely; the policy says how likely they are.",
        ),
        Mistake(
            "all starts alike",
            _backward(of_states=lambda initial, V: V.mean()),
            "You average V over the states as if episodes began in each as often; initial says where they begin.",
        ),
        Mistake(
            "starts in state 0",
            _backward(of_states=lambda initial, V: V[0]),
            "You return the value of state 0; episodes begin where initial says.",
        ),
        Mistake(
            "no discount",
            lambda initial, transition, reward, policy, discount, steps: _backward()(
                initial, transition, reward, policy, 1.0, steps
            ),
            "You add up the rewards as they are; the one at step t counts discount ** t.",
        ),
        Mistake(
            "one step late",
            lambda initial, transition, reward, policy, discount, steps: (
                discount * _backward()(initial, transition, reward, policy, discount, steps)
            ),
            "Your first reward is discounted already: t counts from 0, and discount ** 0 is 1.",
        ),
        Mistake(
            "one step too few",
            _backward(steps=lambda steps: steps - 1),
            "You take one step too few: there are rewards for t = 0 .. steps - 1.",
        ),
        Mistake(
            "one step too many",
            _backward(steps=lambda steps: steps + 1),
            "You take one step too many: after the last of t = 0 .. steps - 1 nothing comes any more.",
        ),
        Mistake(
            "only the first step",
            _backward(steps=lambda steps: 1),
            "You count the first reward only.",
        ),
        Mistake(
            "never stops",
            _backward(steps=lambda steps: 3000),  # to rounding what a system of linear equations gives
            "You let the episode go on for ever; it is over after the number of steps given.",
        ),
        Mistake(
            "moves backwards",
            _backward(turn=lambda transition: transition.transpose(0, 2)),
            "You go through the transitions the wrong way: transition[s, a, s'] begins with the state that is left.",
        ),
        Mistake(
            "value of every state",
            _backward(of_states=lambda initial, V: V),
            "You return V, one number per state; J is its mean over the first state, by initial.",
        ),
        Mistake(
            "sign",
            _backward(of_states=lambda initial, V: -(initial @ V)),
            "Your J has the wrong sign: it is a return, to be maximised, not a loss.",
        ),
    ),
    hints=(
        "Listing all trajectories works for the smallest cases only. What is each state worth when one step is left? And two?",
        "V with no step left is zero. With one step more: Q(s, a) = r(s, a) + discount times the mean of V over s'; V is the "
        "mean of Q over the policy.",
        "transition @ V is [S, A]: the mean of V over where each action leads. In the end, initial @ V.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.exact.expected_return", "pgcourse.exact.state_value", "pgcourse.exact.action_value"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 01.best_aliased_policy


def best_aliased_policy(start, discount):
    """The best policy of the aliased gridworld: with which probability to go right in the two cells that look alike.

    The corridor has the cells 0 .. 4. From 0 the walker goes right, from 4 left, from 2 down to the treasure, which pays 1 and
    ends the episode; nothing else pays, and there is no time limit. In the cells 1 and 3, which look the same, it goes right
    with probability q and left with probability 1 - q, drawn afresh each time.
    start: [C], the probabilities of beginning in each of the C = 5 cells. discount: a number above 0 and below 1.
    Returns the q that makes J largest, a tensor with one number from 0 to 1, shape []; right to three digits.
    """
    right_helps = (start[1] + discount * start[0]).sqrt()
    left_helps = (start[3] + discount * start[4]).sqrt()
    c = 1 / discount**2 - 1
    q = ((1 + c) * right_helps - c * left_helps) / (right_helps + left_helps)
    return q.clamp(0, 1)


def _corridor(start, discount, q):
    """J(q) from the five values, solved for by hand; q may be a tensor."""
    second = discount * q / (1 - discount**2 * (1 - q))
    fourth = discount * (1 - q) / (1 - discount**2 * q)
    return (start[1] + discount * start[0]) * second + start[2] + (start[3] + discount * start[4]) * fourth


def _best_aliased_policy_on_a_grid(start, discount):
    q = torch.linspace(0, 1, 1_000_001, dtype=start.dtype)
    return q[_corridor(start, discount, q).argmax()]


def _best_aliased_policy_by_bisection(start, discount):
    low, high = torch.zeros_like(start[0]), torch.ones_like(start[0])
    for _ in range(60):
        middle = ((low + high) / 2).requires_grad_()
        (slope,) = torch.autograd.grad(_corridor(start, discount, middle), middle)
        low, high = (middle.detach(), high) if slope > 0 else (low, middle.detach())
    return (low + high) / 2


def _best_aliased_policy_oracle(start, discount):
    """By ternary search on J, which is summed up along the corridor, step by step, for as long as anything is left."""

    def objective(q):
        here, total, weight = start.tolist(), 0.0, 1.0
        while weight > 1e-18:
            total += weight * here[2]
            here = [here[1] * (1 - q), here[0], here[1] * q + here[3] * (1 - q), here[4], here[3] * q]
            weight *= discount
        return total

    low, high = 0.0, 1.0
    for _ in range(45):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (first, high) if objective(first) < objective(second) else (low, second)
    return torch.tensor((low + high) / 2, dtype=start.dtype)


def _best_aliased_policy_cases(generator):
    """The second case is one in which going right always is best; in the others the best q lies between."""
    some, extreme = ((0.1, 0.3, 0.1, 0.2, 0.3), 0.8), ((0.3, 0.6, 0.0, 0.0, 0.1), 0.7)
    inputs = [(torch.tensor(start, dtype=torch.float64), discount) for start, discount in (some, extreme)]
    for discount in uniform(generator, 0.75, 0.95, 4).tolist():
        share = uniform(generator, 0.5, 1.5, 5)
        inputs.append((share / share.sum(), round(discount, 2)))
    inputs.append((torch.tensor((0.05, 0.05, 0.1, 0.6, 0.2), dtype=torch.float64), 0.7))
    return cases(_best_aliased_policy_oracle, inputs)


def _from_sides(choose):
    """A wrong solution: choose(L, R, c) of what begins on the left and on the right, its ends discounted; in [0, 1]."""

    def solution(start, discount):
        left, right = start[1] + discount * start[0], start[3] + discount * start[4]
        return choose(left, right, 1 / discount**2 - 1).clamp(0, 1)

    return solution


def _stationary(left, right, c):
    return ((1 + c) * left.sqrt() - c * right.sqrt()) / (left.sqrt() + right.sqrt())


BEST_ALIASED_POLICY = Task(
    id="01.best_aliased_policy",
    title="The best policy where cells look alike",
    signature="best_aliased_policy(start [C], discount) -> q []",
    reference=best_aliased_policy,
    stages=(Exact(3, _best_aliased_policy_cases, tolerance=1e-3),),
    alternatives=(_best_aliased_policy_on_a_grid, _best_aliased_policy_by_bisection),
    mistakes=(
        Mistake(
            "always one half",
            _from_sides(lambda left, right, c: 0.5 + 0 * left),
            "You go right half the time, wherever episodes begin. That is best where both sides are as likely; put the start's "
            "probabilities into J.",
        ),
        Mistake(
            "all or nothing",
            _from_sides(lambda left, right, c: (left > right).to(left.dtype)),
            "You always go to the side that helps more often. Who begins on the other side then never arrives; a mixture is "
            "worth more as long as that side is likely enough.",
        ),
        Mistake(
            "as often as it helps",
            _from_sides(lambda left, right, c: left / (left + right)),
            "You go right as often as right is the way. J asks for something else: set its derivative to zero.",
        ),
        Mistake(
            "as often as episodes begin on the left",
            lambda start, discount: (start[0] + start[1]) / (start[0] + start[1] + start[3] + start[4]),
            "You go right as often as an episode begins on the left. J asks for something else: write it down as a "
            "function of q and set its derivative to zero.",
        ),
        Mistake(
            "as the roots, without the discount",
            _from_sides(lambda left, right, c: _stationary(left, right, 0 * c)),
            "Your q is that for a discount of almost 1: on the way through an end cell and back, the treasure is discounted "
            "twice more.",
        ),
        Mistake(
            "no root",
            _from_sides(lambda left, right, c: ((1 + c) * left - c * right) / (left + right)),
            "In your condition the probabilities of the sides stand without a root. The derivative has squares in its "
            "denominators, L / (c + q)^2 = R / (c + 1 - q)^2: take the root of both sides.",
        ),
        Mistake(
            "sides exchanged",
            _from_sides(lambda left, right, c: 1 - _stationary(left, right, c)),
            "You have left and right exchanged: q is the probability of going right, which helps in cell 1.",
        ),
        Mistake(
            "forgets the ends",
            lambda start, discount: _stationary(start[1], start[3], 1 / discount**2 - 1).clamp(0, 1),
            "You leave out the episodes that begin in the cells 0 and 4. They come through the cells 1 and 3 one step later.",
        ),
        Mistake(
            "ends not discounted",
            lambda start, discount: _stationary(start[0] + start[1], start[3] + start[4], 1 / discount**2 - 1).clamp(0, 1),
            "You count an episode that begins at an end like one that begins next to the middle; it is one step longer, so it "
            "counts discount times as much.",
        ),
        Mistake(
            "one discount for the way back",
            lambda start, discount: _from_sides(lambda left, right, c: _stationary(left, right, 1 / discount - 1))(
                start, discount
            ),
            "You discount the way to the end cell and back once; these are two steps.",
        ),
        Mistake(
            "outside 0 and 1",
            lambda start, discount: _stationary(
                start[1] + discount * start[0], start[3] + discount * start[4], 1 / discount**2 - 1
            ),
            "Your q leaves the range from 0 to 1 where one side is much likelier. J is then largest at the end of the range.",
        ),
    ),
    hints=(
        "Write down the values: V(2) = 1, V(0) = discount V(1), V(1) = discount (q V(2) + (1 - q) V(0)). Solve for V(1).",
        "J = start[2] + L V(1) + R V(3), with L = start[1] + discount start[0] and R likewise from the other side. V(3) is "
        "V(1) with 1 - q for q.",
        "J has one peak. You may set its derivative to zero by hand, bisect its slope, or try a fine grid of q: the check asks "
        "for three digits.",
    ),
    error_budget=(
        "Exact: compared in float64, to 1e-3, with a ternary search on a J that is summed up step by step; that is off by less "
        "than 1e-6. A grid of a thousand values of q is off by 5e-4 at most. So no right answer fails. On the three cases "
        "that are fixed, each listed wrong one differs from the truth by more than ten times the tolerance."
    ),
    forbidden=("pgcourse.exact.best_between",),
)

TASKS = (
    TRAJECTORY_LOG_PROBABILITY,
    DISCOUNTED_RETURN,
    MONTE_CARLO_OBJECTIVE,
    EXACT_OBJECTIVE,
    BEST_ALIASED_POLICY,
)
