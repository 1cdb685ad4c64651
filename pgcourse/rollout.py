"""Acting in R x E copies of an environment and recording what happened."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import distributions, returns
from .envs.base import Env, State
from .policies import Policy
from .rng import Rng


@dataclass(frozen=True)
class Rollout:
    """What R learners saw in E environments each over T steps. Axes: replica, time, env, then features.

    next_observation is the one *before* any reset. terminated: the task ended, nothing comes after. truncated: it was only cut
    off (time limit), its value goes on. valid: false after the end, where whole episodes were collected.
    """

    observation: Float[Tensor, "R T E O"]
    action: Float[Tensor, "R T E A"] | Int[Tensor, "R T E"]
    log_probability: Float[Tensor, "R T E"]
    reward: Float[Tensor, "R T E"]
    next_observation: Float[Tensor, "R T E O"]
    terminated: Bool[Tensor, "R T E"]
    truncated: Bool[Tensor, "R T E"]
    valid: Bool[Tensor, "R T E"]

    @property
    def done(self) -> Bool[Tensor, "R T E"]:
        """Where an episode ended, one way or the other."""
        return self.terminated | self.truncated

    @property
    def steps(self) -> Int[Tensor, " R"]:
        """Environment steps each replica has taken."""
        return self.valid.sum((1, 2))

    @property
    def episode_return(self) -> Float[Tensor, "R E"]:
        """Undiscounted sum of rewards of each whole episode (see ``episodes``)."""
        return (self.reward * self.valid).sum(1)


@dataclass(frozen=True)
class Carry:
    """Where a rollout stopped, so that the next one can go on: states, and of each episode under way its steps and rewards.

    episode_return: mean undiscounted return of the episodes that have ended last, in the latest rollout in which any did; NaN
    before there was one.
    """

    state: State
    elapsed: Int[Tensor, "R E"]
    earned: Float[Tensor, "R E"]
    episode_return: Float[Tensor, " R"]

    def select(self, env: Env, keep: Bool[Tensor, " R"]) -> "Carry":
        """To go on with some replicas only."""
        return Carry(env.select(self.state, keep), self.elapsed[keep], self.earned[keep], self.episode_return[keep])


def rollout(
    env: Env, policy: Policy, rng: Rng, steps: int, environments: int = 8, start: Carry | None = None
) -> tuple[Rollout, Carry]:
    """``steps`` steps in each environment; an episode that ends is followed by a new one.

    Returns the Rollout and a Carry to ``start`` the next one from. Raises ValueError for fewer than one step or environment,
    and where observations or actions do not fit the policy.
    """
    reset = rng.draw(env.spec.initial_noise, steps, environments)
    return _run(env, policy, rng, steps, environments, start, reset)


def episodes(env: Env, policy: Policy, rng: Rng, environments: int = 8) -> Rollout:
    """One whole episode in each environment, padded to the longest; ``valid`` says which steps belong to it.

    Raises ValueError for an environment without a time limit: an episode might never end.
    """
    if env.spec.time_limit is None:
        raise ValueError(
            f"{env.spec.name} has no time limit, so an episode may never end; use rollout() with a number of steps."
        )
    return _run(env, policy, rng, env.spec.time_limit, environments, None, None)[0]


def evaluate(policy: Policy, batch: Rollout) -> tuple[Float[Tensor, "R T E"], Float[Tensor, "R T E"]]:
    """log pi(a | s) of what was done, and the entropy of pi(. | s); both differentiable, and 0 at steps that are not valid.

    The policy sees the valid steps only, packed to [R, N]: of whole episodes of different lengths most can be padding.
    """
    if batch.valid.all():
        law = policy(batch.observation)
        return law.log_prob(batch.action), law.entropy()
    valid = batch.valid.flatten(1)  # [R, T E]
    order = valid.argsort(dim=1, descending=True, stable=True)[:, : int(batch.steps.max())]  # the valid ones first, [R, N]
    replica = torch.arange(len(valid), device=valid.device)[:, None]
    law = policy(batch.observation.flatten(1, 2)[replica, order])
    packed = torch.stack((law.log_prob(batch.action.flatten(1, 2)[replica, order]), law.entropy()))
    packed = torch.where(valid.gather(1, order), packed, 0)
    whole = packed.new_zeros(2, *valid.shape).scatter(2, order.expand_as(packed), packed)
    return tuple(whole.unflatten(2, batch.valid.shape[1:]))


@torch.no_grad()
def _run(env, policy, rng, steps, environments, start, reset_noise):
    """The loop of both: with ``reset_noise`` episodes follow one another, without it each environment plays one."""
    if steps < 1 or environments < 1:
        raise ValueError(f"steps is {steps} and environments is {environments}; both must be >= 1.")
    limit = env.spec.time_limit
    # All noise is drawn before the first step, for the longest run possible: what a replica draws must not depend on how
    # long its neighbours live.
    first_noise = rng.draw(env.spec.initial_noise, environments)
    action_noise = rng.draw(policy.noise, steps, environments)
    step_noise = rng.draw(env.spec.step_noise, steps, environments)
    if start is None:
        state = env.initial(first_noise)
        elapsed = torch.zeros(len(rng), environments, dtype=torch.int64, device=rng.device)
    else:
        state, elapsed = start.state, start.elapsed
    never = torch.zeros_like(elapsed, dtype=torch.bool)
    ended, going = never, ~never
    seen, laws = [], []
    observation = env.observe(state).to(rng.dtype)
    # With few worlds what a step costs is the number of its operations; so there is none in here that could be elsewhere.
    for t, for_action, for_step in zip(range(steps), _each(action_noise, steps), _each(step_noise, steps), strict=True):
        law = policy(observation)
        action = law.sample(for_action)
        if t == 0:
            env.validate_action(action, elapsed.shape)
        state, reward, terminated = env.step(state, action, for_step)
        next_observation = env.observe(state).to(rng.dtype)
        elapsed = elapsed + 1
        truncated = never if limit is None else elapsed >= limit
        if (cut := env.truncated(state)) is not None:
            truncated = truncated | cut
        seen.append((observation, action, reward, next_observation, terminated, truncated, going))
        laws.append(law)
        done, observation = terminated | truncated, next_observation
        if not done.any():
            continue
        if reset_noise is None:
            ended = ended | done
            going = ~ended
            if ended.all():
                break
            state = env.rest(done, state, first_noise)
        else:
            state = env.reset(done, state, reset_noise[:, t])
        elapsed = elapsed.masked_fill(done, 0)
        observation = env.observe(state).to(rng.dtype)
    observation, action, reward, next_observation, terminated, truncated, valid = (
        torch.stack(column, 1) for column in zip(*seen, strict=True)
    )
    # One call for all steps: the log-probability costs a stack instead of a few operations per step.
    log_probability = distributions.stack(laws, 1).log_prob(action)
    record = Rollout(observation, action, log_probability, reward, next_observation, terminated, truncated, valid)
    earned = returns.so_far(reward, 1.0, record.done, torch.zeros_like(reward[:, 0]) if start is None else start.earned)
    before = torch.full_like(reward[:, 0, 0], torch.nan) if start is None else start.episode_return
    count = record.done.sum((1, 2))
    mean = torch.where(record.done, earned, 0).sum((1, 2)) / count.clamp(min=1)
    rest = torch.where(record.done[:, -1], 0, earned[:, -1])
    return record, Carry(state, elapsed, rest, torch.where(count > 0, mean, before))


def _each(noise: Tensor | None, steps: int) -> Sequence[Tensor | None]:
    """The noise of each step."""
    return [None] * steps if noise is None else noise.unbind(1)
