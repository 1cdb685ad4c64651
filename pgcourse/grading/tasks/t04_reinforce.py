"""Tasks of lecture 04: REINFORCE."""

import itertools
import math
from dataclasses import dataclass

import torch

from ... import budget
from ...algorithms import reinforce
from ..answer import Lifted
from ..learning import half_must_reach
from ..task import EXACT_BUDGET, Case, Exact, Fault, Gradient, Learning, Mistake, Task, cases, normal, readable, uniform


def _valid(generator, steps, episodes):
    """[T, E], true during the first 1 .. T steps of each episode; one lasts all T steps, and one does not if there are two."""
    length = torch.randint(1, steps + 1, (episodes,), generator=generator)
    length[0] = max(1, steps - 1)
    length[-1] = steps
    return torch.arange(steps)[:, None] < length


def _columns(*tensors):
    """The episodes of [T, E] tensors, side by side, as rows of Python numbers."""
    return zip(*(tensor.T.tolist() for tensor in tensors), strict=True)


# ----------------------------------------------------------------------------------------------------------------------
# 04.episode_log_probability


def episode_log_probability(log_probability, valid):
    """What the policy contributes to the log-probability of each episode: sum_t log pi(a_t | s_t).

    log_probability: [T, E], log pi(a_t | s_t) at step t of episode e. valid: [T, E], true while the episode lasts; after its
    end log_probability holds numbers that mean nothing.
    Returns [E].
    """
    return (log_probability * valid).sum(0)


def _episode_log_probability_by_where(log_probability, valid):
    return torch.where(valid, log_probability, 0.0).sum(dim=0)


def _episode_log_probability_in_a_loop(log_probability, valid):
    return torch.stack([log_probability[valid[:, e], e].sum() for e in range(valid.shape[1])])


def _episode_log_probability_oracle(log_probability, valid):
    """Each episode's terms picked one by one; their sum, correctly rounded."""
    sums = [math.fsum(x for x, v in zip(xs, vs, strict=True) if v) for xs, vs in _columns(log_probability, valid)]
    return torch.tensor(sums, dtype=log_probability.dtype)


def _episode_log_probability_cases(generator):
    inputs = [(readable(-uniform(generator, 0.1, 2, t, e)), _valid(generator, t, e)) for t, e in ((2, 1), (3, 2), (4, 4))]
    inputs += [(-uniform(generator, 0.1, 3, t, e), _valid(generator, t, e)) for t, e in ((9, 5), (6, 11))]
    return cases(_episode_log_probability_oracle, inputs)


