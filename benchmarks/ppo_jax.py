"""The same PPO as one compiled JAX program, for ``ppo_cartpole.py``: environment, rollout, updates and seeds in one call.

After the pattern of PureJaxRL (Lu et al. 2022): ``train`` is a pure function of a key, compiled end to end, and ``vmap`` makes
the seeds an axis. Plain JAX on the CPU, no neural-network library.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax, random

ENVIRONMENTS, STEPS, EPOCHS, MINIBATCHES = 4, 128, 4, 4
DISCOUNT, TRACE_DECAY, CLIP, VALUE_WEIGHT, ENTROPY_WEIGHT, MAX_NORM = 0.99, 0.95, 0.2, 0.5, 0.01, 0.5
HIDDEN, TIME_LIMIT = 64, 500


def network(key, outputs, scale):
    layers = []
    for n, m, s in ((4, HIDDEN, 1.0), (HIDDEN, HIDDEN, 1.0), (HIDDEN, outputs, scale)):
        key, draw = random.split(key)
        layers.append((random.normal(draw, (n, m)) * s / math.sqrt(n), jnp.zeros(m)))
    return layers


def apply(layers, x):
    for weight, bias in layers[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def cartpole(state, action):
    """One step of CartPole-v1, as Gymnasium has it; next state and whether the pole has fallen."""
    x, velocity, angle, spin = jnp.moveaxis(state, -1, 0)
    force = jnp.where(action == 1, 10.0, -10.0)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    free = (force + 0.05 * spin**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * free) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    push = free - 0.05 * turn * cosine / 1.1
    state = jnp.stack((x + 0.02 * velocity, velocity + 0.02 * push, angle + 0.02 * spin, spin + 0.02 * turn), -1)
    return state, (jnp.abs(state[..., 0]) > 2.4) | (jnp.abs(state[..., 2]) > math.radians(12))


def rollout(policy, carry):
    def step(carry, _):
        state, elapsed, earned, finished, key = carry
        key, act, begin = random.split(key, 3)
        log_p = jax.nn.log_softmax(apply(policy, state))
        action = random.categorical(act, log_p)
        following, terminated = cartpole(state, action)
        elapsed, earned = elapsed + 1, earned + 1.0
        truncated = elapsed >= TIME_LIMIT
        done = terminated | truncated
        finished = jnp.where(done, earned, finished)
        log_probability = jnp.take_along_axis(log_p, action[:, None], 1)[:, 0]
        seen = (state, action, log_probability, jnp.ones(ENVIRONMENTS), following, terminated, done)
        fresh = random.uniform(begin, state.shape, minval=-0.05, maxval=0.05)
        state = jnp.where(done[:, None], fresh, following)
        return (state, jnp.where(done, 0, elapsed), jnp.where(done, 0.0, earned), finished, key), seen

    return lax.scan(step, carry, None, STEPS)


def advantages(value, next_value, reward, terminated, done):
    error = reward + DISCOUNT * next_value * ~terminated - value

    def back(ahead, now):
        delta, ends = now
        ahead = delta + DISCOUNT * TRACE_DECAY * ~ends * ahead
        return ahead, ahead

    return lax.scan(back, jnp.zeros(ENVIRONMENTS), (error, done), reverse=True)[1]


def loss(networks, batch):
    policy, critic = networks
    observation, action, old, advantage, target = batch
    log_p = jax.nn.log_softmax(apply(policy, observation))
    ratio = jnp.exp(jnp.take_along_axis(log_p, action[:, None], 1)[:, 0] - old)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
    error = jnp.square(apply(critic, observation)[:, 0] - target).mean()
    return -surrogate + VALUE_WEIGHT * error - ENTROPY_WEIGHT * entropy


def adam(networks, moments, gradient, step_size):
    first, second, count = moments
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, MAX_NORM / norm), gradient)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    count = count + 1
    a, b = 1 - 0.9**count, 1 - 0.999**count
    moved = jax.tree.map(lambda w, m, v: w - step_size * (m / a) / (jnp.sqrt(v / b) + 1e-8), networks, first, second)
    return moved, (first, second, count)


def train(key, iterations, step_size):
    """One learner; returns its networks and the mean return of the episodes that ended last, [iterations]."""
    key, *keys = random.split(key, 4)
    networks = (network(keys[0], 2, 0.1), network(keys[1], 1, 1.0))
    zeros = jax.tree.map(jnp.zeros_like, networks)
    state = random.uniform(keys[2], (ENVIRONMENTS, 4), minval=-0.05, maxval=0.05)
    carry = (state, jnp.zeros(ENVIRONMENTS, int), jnp.zeros(ENVIRONMENTS), jnp.zeros(ENVIRONMENTS), key)

    def iteration(learner, number):
        networks, moments, carry = learner
        carry, (observation, action, log_probability, reward, following, terminated, done) = rollout(networks[0], carry)
        value, next_value = apply(networks[1], observation)[..., 0], apply(networks[1], following)[..., 0]
        advantage = advantages(value, next_value, reward, terminated, done)
        columns = (observation, action, log_probability, advantage, value + advantage)
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), columns)
        size = step_size * (1 - number / iterations)

        def minibatch(learner, rows):
            networks, moments = learner
            gradient = jax.grad(loss)(networks, jax.tree.map(lambda x: x[rows], batch))
            return adam(networks, moments, gradient, size), None

        state, elapsed, earned, finished, key = carry
        key, shuffle = random.split(key)
        orders = jax.vmap(lambda k: random.permutation(k, STEPS * ENVIRONMENTS))(random.split(shuffle, EPOCHS))
        (networks, moments), _ = lax.scan(minibatch, (networks, moments), orders.reshape(EPOCHS * MINIBATCHES, -1))
        return (networks, moments, (state, elapsed, earned, finished, key)), finished.mean()

    learner = (networks, (zeros, zeros, 0), carry)
    (networks, _, _), returns = lax.scan(iteration, learner, jnp.arange(iterations))
    return networks, returns


def compiled(replicas, iterations, step_size):
    """``run(seeds) -> returns [replicas, iterations]``, compiled before it is given back."""
    run = jax.jit(jax.vmap(functools.partial(train, iterations=iterations, step_size=step_size)))
    keys = jax.vmap(random.key)(jnp.arange(replicas))
    program = run.lower(keys).compile()
    return lambda seeds: jax.block_until_ready(program(jax.vmap(random.key)(seeds)))[1]