EPISODE_LOG_PROBABILITY = Task(
    id="04.episode_log_probability",
    title="The log-probability of an episode",
    signature="episode_log_probability(log_probability [T, E], valid [T, E]) -> log_probability_of_episode [E]",
    reference=episode_log_probability,
    stages=(Exact(1, _episode_log_probability_cases),),
    alternatives=(_episode_log_probability_by_where, _episode_log_probability_in_a_loop),
    mistakes=(
        Mistake(
            "forgets valid",
            lambda log_probability, valid: log_probability.sum(0),
            "You also add the numbers after the end of an episode; count a step only where valid is true.",
        ),
        Mistake(
            "mean over the steps",
            lambda log_probability, valid: (log_probability * valid).sum(0) / valid.sum(0),
            "You take the mean over the steps; probabilities of steps multiply, so their logarithms add up.",
        ),
        Mistake(
            "mean over all rows",
            lambda log_probability, valid: (log_probability * valid).mean(0),
            "You take the mean over time; probabilities of steps multiply, so their logarithms add up.",
        ),
        Mistake(
            "sums over the episodes",
            lambda log_probability, valid: (log_probability * valid).sum(1),
            "You sum over the episodes; time is axis 0, and that is the one to sum over.",
            "SF09",
        ),
        Mistake(
            "one number for all episodes",
            lambda log_probability, valid: (log_probability * valid).sum(),
            "You sum over time and episodes; each episode keeps its own log-probability.",
            "SF09",
        ),
        Mistake(
            "probability, not its logarithm",
            lambda log_probability, valid: (log_probability * valid).sum(0).exp(),
            "You return the probability of the episode; its logarithm is asked for (and does not underflow after some "
            "hundred steps).",
        ),
        Mistake(
            "product of the logarithms",
            lambda log_probability, valid: torch.where(valid, log_probability, 1.0).prod(0),
            "You multiply the log-probabilities; it is the probabilities that multiply, their logarithms add up.",
        ),
        Mistake(
            "last step missing",
            lambda log_probability, valid: (log_probability[:-1] * valid[1:]).sum(0),
            "You leave out the last step of each episode: its action was taken too, and valid is still true there.",
        ),
        Mistake(
            "first step missing",
            lambda log_probability, valid: (log_probability * valid)[1:].sum(0),
            "You leave out the first step of each episode: t counts from 0, and its action counts like the others.",
        ),
        Mistake(
            "sign",
            lambda log_probability, valid: -(log_probability * valid).sum(0),
            "You return minus the log-probability; it is asked for as it is, below zero. Signs are a matter of losses.",
            "SF01",
        ),
        Mistake(
            "adds up probabilities",
            lambda log_probability, valid: (log_probability.exp() * valid).sum(0).log(),
            "You add up probabilities and then take the logarithm; probabilities multiply, so their logarithms add up.",
        ),
        Mistake(
            "counts what comes after the end",
            lambda log_probability, valid: (log_probability * ~valid).sum(0),
            "You have valid the wrong way round: it is true while the episode lasts, and those steps count.",
        ),
    ),
    hints=(
        "p(tau; theta) is a product over the steps; what becomes of a product under a logarithm?",
        "Time is axis 0: the result has one number per episode.",
        "A boolean tensor multiplies like zeros and ones: log_probability * valid.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 04.reinforce_surrogate


def reinforce_surrogate(log_probability, reward, valid, discount):
    """A number whose gradient is the Monte Carlo policy gradient: mean_e R_e sum_t grad log pi(a_t | s_t).

    R_e = sum_t discount^t r_t is the return of the whole episode e, and weighs each of its steps.
    log_probability, reward: [T, E]; they mean nothing where valid, [T, E], is false. discount: a number in [0, 1].
    Returns a tensor with one number, shape []. Only its gradient with respect to log_probability is judged.
    """
    t = torch.arange(len(reward), dtype=reward.dtype)[:, None]
    R = (discount**t * reward * valid).sum(0)
    return (R * (log_probability * valid).sum(0)).mean()


def _reinforce_surrogate_by_horner(log_probability, reward, valid, discount):
    R = torch.zeros_like(reward[0])
    for r, alive in zip(reward.flip(0), valid.flip(0), strict=True):
        R = torch.where(alive, r + discount * R, R)
    return torch.where(valid, log_probability * R, 0).sum() / reward.shape[1]


def _reinforce_surrogate_in_loops(log_probability, reward, valid, discount):
    total = 0
    for e in range(reward.shape[1]):
        last = int(valid[:, e].sum())
        R = sum(discount**t * float(reward[t, e]) for t in range(last))
        total = total + R * log_probability[:last, e].sum()
    return total / reward.shape[1]


def _whole_return(rewards, valids, discount):
    """The return of one episode from rows of Python numbers, correctly rounded."""
    return math.fsum(discount**t * r for t, (r, v) in enumerate(zip(rewards, valids, strict=True)) if v)


def _reinforce_surrogate_oracle(log_probability, reward, valid, discount):
    """Each log-probability of episode e is pushed by R_e / E while the episode lasts, and by nothing after it."""
    returns = [_whole_return(rewards, valids, discount) for rewards, valids in _columns(reward, valid)]
    R = torch.tensor(returns, dtype=reward.dtype)
    return torch.where(valid, R / reward.shape[1], 0.0)


def _reinforce_surrogate_cases(generator):
    inputs = []
    for t, e, discount in ((3, 2, 0.9), (2, 1, 0.5), (3, 3, 1.0), (4, 2, 0.0)):
        shape = (generator, t, e)
        inputs.append((readable(-uniform(generator, 0.1, 2, t, e)), readable(normal(*shape) + 1), _valid(*shape), discount))
    for t, e, discount in ((7, 4, 0.9), (5, 8, 0.7), (6, 3, 1.0)):
        shape = (generator, t, e)
        inputs.append((-uniform(generator, 0.1, 2, t, e), normal(*shape) + 1, _valid(*shape), discount))
    return cases(_reinforce_surrogate_oracle, inputs)


def _powers(discount, steps):
    return discount ** torch.arange(steps, dtype=torch.float64)[:, None]


def _to_go(reward, discount):
    steps, R = [], torch.zeros_like(reward[0])
    for r in reward.flip(0):
        R = r + discount * R
        steps.append(R)
    return torch.stack(steps[::-1])


def _from_the_end(reward, valid, discount):
    """Discounts backwards from the last step of each episode."""
    left = valid.sum(0) - 1 - torch.arange(len(reward))[:, None]
    return (discount ** left.clamp(min=0) * reward * valid).sum(0)


def _surrogate(weigh, reduce=torch.mean):
    """A surrogate that weighs the steps by weigh(reward * valid, valid, discount)."""

    def surrogate(log_probability, reward, valid, discount):
        return reduce((weigh(reward * valid, valid, discount) * log_probability * valid).sum(0))

    return surrogate


def _R(reward, valid, discount):
    return (_powers(discount, len(reward)) * reward).sum(0)


def _powers_by_logarithm(reward, valid, discount):
    """Right, but for a discount of 0, whose logarithm is minus infinity."""
    steps = torch.arange(len(reward), dtype=reward.dtype)[:, None]
    return ((steps * torch.tensor(discount, dtype=reward.dtype).log()).exp() * reward).sum(0)


REINFORCE_SURROGATE = Task(
    id="04.reinforce_surrogate",
    title="The Monte Carlo policy gradient as a surrogate",
    signature="reinforce_surrogate(log_probability [T, E], reward [T, E], valid [T, E], discount) -> surrogate []",
    reference=reinforce_surrogate,
    stages=(Exact(2, _reinforce_surrogate_cases, Gradient(("log_probability",))),),
    alternatives=(_reinforce_surrogate_by_horner, _reinforce_surrogate_in_loops),
    mistakes=(
        Mistake(
            "sign",
            _surrogate(lambda reward, valid, discount: -_R(reward, valid, discount)),
            "The gradient of your surrogate has the wrong sign. It is to be ascended: its gradient is the policy "
            "gradient itself.",
            "SF01",
        ),
        Mistake(
            "forgets the discount",
            _surrogate(lambda reward, valid, discount: reward.sum(0)),
            "You add up the rewards without discount^t.",
        ),
        Mistake(
            "discounts from the wrong end",
            _surrogate(_from_the_end),
            "You discount from the end of the episode: the first reward should count fully, and r_t be multiplied by "
            "discount^t.",
            "SF04",
        ),
        Mistake(
            "each step its own reward",
            _surrogate(lambda reward, valid, discount: _powers(discount, len(reward)) * reward),
            "You weigh each step by its own reward; an action is answerable for what comes later too, so every step is "
            "weighed by the return R of its episode.",
        ),
        Mistake(
            "reward-to-go",
            _surrogate(lambda reward, valid, discount: _to_go(reward, discount)),
            "You weigh each step by the rewards from then on, restarting the discount: that is where lecture 05 goes. "
            "Here each step is weighed by the return of the whole episode.",
        ),
        Mistake(
            "reward-to-go with its discount",
            _surrogate(lambda reward, valid, discount: _to_go(reward, discount) * _powers(discount, len(reward))),
            "You leave out the rewards before each step. That has the same expectation and usually less variance, and "
            "is what lecture 05 is about; here each step is weighed by the return of the whole episode.",
        ),
        Mistake(
            "rewards after the end",
            lambda log_probability, reward, valid, discount: (
                (_powers(discount, len(reward)) * reward).sum(0) * (log_probability * valid).sum(0)
            ).mean(),
            "Rewards after the end of an episode count in your return; multiply by valid before summing.",
        ),
        Mistake(
            "steps after the end",
            lambda log_probability, reward, valid, discount: (
                (_powers(discount, len(reward)) * reward * valid).sum(0) * log_probability.sum(0)
            ).mean(),
            "Steps after the end of an episode are pushed too: multiply log_probability by valid before summing.",
        ),
        Mistake(
            "mean over the steps",
            lambda log_probability, reward, valid, discount: (
                (_R(reward * valid, valid, discount) * log_probability * valid).sum() / valid.sum()
            ),
            "You divide by the number of steps; the sum over time stays a sum, and the mean is over the E episodes.",
        ),
        Mistake(
            "mean over time",
            lambda log_probability, reward, valid, discount: (
                _R(reward * valid, valid, discount) * log_probability * valid
            ).mean(),
            "You take the mean over time; the sum over time stays a sum, and the mean is over the E episodes.",
        ),
        Mistake(
            "sum over the episodes",
            _surrogate(_R, torch.sum),
            "You sum over the episodes; an expectation is estimated by their mean.",
            "SF09",
        ),
        Mistake(
            "mean return for all",
            _surrogate(lambda reward, valid, discount: _R(reward, valid, discount).mean()),
            "You weigh every episode by the mean return, so good and bad episodes are pushed alike. Multiply each "
            "episode's return with its own log-probability, then average. (If you do: [E, 1] times [E] is [E, E], every return "
            "with every log-probability. Print the shapes.)",
        ),
        Mistake(
            "total return for all",
            _surrogate(lambda reward, valid, discount: _R(reward, valid, discount).sum()),
            "You weigh every episode by the sum of all returns. Sum the rewards over time only, .sum(0), and multiply each "
            "episode's return with its own log-probability.",
            "SF09",
        ),
        Mistake(
            "forgets valid",
            lambda log_probability, reward, valid, discount: (_R(reward, valid, discount) * log_probability.sum(0)).mean(),
            "You leave valid out: rewards and steps after the end of an episode count too. Multiply both reward and "
            "log_probability by valid before summing.",
        ),
        Mistake(
            "discounts the first reward",
            _surrogate(lambda reward, valid, discount: discount * _R(reward, valid, discount)),
            "You discount by discount^(t + 1): time counts from 0, so the first reward counts fully.",
        ),
        Mistake(
            "discounts the steps as well",
            _surrogate(lambda reward, valid, discount: _R(reward, valid, discount) * _powers(discount, len(reward))),
            "You multiply the log-probabilities by discount^t as well; it belongs to the rewards inside R_e, once.",
        ),
        Mistake(
            "discount of 0 through a logarithm",
            _surrogate(_powers_by_logarithm),
            "With a discount of 0 your number is NaN: log(0) is minus infinity, and 0 times that is not a number. "
            "Write discount**t, which knows that 0^0 = 1.",
        ),
        Mistake(
            "probability instead of its logarithm",
            lambda log_probability, reward, valid, discount: (
                (_R(reward * valid, valid, discount) * log_probability.exp() * valid).sum(0).mean()
            ),
            "You weigh the probabilities: the gradient of pi is pi times the score, so likely actions count twice. Use "
            "log_probability itself.",
        ),
        Mistake(
            "subtracts the mean return",
            _surrogate(lambda reward, valid, discount: (R := _R(reward, valid, discount)) - R.mean()),
            "You subtract the mean return from the weights. That is a good idea, and lecture 05's; here the weight is the "
            "return itself.",
            "GE18",
        ),
        Mistake(
            "forgets the return",
            _surrogate(lambda reward, valid, discount: torch.ones_like(reward)),
            "You push every episode alike, whatever it paid: multiply each episode's log-probability by its return.",
        ),
    ),
    hints=(
        "Two sums over time for each episode: one of discounted rewards, R_e, and one of log-probabilities.",
        "torch.arange(T)[:, None] is a column of step numbers t that multiplies [T, E].",
        "The mean over episodes of R_e times the episode's log-probability; valid masks both.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.score_surrogate", "pgcourse.gradients.score_function", "pgcourse.algorithms.reinforce"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 04.reinforce_update


def reinforce_update(theta, score, reward, valid, step_size):
    """One REINFORCE update: theta + step_size * mean_e R_e sum_t grad log pi(a_t | s_t).

    theta: [P], the policy's parameters. score: [T, E, P], grad log pi(a_t | s_t). reward: [T, E]. valid: [T, E], true while
    the episode lasts; elsewhere score and reward mean nothing. R_e: the undiscounted return of episode e. step_size: a number.
    Returns the new parameters [P]; theta itself stays as it is.
    """
    R = (reward * valid).sum(0)
    gradient = (R[:, None] * (score * valid[..., None]).sum(0)).mean(0)
    return theta + step_size * gradient


def _reinforce_update_by_einsum(theta, score, reward, valid, step_size):
    mask = valid.to(score.dtype)
    R = torch.einsum("te,te->e", reward, mask)
    return theta + step_size * torch.einsum("tep,te,e->p", score, mask, R) / reward.shape[1]


def _reinforce_update_in_loops(theta, score, reward, valid, step_size):
    gradient = torch.zeros_like(theta)
    for e in range(reward.shape[1]):
        alive = valid[:, e]
        gradient += reward[alive, e].sum() * score[alive, e].sum(0)
    return theta + step_size * gradient / reward.shape[1]


def _reinforce_update_oracle(theta, score, reward, valid, step_size):
    """Parameter by parameter in Python numbers, every sum correctly rounded."""
    episodes = list(_columns(reward, valid))
    new = []
    for p, start in enumerate(theta.tolist()):
        pulls = []
        for (rewards, valids), scores in zip(episodes, score[..., p].T.tolist(), strict=True):
            R = _whole_return(rewards, valids, 1.0)
            pulls.append(R * math.fsum(g for g, v in zip(scores, valids, strict=True) if v))
        new.append(start + step_size * math.fsum(pulls) / len(episodes))
    return torch.tensor(new, dtype=theta.dtype)


def _reinforce_update_cases(generator):
    inputs = []
    for t, e, p, step_size in ((3, 2, 1, 0.5), (2, 1, 1, 0.1), (2, 3, 2, 0.2)):
        numbers = (readable(normal(generator, *shape)) for shape in ((p,), (t, e, p), (t, e)))
        inputs.append((*numbers, _valid(generator, t, e), step_size))
    for t, e, p, step_size in ((6, 4, 3, 0.3), (4, 7, 5, 2.0)):
        numbers = (normal(generator, *shape) for shape in ((p,), (t, e, p), (t, e)))
        inputs.append((*numbers, _valid(generator, t, e), step_size))
    return cases(_reinforce_update_oracle, inputs)


def _step(score, reward, valid, weigh=lambda R: R, reduce=lambda pull: pull.mean(0)):
    """The REINFORCE gradient with one thing changed."""
    return reduce(weigh((reward * valid).sum(0))[..., None] * (score * valid[..., None]).sum(0))


REINFORCE_UPDATE = Task(
    id="04.reinforce_update",
    title="The REINFORCE update",
    signature="reinforce_update(theta [P], score [T, E, P], reward [T, E], valid [T, E], step_size) -> new_theta [P]",
    reference=reinforce_update,
    stages=(Exact(2, _reinforce_update_cases),),
    alternatives=(_reinforce_update_by_einsum, _reinforce_update_in_loops),
    mistakes=(
        Mistake(
            "descends",
            lambda theta, score, reward, valid, step_size: theta - step_size * _step(score, reward, valid),
            "You step against the gradient; the return is to be maximised, so add step_size times the gradient.",
            "SF01",
        ),
        Mistake(
            "returns the step only",
            lambda theta, score, reward, valid, step_size: step_size * _step(score, reward, valid),
            "You return the step; asked are the new parameters, theta plus the step.",
        ),
        Mistake(
            "forgets the step size",
            lambda theta, score, reward, valid, step_size: theta + _step(score, reward, valid),
            "You add the gradient as it is; multiply it by step_size.",
        ),
        Mistake(
            "sum over the episodes",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, reduce=lambda pull: pull.sum(0))
            ),
            "You sum over the episodes; with the mean, the step does not grow with the number of episodes.",
            "SF09",
        ),
        Mistake(
            "mean over the steps",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, reduce=lambda pull: pull.sum(0) / valid.sum())
            ),
            "You divide by the number of steps; the sum over time stays a sum, and the mean is over the E episodes.",
        ),
        Mistake(
            "forgets valid",
            lambda theta, score, reward, valid, step_size: theta + step_size * _step(score, reward, torch.ones_like(valid)),
            "Rewards and scores after the end of an episode count in your update; mask both with valid.",
        ),
        Mistake(
            "scores after the end",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * ((reward * valid).sum(0)[:, None] * score.sum(0)).mean(0)
            ),
            "Scores after the end of an episode count in your update: mask score with valid[..., None].",
        ),
        Mistake(
            "rewards after the end",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * (reward.sum(0)[:, None] * (score * valid[..., None]).sum(0)).mean(0)
            ),
            "Rewards after the end of an episode count in your return: mask reward with valid.",
        ),
        Mistake(
            "each step its own reward",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * ((reward * valid)[..., None] * score).sum(0).mean(0)
            ),
            "You weigh each score by the reward of its own step; every step is weighed by the return of its whole episode.",
        ),
        Mistake(
            "mean return for all",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, weigh=lambda R: R.mean().expand_as(R))
            ),
            "You weigh every episode by the mean return; multiply each episode's return with its own score, then average.",
        ),
        Mistake(
            "total return for all",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, weigh=lambda R: R.sum().expand_as(R))
            ),
            "You weigh every episode by the sum of all returns; sum the rewards over time only, .sum(0).",
            "SF09",
        ),
        Mistake(
            "returns the gradient only",
            lambda theta, score, reward, valid, step_size: _step(score, reward, valid),
            "You return the gradient; asked are the new parameters, theta plus step_size times the gradient.",
        ),
        Mistake(
            "mean over time",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, reduce=lambda pull: pull.mean(0) / len(reward))
            ),
            "You take the mean over time; the sum over time stays a sum, and the mean is over the E episodes.",
        ),
        Mistake(
            "reward-to-go",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * (_to_go(reward * valid, 1.0)[..., None] * score * valid[..., None]).sum(0).mean(0)
            ),
            "You leave out the rewards before each step. That has the same expectation and usually less variance, and "
            "is what lecture 05 is about; here each step is weighed by the return of the whole episode.",
        ),
        Mistake(
            "forgets the return",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, weigh=torch.ones_like)
            ),
            "You push every episode alike, whatever it paid: multiply each episode's scores by its return.",
        ),
        Mistake(
            "subtracts the mean return",
            lambda theta, score, reward, valid, step_size: (
                theta + step_size * _step(score, reward, valid, weigh=lambda R: R - R.mean())
            ),
            "You subtract the mean return from the weights. That is a good idea, and lecture 05's; here the weight is the "
            "return itself.",
            "GE18",
        ),
        Mistake(
            "divides by the step size",
            lambda theta, score, reward, valid, step_size: theta + _step(score, reward, valid) / step_size,
            "You divide by step_size; multiply by it: the smaller it is, the smaller the step.",
        ),
    ),
    hints=(
        "First the return of each episode, R: [E]. Then the sum of its scores over time: [E, P].",
        "valid is [T, E] and score is [T, E, P]: valid[..., None] is [T, E, 1] and multiplies it.",
        "R[:, None] times the summed scores is [E, P]; its mean over axis 0 is the gradient [P].",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 04.batched_returns


def batched_returns(reward, done, discount):
    """Return from each step on, G_t = r_t + discount * G_{t+1}, in rows where episodes follow one another.

    reward: [T, E]. done: [T, E], true at the last step of an episode; the next step begins a new one, whose rewards do not
    count for it. After the last row nothing follows: an episode still running there is counted up to it. discount: a number in
    [0, 1]. Returns [T, E].
    """
    G = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = reward[t] + discount * following * ~done[t]
        G[t] = following
    return G


def _batched_returns_by_matrix(reward, done, discount):
    """W[t, k] = discount^(k - t) where steps t <= k belong to one episode."""
    time = torch.arange(len(reward))
    number = torch.cumsum(done.long(), 0) - done.long()  # of the episode each step belongs to
    alike = number[:, None] == number[None]
    age = time[None] - time[:, None]
    weight = torch.where(age >= 0, discount ** age.clamp(min=0).to(reward.dtype), 0.0)
    return ((weight[..., None] * alike) * reward[None]).sum(1)


def _batched_returns_with_where(reward, done, discount):
    rows = [reward[-1]]
    for r, d in zip(reward[:-1].flip(0), done[:-1].flip(0), strict=True):
        rows.append(torch.where(d, r, r + discount * rows[-1]))
    return torch.stack(rows).flip(0)


def _batched_returns_oracle(reward, done, discount):
    """The definition, term by term: from each step forward until done."""
    G = torch.zeros_like(reward)
    for t, e in itertools.product(*map(range, reward.shape)):
        terms = []
        for k in range(t, len(reward)):
            terms.append(discount ** (k - t) * reward[k, e].item())
            if done[k, e]:
                break
        G[t, e] = math.fsum(terms)
    return G


def _batched_returns_cases(generator):
    def draw(steps, environments, discount, tidy):
        done = torch.rand(steps, environments, generator=generator) < 0.3
        done[:, 0] = False  # this column ends in the middle: two episodes, the second one cut off
        done[(steps - 1) // 2, 0] = True
        return tidy(normal(generator, steps, environments) + 1), done, discount

    inputs = [draw(2, 1, 0.5, readable), draw(4, 2, 0.5, readable), draw(3, 3, 0.9, readable), draw(5, 2, 0.0, readable)]
    inputs += [draw(9, 4, 0.9, lambda x: x), draw(5, 7, 1.0, lambda x: x), draw(12, 3, 0.5, lambda x: x)]
    return cases(_batched_returns_oracle, inputs)


def _backward(step):
    """A backward loop with one thing changed: step(t, reward, done, discount, G_{t+1}) is G_t."""

    def returns(reward, done, discount):
        G, following = torch.zeros_like(reward), torch.zeros_like(reward[0])
        for t in reversed(range(len(reward))):
            G[t] = following = step(t, reward, ~done, discount, following)
        return G

    return returns


def _next_row(x, t, beyond):
    return x[t + 1] if t + 1 < len(x) else beyond


def _right_returns(reward, done, discount):
    return _backward(lambda t, r, on, gamma, G: r[t] + gamma * on[t] * G)(reward, done, discount)


def _returns_starting_late(reward, done, discount):
    G = _right_returns(reward, done, discount)
    return torch.cat([G[1:], torch.zeros_like(G[:1])]) * ~done


def _returns_with_time_and_episode_swapped(reward, done, discount):
    return _right_returns(reward.T, done.T, discount).T


def _returns_so_far(reward, done, discount):
    """The sum of past rewards instead of future ones."""
    G, before, fresh = torch.zeros_like(reward), torch.zeros_like(reward[0]), torch.ones_like(done[0])
    for t in range(len(reward)):
        G[t] = before = reward[t] + discount * ~fresh * before
        fresh = done[t]
    return G


def _returns_of_the_whole_episode(reward, done, discount):
    G = _right_returns(reward, done, discount)
    for t in range(1, len(G)):
        G[t] = torch.where(done[t - 1], G[t], G[t - 1])
    return G


def _returns_discounted_from_the_start(reward, done, discount):
    """sum_{k >= t} discount^k r_k, with k counted from the episode's first step."""
    age = torch.zeros_like(reward)
    for t in range(1, len(age)):
        age[t] = torch.where(done[t - 1], 0.0, age[t - 1] + 1)
    return _right_returns(discount**age * reward, done, 1.0)


def _returns_of_the_first_episode(reward, done, discount):
    """Treats a column as one episode that is padded after its end."""
    first = done.long().cumsum(0) - done.long() == 0
    return _right_returns(reward * first, done, discount)


def _returns_of_finished_episodes(reward, done, discount):
    finished = done.flip(0).long().cumsum(0).flip(0) > 0
    return _right_returns(reward, done, discount) * finished


def _averages_to_go(reward, done, discount):
    """The mean of the discounted rewards to come in the place of their sum."""
    return _right_returns(reward, done, discount) / _right_returns(torch.ones_like(reward), done, 1.0)


BATCHED_RETURNS = Task(
    id="04.batched_returns",
    title="Returns where episodes follow one another",
    signature="batched_returns(reward [T, E], done [T, E], discount) -> G [T, E]",
    reference=batched_returns,
    stages=(Exact(2, _batched_returns_cases),),
    alternatives=(_batched_returns_by_matrix, _batched_returns_with_where),
    mistakes=(
        Mistake(
            "runs on across the end",
            _backward(lambda t, r, on, gamma, G: r[t] + gamma * G),
            "Your returns run on into the next episode: where done is true, nothing that follows may count.",
        ),
        Mistake(
            "cuts one step early",
            _backward(lambda t, r, on, gamma, G: r[t] + gamma * _next_row(on, t, on[t]) * G),
            "You cut one step early: done[t] says that t is the last step of its episode, so it is G_t that takes "
            "nothing from G_{t+1}, not G_{t-1} from G_t.",
            "AC07; hill-a/stable-baselines#385",
        ),
        Mistake(
            "loses the last reward",
            _backward(lambda t, r, on, gamma, G: on[t] * (r[t] + gamma * G)),
            "You lose the last reward of each episode: where done is true G_t is r_t; only what follows is cut off.",
            "AC08",
        ),
        Mistake(
            "misses its own reward",
            _returns_starting_late,
            "Each step's return misses its own reward: your sum starts at t + 1.",
            "SF03; openai/spinningup#50",
        ),
        Mistake(
            "forgets the discount",
            lambda reward, done, discount: _right_returns(reward, done, 1.0),
            "You add up the rewards without the discount.",
        ),
        Mistake(
            "discounts from the episode's start",
            _returns_discounted_from_the_start,
            "You discount every reward from the start of its episode; seen from step t, reward k is discounted by "
            "discount^(k - t).",
            "SF04",
        ),
        Mistake(
            "adds up the past",
            _returns_so_far,
            "You add up the rewards before each step; a return is what comes after. Go through time backwards.",
        ),
        Mistake(
            "whole episode at each step",
            _returns_of_the_whole_episode,
            "Every step of yours has the return of its whole episode; G_t counts from step t on.",
        ),
        Mistake(
            "time and environment swapped",
            _returns_with_time_and_episode_swapped,
            "You go along the environments; time is axis 0.",
            "SF09",
        ),
        Mistake(
            "discounts the own reward",
            _backward(lambda t, r, on, gamma, G: gamma * (r[t] + on[t] * G)),
            "You discount the reward of step t itself; seen from step t it counts fully.",
        ),
        Mistake(
            "last row first",
            lambda reward, done, discount: _right_returns(reward, done, discount).flip(0),
            "Your rows come out in reverse: going backward you found the last return first. Turn the result round, .flip(0), "
            "or write each return into its own row.",
        ),
        Mistake(
            "done the wrong way round",
            _backward(lambda t, r, on, gamma, G: r[t] + gamma * ~on[t] * G),
            "You have done the wrong way round: your sum goes on where an episode ends and stops where it goes on. ~done is "
            "true where it goes on.",
        ),
        Mistake(
            "cuts one step late",
            _backward(lambda t, r, on, gamma, G: r[t] + gamma * (on[t - 1] if t else torch.ones_like(on[t])) * G),
            "You cut one step late: done[t] says that t is the last step of its episode, so it is G_t that takes nothing from "
            "G_{t+1}; you look at done[t - 1].",
        ),
        Mistake(
            "only the first episode",
            _returns_of_the_first_episode,
            "After the first end in a column your returns are 0. Here nothing is padded: a new episode begins in the next "
            "row, and its steps have returns too.",
        ),
        Mistake(
            "leaves out the unfinished episode",
            _returns_of_finished_episodes,
            "Steps of an episode that is still running in the last row have the return 0 with you; count it up to that row.",
        ),
        Mistake(
            "only its own reward",
            lambda reward, done, discount: reward.clone(),
            "You return the rewards themselves: G_t also counts what comes after step t, discounted.",
        ),
        Mistake(
            "divides by the steps left",
            _averages_to_go,
            "You divide by the number of steps left: a return is a sum, not a mean.",
        ),
    ),
    hints=(
        "Go through time backwards: once G_{t+1} is known, G_t takes one line.",
        "Where done[t] is true, G_{t+1} belongs to another episode: multiply it by zero. ~done turns a boolean tensor round.",
        "Begin with zeros [E] for what follows the last row.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.returns.to_go", "pgcourse.returns.discounted", "pgcourse.returns.backward_sum"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 04.cartpole_loss


def cartpole_loss(log_probability, reward, valid):
    """A loss for CartPole-v1: gradient descent on it makes the pole stay up longer.

    log_probability: [T, E], log pi(a_t | s_t) of E episodes. reward: [T, E], 1 for every step. valid: [T, E], true while the
    episode lasts; after its end log_probability and reward mean nothing.
    Returns a tensor with one number, shape []. Whole returns or rewards-to-go, any baseline, any scale: what is judged is that
    a step down your loss raises the expected return, and then that learners trained with it reach a return of 475.
    """
    R = (reward * valid).sum(0)
    weight = (R - R.mean()) / (R.std() + 1e-8)
    return -(weight * (log_probability * valid).sum(0)).mean()


def _cartpole_loss_to_go(log_probability, reward, valid):
    """Discounted rewards-to-go, standardised over all steps of the batch."""
    G = _to_go(reward * valid, 0.99)
    mean = (G * valid).sum() / valid.sum()
    deviation = (((G - mean) ** 2 * valid).sum() / valid.sum()).sqrt()
    return -((G - mean) / (deviation + 1e-8) * log_probability * valid).sum(0).mean()


def _cartpole_loss_in_a_loop(log_probability, reward, valid):
    """Whole returns less the mean of the other episodes, one episode at a time."""
    R = [reward[valid[:, e], e].sum().item() for e in range(reward.shape[1])]
    total = 0.0
    for e, own in enumerate(R):
        others = (sum(R) - own) / (len(R) - 1)
        total = total - (own - others) * log_probability[valid[:, e], e].sum()
    return total / len(R)


_STEPS, _EPISODES = 4, 2
_NEAR, _NOISY = 0.965, 3.0
"""How near, as a cosine, the expected step must be to the exact gradient, and how many times noisier than plain REINFORCE
the loss may be, once the constant has been added to its weights that makes it least noisy."""


@dataclass(frozen=True)
class _Batch:
    """What is true of one batch of episodes: how likely it is, and by step the derivatives of the log-probabilities."""

    probability: float
    score: torch.Tensor
    """d log_probability / d logit of the step's probability, [T, E]."""
    gradient: torch.Tensor
    """Of the expected return with respect to the logits, [4]; the same for all batches."""


def _falling_pole(p):
    """All episodes of a pole that leans after one bad push and falls at the second; 4 steps at most, each pays 1.

    So an action matters later, and on its own decides nothing. The push at step t is good with probability p[t]. Returns for
    each episode its probability, and by step: log-probabilities, their derivatives with respect to the logit of p[t]; last, how
    many steps it lasts.
    """
    episodes = []
    for pushes in sorted({_until_it_falls(pushes) for pushes in itertools.product((True, False), repeat=_STEPS)}):
        chances = [q if good else 1 - q for q, good in zip(p, pushes, strict=False)]
        scores = [1 - q if good else -q for q, good in zip(p, pushes, strict=False)]
        rest = [-0.7] * (_STEPS - len(pushes))  # after the end: some log-probability, of no importance
        episodes.append((math.prod(chances), [*map(math.log, chances), *rest], [*scores, *rest], len(pushes)))
    return episodes


def _until_it_falls(pushes):
    """The pushes up to the second bad one."""
    bad = [step for step, good in enumerate(pushes) if not good]
    return pushes[: bad[1] + 1] if len(bad) > 1 else pushes


def _expected_length(good):
    """How many steps the falling pole stays up on average, from the probabilities of a good push [4]: step by step."""
    upright, leaning, length = 1.0, 0.0, 0.0
    for q in good:
        length = length + upright + leaning
        upright, leaning = upright * q, leaning * q + upright * (1 - q)
    return length


def _cartpole_loss_cases(generator):
    """Every batch of 2 episodes of the falling pole; then some again, with other log-probabilities or rewards after the end.

    The truth of a case is a _Batch; of a repeated one, the place of the batch it repeats.
    """
    p = uniform(generator, 0.6, 0.75, _STEPS)
    logits = p.logit().requires_grad_()
    (gradient,) = torch.autograd.grad(_expected_length(logits.sigmoid()), logits, materialize_grads=True)
    batches = []
    for batch in itertools.product(_falling_pole(p.tolist()), repeat=_EPISODES):
        probability, log_probability, score, lasts = zip(*batch, strict=True)
        steps = max(lasts)  # a batch is as long as its longest episode
        log_probability, score = (torch.tensor(x, dtype=torch.float64).T[:steps] for x in (log_probability, score))
        valid = torch.arange(steps)[:, None] < torch.tensor(lasts)
        inputs = (log_probability.clone(), torch.ones_like(log_probability), valid)
        batches.append(Case(inputs, _Batch(math.prod(probability), score, gradient)))
    repeated = []
    for place in torch.randperm(len(batches), generator=generator)[:8].tolist():
        log_probability, *rest = batches[place].inputs
        repeated.append(Case((log_probability - uniform(generator, 0, 1, *log_probability.shape), *rest), place))
    padded = [place for place, case in enumerate(batches) if not case.inputs[2].all()]
    for place in torch.randperm(len(padded), generator=generator)[:8].tolist():
        log_probability, reward, valid = batches[padded[place]].inputs
        other = torch.where(valid, reward, uniform(generator, 2, 4, *reward.shape))
        repeated.append(Case((log_probability, other, valid), padded[place]))
    return batches + repeated


def _cartpole_loss_verdict(batches, gradients):
    """What is wrong with the steps that a loss asks for, over everything that can happen; None when they are good.

    The weight of a step is minus the gradient of the loss with respect to its log-probability. A policy gradient has weights
    that do not depend on the log-probabilities, are zero after the end, and give on average a step along the exact gradient.
    """
    weights = [-gradient for gradient in gradients]
    if not all(weight.isfinite().all() for weight in weights):
        return Fault(
            "For some batches the gradient of your loss is NaN or infinite. Think of episodes that all have the same "
            "length: that is how it will be when every pole stays up for 500 steps. (Where reward is not masked with valid, "
            "all episodes look equally long.)"
        )
    size = max(weight.abs().max() for weight in weights)
    if size < 1e-12:
        return Fault(
            "In every batch every weight of your loss is 0. The usual cause: weights [E, 1] times log-probabilities [E] make "
            "[E, E], every weight with every episode, and differences from the mean cancel. Print the shapes: both should be "
            "[E], or both [T, E]. Or is something subtracted from itself?"
        )
    for case, weight in zip(batches, weights, strict=True):
        _, _, valid = case.inputs
        if (weight[~valid].abs() > 1e-9 * size).any():
            return Fault(
                "The gradient of your loss reaches log-probabilities after the end of an episode: mask them with valid.",
                "steps after the end",
            )
        if isinstance(case.truth, int) and (weight - weights[case.truth]).abs().max() > 1e-6 * size:
            if torch.equal(case.inputs[0], batches[case.truth].inputs[0]):
                return Fault(
                    "The weights of your loss change with rewards after the end of an episode, which mean nothing: mask reward "
                    "with valid, also where you take a mean or a standard deviation.",
                    "rewards after the end",
                )
            return Fault(
                "How strongly your loss pushes a step depends on log_probability itself. The weight of a step comes "
                "from rewards alone: the loss is a sum of weights times log-probabilities, no exp(), no square."
            )
    return _direction([(case, weight) for case, weight in zip(batches, weights, strict=True) if isinstance(case.truth, _Batch)])


def _direction(batches):
    """What is wrong with where the weights pull, on average and from one batch to the next; None when nothing is."""
    step, noise, least_noise = _step_and_noise(batches)
    plain = _step_and_noise([(case, (case.inputs[1] * case.inputs[2]).sum(0) * case.inputs[2]) for case, _ in batches])[1]
    exact = batches[0][0].truth.gradient
    cosine = float(step @ exact / (step.norm() * exact.norm()).clamp(min=1e-300))
    where = "On a pole that falls at the second bad push, where every batch of two episodes and its probability can be listed,"
    if noise > 1e12 * plain or not step.any():
        return Fault(
            f"{where} your loss pulls nowhere on average: whether an action was good or bad makes no difference to its weight. "
            "An action must be weighed by what came of it: the episode's return, or the rewards from then on."
        )
    if _is_alike(batches):
        return Fault(
            "In every batch your loss gives all episodes that reach a step the same weight there: long and short ones are "
            "pushed alike. Each episode must weigh its own steps, by its own return or rewards-to-go."
        )
    if cosine < -_NEAR:
        return Fault(
            f"{where} a step down your loss lowers the expected return: it points against the exact gradient. "
            "An optimizer minimises; is a minus sign missing?",
            "sign",
        )
    if cosine < _NEAR:
        return Fault(
            f"{where} the average step down your loss is not along the exact gradient of the expected return: their cosine is "
            f"{cosine:.2f} (1 for plain REINFORCE, at least {_NEAR} asked).{_left_out(batches)}"
        )
    if least_noise > _NOISY * plain:
        return Fault(
            f"{where} your loss points the right way on average, but whatever constant is added to its weights, single steps "
            f"are {least_noise / plain:.1f} times noisier than plain REINFORCE's (at most {_NOISY:.0f} asked). Do the weights "
            "hold anything besides what episodes earned?"
        )
    return None


def _step_and_noise(batches):
    """Of the step in the logits: its mean over all batches; its variance over the mean's squared length; the least it can be.

    The least is over a constant added to all weights, which changes no mean: a quadratic in that constant, so a formula.
    """
    steps, ones = _pulls(batches), _pulls([(case, case.inputs[2]) for case, _ in batches])
    probability = torch.tensor([case.truth.probability for case, _ in batches], dtype=torch.float64)
    mean = probability @ steps
    variance = probability @ (steps - mean).square().sum(1)
    shared = (probability @ (steps * ones).sum(1)).square() / (probability @ ones.square().sum(1))
    length = mean.square().sum().clamp(min=1e-300)
    return mean, variance / length, (variance - shared) / length


def _pulls(batches):
    """The step in the logits that each batch asks for with its weights, [batch, 4]."""
    pulls = [(weight * case.truth.score).sum(1) for case, weight in batches]
    return torch.stack([torch.nn.functional.pad(pull, (0, _STEPS - len(pull))) for pull in pulls])


def _is_alike(batches):
    """Whether in each batch, at each step that all episodes reach, the weights are equal."""
    size = max(weight.abs().max() for _, weight in batches)
    rows = [weight[case.inputs[2].all(1)] for case, weight in batches]
    return all((row - row[:, :1]).abs().max() <= 1e-9 * size for row in rows)


def _left_out(batches):
    """A sentence where the first or the last step of every episode has no weight, or all but the first have none."""
    size = max(weight.abs().max() for _, weight in batches)

    def weightless(which):
        return all((weight[which(case.inputs[2])].abs() <= 1e-9 * size).all() for case, weight in batches)

    if weightless(lambda valid: valid & (torch.arange(len(valid)) > 0)[:, None]):
        return " No step but the first has any weight: sum over all steps of an episode."
    if weightless(lambda valid: valid & (torch.arange(len(valid)) == 0)[:, None]):
        return " The first step of every episode has no weight."
    if weightless(_last):
        return " The last step of every episode has no weight."
    return ""


def _cartpole_run(answer, seed, report):
    """Train 8 learners with the loss; half of them must reach a return of 475, averaged over 20 episodes."""
    goal, updates, learners = budget.choose((475, 60, 8), (195, 30, 4))
    lifted = answer.lifted()
    loss = Lifted(lambda log_probability, reward, valid, config: lifted(log_probability, reward, valid))
    config = reinforce.Config(environments=10, iterations=updates)
    return half_must_reach(
        goal,
        2,
        learners,
        reinforce,
        config,
        loss,
        seed,
        report,
        right="The gradient points the right way.",
        advice="Less noise helps most: subtract the mean from the weights and divide by their standard deviation.",
    )


def _plain(weigh):
    """A loss that weighs the steps by weigh(reward * valid, valid)."""

    def loss(log_probability, reward, valid):
        return -(weigh(reward * valid, valid) * log_probability * valid).sum(0).mean()

    return loss


def _last(valid):
    """[T, E], true at the last step of each episode."""
    return valid & (valid.cumsum(0) == valid.sum(0))


def _loss_of_probabilities(log_probability, reward, valid):
    return -((reward * valid).sum(0) * log_probability.exp() * valid).sum(0).mean()


CARTPOLE_LOSS = Task(
    id="04.cartpole_loss",
    title="An agent that balances the pole",
    signature="cartpole_loss(log_probability [T, E], reward [T, E], valid [T, E]) -> loss []",
    reference=cartpole_loss,
    stages=(
        Exact(
            3,
            _cartpole_loss_cases,
            Gradient(("log_probability",)),
            _cartpole_loss_verdict,
            praise="On average a step down your loss points along the exact gradient of the expected return (cosine at least "
            f"{_NEAR}), measured where everything that can happen can be listed.",
        ),
        Learning(1, _cartpole_run),
    ),
    alternatives=(_cartpole_loss_to_go, _cartpole_loss_in_a_loop),
    mistakes=(
        Mistake(
            "sign",
            _plain(lambda reward, valid: -reward.sum(0)),
            "Your loss has the wrong sign: an optimizer minimises it, and a step down lowers the return. The loss is "
            "minus the surrogate.",
            "SF01",
        ),
        Mistake(
            "all steps weigh the same",
            _plain(lambda reward, valid: reward),
            "Every step of yours weighs the same: you weigh it by its own reward, or divide each episode's return by "
            "its length, and both are 1 here. An action must be weighed by what came of it: the sum over time stays a "
            "sum.",
        ),
        Mistake(
            "own reward, one step late",
            lambda log_probability, reward, valid: -(log_probability[:-1] * (reward * valid)[1:]).sum(0).mean(),
            "You weigh each step by the one reward that follows it. An action is answerable for all that comes later: weigh "
            "it by the return, or by the sum of the rewards from then on.",
        ),
        Mistake(
            "blames only the last step",
            lambda log_probability, reward, valid: (log_probability * _last(valid)).sum(0).mean(),
            "You push down the last action of each episode and nothing else. A pole falls because of what was done some "
            "steps before: weigh every step of an episode.",
        ),
        Mistake(
            "misses the last step",
            lambda log_probability, reward, valid: (
                -((reward * valid).sum(0) * (log_probability[:-1] * valid[1:]).sum(0)).mean()
            ),
            "You leave out the last step of each episode, the action at which the pole fell: valid[t] already says that "
            "step t was taken.",
        ),
        Mistake(
            "first step only",
            lambda log_probability, reward, valid: -((reward * valid).sum(0) * log_probability[0]).mean(),
            "You weigh the first step of each episode and no other: sum over all steps.",
        ),
        Mistake(
            "adds up the past",
            _plain(lambda reward, valid: reward.cumsum(0)),
            "You weigh each step by the rewards before it, which its action could not change. Count the rewards that follow.",
        ),
        Mistake(
            "mean return for all",
            _plain(lambda reward, valid: reward.sum(0).mean()),
            "You weigh every episode by the mean return, so good and bad ones are pushed alike. Multiply each episode's "
            "return with its own log-probability, then average. (If you do: [E, 1] times [E] is [E, E], every return with "
            "every log-probability. Print the shapes.)",
        ),
        Mistake(
            "rewards after the end",
            lambda log_probability, reward, valid: -(reward.sum(0) * (log_probability * valid).sum(0)).mean(),
            "Rewards after the end of an episode count in your return, so all episodes look equally long. Mask reward "
            "with valid.",
        ),
        Mistake(
            "steps after the end",
            lambda log_probability, reward, valid: -((reward * valid).sum(0) * log_probability.sum(0)).mean(),
            "Steps after the end of an episode are pushed too: multiply log_probability by valid before summing.",
        ),
        Mistake(
            "probability instead of its logarithm",
            _loss_of_probabilities,
            "You weigh the probabilities: the gradient of pi is pi times the score, so likely actions count twice. Use "
            "log_probability itself.",
        ),
        Mistake(
            "divides by zero",
            _plain(lambda reward, valid: (reward.sum(0) - reward.sum(0).mean()) / reward.sum(0).std()),
            "You divide by the standard deviation of the returns, which is zero when all episodes are equally long: "
            "when every pole stays up. Add something small to it, such as 1e-8.",
            "SF13",
        ),
    ),
    hints=(
        "Start from your reinforce_surrogate, without the discount: its gradient is to be ascended, an optimizer descends.",
        "All returns are positive, so every action is pushed up, some more than others. Subtract the batch's mean "
        "return: what was worse than the mean is then pushed down.",
        "Divide by the standard deviation (plus 1e-8) so that steps are equally long whether poles fall after 20 steps "
        "or after 400.",
    ),
    error_budget=(
        "Gradient: computed over all batches, so an answer's verdict varies only with the probabilities drawn. For 200 draws, "
        "whole returns and rewards-to-go, discounted (0.9 to 1), with every usual baseline, any constant too, standardised or "
        "not, had cosines of at least 0.978, and with the best constant added at most 1.1 times plain REINFORCE's noise; 0.965 "
        "and 3 are asked. Of the wrong ones, some have no mean, weights that are alike for all episodes, depend on the "
        "log-probabilities or on rewards after the end, go on after it, or are not finite: each is looked for as such; the "
        "rest had cosines of at most 0.950, or 7 times the noise and more. No listed verdict differed between draws. "
        "What lies between is not listed: standardised rewards-to-go with a discount of 0.7 have 0.951 to 0.960 and fail. "
        "Gradients of other rising functions of the return pass, cosines 0.993 and more: its "
        "square; minus one over it, which the mean log-probability of each episode, minimised, comes to. Learning run, 1 "
        "point: in 60 runs (20 of each right solution) the goal was reached after 19 to 36 of the 60 updates allowed; none "
        "failed, so fewer than 5 % do (95 % confidence)."
    ),
    forbidden=("pgcourse.gradients.score_surrogate", "pgcourse.gradients.score_function", "pgcourse.algorithms.reinforce"),
)

TASKS = (
    EPISODE_LOG_PROBABILITY,
    REINFORCE_SURROGATE,
    REINFORCE_UPDATE,
    BATCHED_RETURNS,
    CARTPOLE_LOSS,
)
