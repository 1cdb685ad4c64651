"""Oracles are checked by other means: by hand, published numbers, enumeration, finite differences, simulation, scipy."""

import math
from dataclasses import replace

import pytest
import scipy.linalg
import torch

from pgcourse import distributions, exact, gradients, policies, returns
from pgcourse.envs.games import rock_paper_scissors
from pgcourse.envs.lqr import LQR, double_integrator
from pgcourse.envs.tabular import Tabular, aliased_gridworld, gridworld, random_mdp, two_step
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

F64 = torch.float64
FALSE_ALARM = 5.0
"""Standard errors. One z-score beyond 5 comes up once in 1.7 million; the seeds are fixed, so it would be found only once."""


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def uniform(mdp):
    return torch.full(mdp.reward.shape[:2], 1 / mdp.reward.shape[1], dtype=F64)


def network(mdp, replicas=3, hidden=(4,), seed=0):
    """Policies of a small network, far from uniform."""
    policy = policies.for_env(mdp, Rng(range(seed, seed + replicas), dtype=F64), hidden)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return policy


def without_end(states=4, actions=2, seed=3, time_limit=None):
    """A random MDP with no terminal state."""
    mdp = random_mdp(states + 1, actions, seed)  # its last state is terminal: leave it out
    transition = mdp.transition[:-1, :, :-1] / mdp.transition[:-1, :, :-1].sum(-1, keepdim=True)
    terminal = torch.zeros(states, dtype=torch.bool)
    return Tabular(transition, mdp.reward[:-1, :, :-1], mdp.initial_probability[:-1], terminal, time_limit)


def finite_differences(function, policy, step=1e-5):
    """d function()[r] / d policy's parameters of replica r, by central differences, [R, P]."""
    columns = []
    for parameter in policy.parameters():
        flat = parameter.data.view(len(parameter), -1)
        for i in range(flat.shape[1]):
            flat[:, i] += step
            up = function().detach()
            flat[:, i] -= 2 * step
            down = function().detach()
            flat[:, i] += step
            columns.append((up - down) / (2 * step))
    return torch.stack(columns, 1)


# ------------------------------------------------------------------------------------------ enumerable MDPs: known answers


@pytest.mark.parametrize("discount", [1.0, 0.5, 0.0])
def test_two_step_by_hand(discount):
    mdp = two_step()
    # Under the uniform policy V_1(1) = 1/2 and V_1(2) = 2.
    first = torch.tensor([1 + discount * (0.75 * 0.5 + 0.25 * 2), discount * (0.25 * 0.5 + 0.75 * 2)], dtype=F64)
    close(exact.action_value(mdp, uniform(mdp), discount)[0, 0], first)
    # at time 1 with one step left; state 0 then earns the 1/2 of its own step
    close(exact.state_value(mdp, uniform(mdp), discount)[1], torch.tensor([0.5, 0.5, 2, 0], dtype=F64))
    close(exact.expected_return(mdp, uniform(mdp), discount), first.mean())
    close(exact.advantage(mdp, uniform(mdp), discount)[0, 0], first - first.mean())
    visits = torch.tensor([[1, 0, 0, 0], [0, 0.5 * discount, 0.5 * discount, 0]], dtype=F64)
    close(exact.visitation(mdp, uniform(mdp), discount), visits)


def test_two_steps_eight_trajectories_by_hand():
    found = exact.trajectories(two_step(), uniform(two_step()))
    assert found.probability.shape == (8,)
    seen = {
        (*state, *action): (probability, tuple(reward))
        for state, action, reward, probability in zip(
            found.state.T.tolist(), found.action.T.tolist(), found.reward.T.tolist(), found.probability.tolist(), strict=True
        )
    }
    assert seen[0, 1, 3, 0, 0] == (0.5 * 0.75 * 0.5, (1, 1))
    assert seen[0, 2, 3, 1, 1] == (0.5 * 0.75 * 0.5, (0, 4))
    assert seen[0, 2, 3, 0, 1] == (0.5 * 0.25 * 0.5, (1, 4))
    assert len(seen) == 8


def test_the_published_values_of_the_4_by_3_world():
    # Russell & Norvig, Artificial Intelligence, 3rd edition, figure 17.3: utilities under the best policy, step reward -0.04.
    up, right, left = 0, 1, 3
    best = torch.tensor([right, right, right, 0, up, up, 0, up, left, left, left])
    utility = [0.812, 0.868, 0.918, 0, 0.762, 0.660, 0, 0.705, 0.655, 0.611, 0.388]
    mdp = gridworld(time_limit=None)
    policy = torch.nn.functional.one_hot(best, 4).to(F64)
    value = exact.state_value(mdp, policy)
    close(value, torch.tensor(utility, dtype=F64), 5.1e-4)
    better = exact.advantage(mdp, policy)[~mdp.terminal]
    assert better.max() < 1e-9  # and it is the best policy indeed


def test_a_chain_that_pays_one_a_step_until_cut_off():
    mdp = Tabular(torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1), torch.tensor([False]))
    policy = torch.ones(1, 1)
    close(exact.expected_return(mdp, policy, 0.9), torch.tensor(10.0, dtype=F64))
    close(exact.expected_return(replace(mdp, time_limit=3), policy, 0.9), torch.tensor(1 + 0.9 + 0.81, dtype=F64))
    close(exact.expected_return(replace(mdp, time_limit=3), policy), torch.tensor(3.0, dtype=F64))


# ----------------------------------------------------------------------------- enumerable MDPs: against enumeration


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_dynamic_programming_agrees_with_all_trajectories(discount, seed):
    mdp = random_mdp(3, 2, seed, time_limit=5)
    policy = network(mdp, seed=seed)
    paths = exact.trajectories(mdp, policy)
    close(paths.probability.sum(-1), torch.ones(3, dtype=F64))
    total = returns.discounted(paths.reward, discount, paths.valid)
    close(paths.probability @ total, exact.expected_return(mdp, policy, discount))
    # discount^t P(s_t = s), counted
    counted = torch.zeros(3, 5, 3, dtype=F64)
    for t in range(5):
        for state in range(3):
            here = (paths.state[t] == state) & paths.valid[t]
            counted[:, t, state] = discount**t * (paths.probability * here).sum(-1)
    close(exact.visitation(mdp, policy, discount), counted)


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_the_score_function_estimator_summed_over_all_trajectories_is_the_gradient(discount):
    mdp = random_mdp(3, 2, 5, time_limit=4)
    policy = network(mdp)
    paths = exact.trajectories(mdp, policy)
    log_probability = exact.action_probabilities(mdp, policy).log()[:, paths.state[:-1], paths.action]
    total = returns.discounted(paths.reward, discount, paths.valid)
    surrogate = (paths.probability.detach() * total * (log_probability * paths.valid).sum(-2)).sum(-1)
    close(gradients.per_replica(surrogate, policy), exact.policy_gradient(mdp, policy, discount))


def test_the_count_of_trajectories_is_right_before_they_are_made():
    mdp = random_mdp(3, 2, 0, time_limit=4)
    made = exact.trajectories(mdp, uniform(mdp)).probability.shape[-1]
    exact.trajectories(mdp, uniform(mdp), limit=made)
    with pytest.raises(ValueError, match=f"has {made} trajectories of 4 steps, more than limit = {made - 1}"):
        exact.trajectories(mdp, uniform(mdp), limit=made - 1)
    with pytest.raises(ValueError, match=r"about 10\^904 trajectories of 1000 steps, more than limit = 100000; shorten"):
        exact.trajectories(without_end(), uniform(without_end()), 1000)


def test_a_shorter_horizon_cuts_trajectories_short():
    mdp = random_mdp(3, 2, 0, time_limit=4)
    cut = exact.trajectories(mdp, uniform(mdp), 2)
    assert cut.state.shape[0] == 3
    close((cut.probability * cut.reward.sum(0)).sum(), exact.expected_return(replace(mdp, time_limit=2), uniform(mdp)))
    assert exact.trajectories(mdp, uniform(mdp), 9).state.shape[0] == 5  # the time limit holds all the same


# ------------------------------------------------------------------------------------ enumerable MDPs: gradients


@pytest.mark.parametrize("time_limit", [4, None])
@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
def test_the_gradient_agrees_with_finite_differences(time_limit, discount):
    mdp = random_mdp(4, 3, 1, time_limit=time_limit)
    policy = network(mdp)
    expected = finite_differences(lambda: exact.expected_return(mdp, policy, discount), policy)
    close(exact.policy_gradient(mdp, policy, discount), expected, 1e-8)


@pytest.mark.parametrize("time_limit", [4, None])
@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_the_policy_gradient_theorem(time_limit, discount):
    """grad J = sum_s visitation(s) sum_a grad pi(a | s) Q(s, a), with a sum over time where there is a time limit."""
    mdp = random_mdp(4, 3, 2, time_limit=time_limit)
    policy = network(mdp)
    visits = exact.visitation(mdp, policy, discount).detach()
    value = exact.action_value(mdp, policy, discount).detach()
    probability = exact.action_probabilities(mdp, policy)
    if time_limit is not None:
        probability = probability.unsqueeze(1)
    surrogate = (visits.unsqueeze(-1) * probability * value).flatten(1).sum(1)
    close(gradients.per_replica(surrogate, policy), exact.policy_gradient(mdp, policy, discount))


def test_everything_is_differentiable_in_the_tables_too():
    mdp = random_mdp(3, 2, 0, time_limit=None)

    def objective(logits, reward, transition):
        moved = replace(mdp, reward=reward, transition=transition.softmax(-1))
        return exact.expected_return(moved, logits.softmax(-1), 0.9), exact.visitation(moved, logits.softmax(-1), 0.9)

    inputs = (torch.randn(3, 2), mdp.reward, torch.randn(3, 2, 3))
    assert torch.autograd.gradcheck(objective, [x.to(F64).clone().requires_grad_() for x in inputs])


def test_a_policy_that_sees_aliased_states_has_a_gradient_of_its_own():
    mdp = replace(random_mdp(4, 2, 0), observation=torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 0]]))
    policy = network(mdp)
    probability = exact.action_probabilities(mdp, policy)
    assert torch.equal(probability[:, 0], probability[:, 1])
    expected = finite_differences(lambda: exact.expected_return(mdp, policy), policy)
    close(exact.policy_gradient(mdp, policy), expected, 1e-8)


# ------------------------------------------------------------------------------- enumerable MDPs: policies on observations

UP, RIGHT, DOWN, LEFT = range(4)


def walker(q):
    """Right with probability q in the cells that look alike, and the best elsewhere: a table on observations, [..., 5, 4]."""
    q = torch.as_tensor(q, dtype=F64)
    table = torch.zeros(*q.shape, 5, 4, dtype=F64)
    table[..., [0, 2, 3, 4], [RIGHT, DOWN, LEFT, UP]] = 1
    table[..., 1, RIGHT], table[..., 1, LEFT] = q, 1 - q
    return table


def blind(mdp, looks):
    """``mdp`` with one-hot observations: state s looks like ``looks[s]``."""
    return replace(mdp, observation=torch.eye(max(looks) + 1, dtype=F64)[list(looks)])


@pytest.mark.parametrize("discount", [0.9, 0.5])
@pytest.mark.parametrize("q", [0.0, 0.2, 0.5, 1.0])
def test_the_aliased_gridworld_in_closed_form(q, discount):
    """From the second cell V = discount (q + (1 - q) discount V), and so on; the treasure is one step below the middle."""
    world = aliased_gridworld(time_limit=None)
    policy = exact.on_observations(world, walker(q))
    second, fourth = (p * discount / (1 - (1 - p) * discount**2) for p in (q, 1 - q))
    value = torch.tensor([discount * second, second, 1, fourth, discount * fourth, 0, 0, 0], dtype=F64)
    close(exact.state_value(world, policy, discount), value)
    close(exact.expected_return(world, policy, discount), value[[0, 1, 3, 4]].mean())
    around = exact.action_value(world, policy, discount)
    close(around[1, [UP, RIGHT, LEFT]], discount * value[[1, 2, 0]])
    close(around[[0, 2, 4], DOWN], torch.tensor([-1.0, 1, -1], dtype=F64))
    close(exact.advantage(world, policy, discount)[3], around[3] - value[3])
    visits = exact.visitation(world, policy, discount)
    close(visits[1], (1 + discount) / 4 / (1 - (1 - q) * discount**2) * torch.ones((), dtype=F64))


def test_the_best_policies_of_the_aliased_gridworld():
    world = aliased_gridworld()
    table, best = exact.best_deterministic(world, 0.9)
    close(best, torch.tensor((0.9 + 0.9**2) / 4, dtype=F64))  # two of four starts never arrive
    close(exact.expected_return(world, exact.on_observations(world, table), 0.9), best)
    assert table.argmax(-1)[[0, 1, 2]].tolist() == [RIGHT, RIGHT, DOWN]
    q, mixed = exact.best_between(world, walker(0.0), walker(1.0), 0.9)
    assert q == pytest.approx(0.5, abs=1e-12)
    second = 0.45 / (1 - 0.405)
    close(mixed, torch.tensor((second + 0.9 * second) / 2, dtype=F64), 1e-6)
    seeing, whole = exact.best_deterministic(replace(world, observation=torch.eye(8)), 0.9)
    close(whole, torch.tensor((0.9 + 0.9**2) / 2, dtype=F64))
    assert seeing.argmax(-1)[:5].tolist() == [RIGHT, RIGHT, DOWN, LEFT, LEFT]


@pytest.mark.parametrize("time_limit", [7, 50, None])
@pytest.mark.parametrize("start", [(0.1, 0.2, 0.1, 0.4, 0.2), (0, 0.05, 0, 0.95, 0), (0.5, 0.5, 0, 0, 0)])
def test_no_policy_on_observations_is_better_than_the_best_mixture(start, time_limit):
    """Gradient ascent from many beginnings never gets beyond it, and there the advantage theorem says that it is stationary."""
    world = replace(aliased_gridworld(time_limit=time_limit), initial_probability=torch.tensor([*start, 0, 0, 0], dtype=F64))
    q, best = exact.best_between(world, walker(0.0), walker(1.0), 0.9)
    many = exact.expected_return(world, exact.on_observations(world, walker(torch.linspace(0, 1, 1001))), 0.9)
    assert many.max() <= best + 1e-12
    assert abs(many.argmax().item() / 1000 - q) <= 0.001
    logits = 2 * torch.randn(30, 5, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    for _ in range(60):
        logits.requires_grad_()
        found = exact.expected_return(world, exact.on_observations(world, logits.softmax(-1)), 0.9)
        assert found.max() <= best + 1e-12
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        logits = (logits + 20 * gradient).detach()
    # What each choice is worth at a look, on average over the states that have it: none beats those that are taken.
    policy = exact.on_observations(world, walker(q))
    gain = exact.visitation(world, policy, 0.9).unsqueeze(-1) * exact.advantage(world, policy, 0.9)
    gain = gain.reshape(-1, 8, 4).sum(0)
    assert (world.observation.T @ gain).max() < 1e-9


def test_the_best_mixture_in_closed_form():
    """Starts L at the left and R at the right, ends discounted: dJ/dq = 0 at q = (c + 1 - k c) / (1 + k), k = sqrt(R / L)."""
    discount, start = 0.8, torch.tensor([0.1, 0.3, 0.1, 0.2, 0.3], dtype=F64)
    world = replace(aliased_gridworld(time_limit=None), initial_probability=torch.cat([start, torch.zeros(3, dtype=F64)]))
    c, k = 1 / discount**2 - 1, ((start[3] + discount * start[4]) / (start[1] + discount * start[0])).sqrt()
    q, _ = exact.best_between(world, walker(0.0), walker(1.0), discount)
    assert q == pytest.approx(float((c + 1 - k * c) / (1 + k)), abs=1e-9)


@pytest.mark.parametrize("time_limit", [4, None])
@pytest.mark.parametrize("discount", [0.9, 0.5])
def test_the_gradient_of_a_policy_on_observations_agrees_with_finite_differences(time_limit, discount):
    """By a module and by a table: the same numbers, and those of central differences."""
    mdp = blind(random_mdp(5, 3, 7, time_limit=time_limit), (0, 1, 0, 1, 2))
    policy = policies.Categorical(Rng(range(2), dtype=F64), 3, 3, hidden=())
    with torch.no_grad():
        policy.body.weights[0].copy_(torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=F64))
    expected = finite_differences(lambda: exact.expected_return(mdp, policy, discount), policy)
    close(exact.policy_gradient(mdp, policy, discount), expected, 1e-8)
    logits = policy.body.weights[0].detach().clone().requires_grad_()
    value = exact.expected_return(mdp, exact.on_observations(mdp, logits.softmax(-1)), discount)
    close(value, exact.expected_return(mdp, policy, discount))
    (by_table,) = torch.autograd.grad(value.sum(), logits)
    close(by_table.flatten(1), expected[:, :9], 1e-8)


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_a_policy_on_observations_by_all_its_trajectories(discount):
    """J, V, Q and visits, counted over every trajectory that a policy on two observations can take."""
    mdp = blind(random_mdp(4, 2, 3, time_limit=4), (0, 1, 1, 0))
    table = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=F64).softmax(-1)
    policy = exact.on_observations(mdp, table)
    assert torch.equal(policy[0], policy[3])
    assert torch.equal(policy[1], policy[2])
    paths = exact.trajectories(mdp, policy)
    close(paths.probability.sum(), torch.ones((), dtype=F64))
    total = returns.discounted(paths.reward, discount, paths.valid)
    close((paths.probability * total).sum(), exact.expected_return(mdp, policy, discount))
    value, around = exact.state_value(mdp, policy, discount), exact.action_value(mdp, policy, discount)
    togo = returns.to_go(paths.reward, discount, valid=paths.valid)
    for state in range(3):
        at = (paths.state[1] == state) * paths.probability
        close((at * togo[1]).sum() / at.sum(), value[1, state])
        close(at.sum() * discount, exact.visitation(mdp, policy, discount)[1, state])
        for action in range(2):
            took = at * (paths.action[1] == action)
            close((took * togo[1]).sum() / took.sum(), around[1, state, action])
    close(exact.advantage(mdp, policy, discount), around - value.unsqueeze(-1))


def test_rock_paper_scissors_by_hand():
    game = rock_paper_scissors(10)

    def earned(*p):
        return exact.expected_return(game, exact.on_observations(game, torch.tensor(p, dtype=F64)[..., None, :]))

    close(earned(*torch.eye(3).tolist()), torch.full((3,), -9.0, dtype=F64))  # a draw on average, then nine losses
    close(earned(1 / 3, 1 / 3, 1 / 3), torch.zeros((), dtype=F64))
    # Two rounds: in the second the opponent expects the first move i, and p_{i-1} - p_i is what that pays.
    p = torch.tensor([0.5, 0.2, 0.3], dtype=F64)
    two = rock_paper_scissors(2)
    close(exact.expected_return(two, exact.on_observations(two, p[None])), (p * (p.roll(1) - p)).sum())
    mixed = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    mixed = mixed / mixed.sum(-1, keepdim=True)
    assert (earned(*mixed.tolist()) < 0).all()
    table, best = exact.best_deterministic(game)
    assert table.shape == (1, 3)
    close(best, torch.tensor(-9.0, dtype=F64))
    reply = (game.reward == 1).any(-1).to(F64)  # [S, A]: what beats the opponent's next move
    close(exact.expected_return(game, reply), torch.tensor(10.0, dtype=F64))


def test_a_few_deterministic_policies_by_hand():
    mdp = blind(random_mdp(4, 3, 1), (0, 1, 0, 2))  # 3 x 3 policies: the terminal state's look does not count
    table, best = exact.best_deterministic(mdp, 0.9)
    all_of_them = [
        exact.on_observations(mdp, torch.eye(3, dtype=F64)[[first, second, 0]]) for first in range(3) for second in range(3)
    ]
    values = torch.stack([exact.expected_return(mdp, each, 0.9) for each in all_of_them])
    close(best, values.max())
    close(exact.on_observations(mdp, table)[:3], all_of_them[values.argmax()][:3])
    with pytest.raises(ValueError, match="has 9 deterministic policies, more than limit = 8"):
        exact.best_deterministic(mdp, 0.9, limit=8)


@pytest.mark.parametrize("mdp", [rock_paper_scissors(6), aliased_gridworld(time_limit=12)], ids=lambda mdp: mdp.name)
def test_rollouts_of_policies_on_observations_earn_what_is_computed(mdp):
    """8 z-scores: one beyond 5 would come up with probability 4.6e-6 were the seeds not fixed."""
    policy = network(mdp, replicas=4)
    record = episodes(mdp, policy, Rng(range(4), stream=1, dtype=F64), 4000)
    total = returns.discounted(record.reward, 0.9, record.valid)
    z = (total.mean(1) - exact.expected_return(mdp, policy, 0.9)) / (total.std(1) / 4000**0.5)
    assert z.abs().max() < FALSE_ALARM


def test_a_table_that_does_not_fit_the_observations_is_refused():
    mdp = blind(random_mdp(4, 2, 0), (0, 1, 1, 0))
    with pytest.raises(ValueError, match=r"shape \(4, 2\).*2 observations and 2 actions.*\[..., 2, 2\]"):
        exact.on_observations(mdp, torch.ones(4, 2))
    features = replace(mdp, observation=torch.tensor([[0.3], [1], [1], [0]]))
    with pytest.raises(ValueError, match=r"not one-hot.*use a module"):
        exact.on_observations(features, torch.ones(1, 2))


# ----------------------------------------------------------------------------------- enumerable MDPs: identities


@pytest.mark.parametrize("time_limit", [5, None])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_values_satisfy_their_equations(time_limit, discount):
    mdp = random_mdp(5, 3, 4, time_limit=time_limit)
    policy = network(mdp)
    value, action_value = exact.state_value(mdp, policy, discount), exact.action_value(mdp, policy, discount)
    probability = exact.action_probabilities(mdp, policy)
    if time_limit is None:
        following = value
    else:
        probability = probability.unsqueeze(1)
        following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)  # V_{t+1}, V_T = 0
    close(value, (probability * action_value).sum(-1))
    close(exact.advantage(mdp, policy, discount), action_value - value.unsqueeze(-1))
    close((probability * exact.advantage(mdp, policy, discount)).sum(-1), torch.zeros_like(value))
    backup = mdp.reward + discount * following[..., None, None, :]
    close(action_value, (mdp.transition * backup).sum(-1))
    assert (value[..., -1] == 0).all()  # the terminal state's
    reward = (probability * (mdp.transition * mdp.reward).sum(-1)).sum(-1)
    earned = (exact.visitation(mdp, policy, discount) * reward).flatten(1).sum(1)
    close(earned, exact.expected_return(mdp, policy, discount))


def test_visits_add_up():
    mdp = without_end(time_limit=7)
    close(exact.visitation(mdp, uniform(mdp), 0.9).sum(), torch.tensor((1 - 0.9**7) / 0.1, dtype=F64))
    mdp = replace(mdp, time_limit=None)
    close(exact.visitation(mdp, uniform(mdp), 0.9).sum(), torch.tensor(10.0, dtype=F64))
    one_half = Tabular([[[0.5, 0.5]], [[0.0, 1.0]]], [[0.0], [0.0]], [1.0, 0.0], [False, True])  # geometric: 2 steps
    close(exact.visitation(one_half, torch.ones(2, 1)).sum(), torch.tensor(2.0, dtype=F64))


@pytest.mark.parametrize(("mdp", "discount"), [(without_end(), 0.9), (random_mdp(5, 2, 6, time_limit=None), 1.0)])
def test_no_time_limit_is_the_limit_of_long_ones(mdp, discount):
    policy, long = network(mdp), replace(mdp, time_limit=400)
    close(exact.action_value(mdp, policy, discount), exact.action_value(long, policy, discount)[:, 0])
    close(exact.visitation(mdp, policy, discount), exact.visitation(long, policy, discount).sum(1))
    close(exact.policy_gradient(mdp, policy, discount), exact.policy_gradient(long, policy, discount), 1e-9)


def test_replicas_do_not_touch_each_other():
    mdp = random_mdp(4, 2, 0)
    together, alone = network(mdp, replicas=3), network(mdp, replicas=1)
    with torch.no_grad():
        for many, one in zip(together.parameters(), alone.parameters(), strict=True):
            one.copy_(many[1:2])
    close(exact.expected_return(mdp, together)[1:2], exact.expected_return(mdp, alone))
    close(exact.policy_gradient(mdp, together)[1:2], exact.policy_gradient(mdp, alone))


def test_plain_probabilities_with_any_leading_axes():
    mdp = random_mdp(4, 2, 0)
    table = torch.rand(2, 3, 4, 2, dtype=F64)
    table = table / table.sum(-1, keepdim=True)
    together = exact.state_value(mdp, table, 0.9)
    assert together.shape == (2, 3, 10, 4)
    close(together[1, 2], exact.state_value(mdp, table[1, 2], 0.9))
    close(exact.trajectories(mdp, table, 2).probability[1, 2], exact.trajectories(mdp, table[1, 2], 2).probability)


def test_a_float32_policy_is_computed_with_in_float64():
    mdp = random_mdp(4, 2, 0)
    policy = policies.for_env(mdp, Rng(range(2)))
    assert exact.expected_return(mdp, policy).dtype == F64
    assert exact.policy_gradient(mdp, policy).dtype == torch.float32


# ------------------------------------------------------------------------------------ enumerable MDPs: simulation


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("mdp", [two_step(), gridworld(time_limit=20), random_mdp(5, 3, 0)], ids=lambda mdp: mdp.name)
def test_rollouts_earn_what_is_computed(mdp, discount):
    """24 z-scores in all: one beyond 5 would come up with probability 1.4e-5 were the seeds not fixed."""
    policy = network(mdp, replicas=4)
    record = episodes(mdp, policy, Rng(range(4), stream=1, dtype=F64), 4000)
    total = returns.discounted(record.reward, discount, record.valid)
    z = (total.mean(1) - exact.expected_return(mdp, policy, discount)) / (total.std(1) / 4000**0.5)
    assert z.abs().max() < FALSE_ALARM


def test_rollouts_visit_what_is_computed():
    """50 z-scores: one beyond 5 would come up with probability 2.9e-5 were the seed not fixed."""
    mdp = random_mdp(5, 3, 0)
    policy = network(mdp, replicas=1)
    record = episodes(mdp, policy, Rng(0, stream=1, dtype=F64), 20_000)
    visits = torch.zeros(10, 5, dtype=F64)
    steps = record.observation.shape[1]
    visits[:steps] = (record.observation * record.valid.unsqueeze(-1)).mean(2)[0]  # one-hot observations
    expected = exact.visitation(mdp, policy)[0]
    error = (expected * (1 - expected) / 20_000).sqrt().clamp(min=1 / 20_000)
    assert ((visits - expected) / error).abs().max() < FALSE_ALARM


# -------------------------------------------------------------------------------------- enumerable MDPs: bad inputs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mdp: exact.expected_return(mdp, uniform(mdp), 1.1), "discount is 1.1"),
        (lambda mdp: exact.visitation(mdp, uniform(mdp), -0.1), "discount is -0.1"),
        (lambda mdp: exact.expected_return(mdp, torch.ones(4, 3)), r"shape \(4, 3\).*\[..., 4, 2\]"),
        (lambda mdp: exact.expected_return(mdp, torch.ones(4, 2)), "do not sum to 1"),
        (lambda mdp: exact.expected_return(mdp, torch.full((4, 2), math.nan)), "do not sum to 1"),
        (
            lambda mdp: exact.expected_return(without_end(), uniform(mdp)),
            "comes to state 0 .of 4.*never ends.*discount below 1",
        ),
        (lambda mdp: exact.visitation(without_end(), uniform(mdp)), "never ends"),
        (lambda mdp: exact.trajectories(without_end(), uniform(mdp)), "horizon is None and the time limit.*None"),
        (lambda mdp: exact.trajectories(mdp, uniform(mdp), 0), "horizon is 0"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_mdp(4, 2, 0))


def test_a_gaussian_policy_on_an_enumerable_mdp_is_refused():
    mdp = random_mdp(4, 2, 0)
    with pytest.raises(TypeError, match="gives Normal; an enumerable MDP needs a Categorical"):
        exact.expected_return(mdp, policies.Gaussian(Rng(0), 4, 2))


def test_an_episode_that_one_policy_ends_and_another_does_not():
    stay_or_go = Tabular([[[1.0, 0], [0, 1]], [[0, 1.0], [0, 1]]], [[1.0, 0], [0, 0]], [1.0, 0], [False, True])
    close(exact.expected_return(stay_or_go, torch.tensor([[0.9, 0.1], [0.5, 0.5]])), torch.tensor(9.0, dtype=F64), 1e-6)
    with pytest.raises(ValueError, match="comes to state 0"):
        exact.expected_return(stay_or_go, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


# ------------------------------------------------------------------------------------------------------------------ LQR

DISCOUNT = 0.95


def wide(time_limit=None, seed=0):
    """Three state numbers, two actions, noise in a plane; not stable by itself."""
    generator = torch.Generator().manual_seed(seed)
    a, b, q, spread, noise = (torch.randn(s, generator=generator, dtype=F64) for s in ((3, 3), (3, 2), (3, 3), (3, 3), (3, 3)))
    noise[:, 2] = 0
    return LQR(
        dynamics=a,
        control=b,
        state_cost=q @ q.mT,
        action_cost=[[1.0, 0.3], [0.3, 0.5]],
        noise=noise,
        initial_mean=[1.0, -1.0, 0.5],
        initial_spread=spread,
        time_limit=time_limit,
    )


def test_the_last_two_steps_by_hand():
    # x' = 2x + u + z/2, cost 3x^2 + 5u^2, discount 1/2. At the last step nothing is worth doing: K = 0, P = 3, c = 0. Before:
    # K = 1/2 (5 + 3/2)^-1 * 3 * 2 = 6/13, P = 3 + 1/2 * 2 * 3 * (2 - 6/13) = 99/13, c = 1/2 * 3 / 4.
    solved = exact.riccati(LQR([[2.0]], [[1.0]], [[3.0]], [[5.0]], noise=0.5, time_limit=2), 0.5)
    close(solved.gain.flatten(), torch.tensor([6 / 13, 0], dtype=F64))
    close(solved.cost.flatten(), torch.tensor([99 / 13, 3], dtype=F64))
    close(solved.constant, torch.tensor([3 / 8, 0], dtype=F64))
    close(solved.value(torch.tensor([2.0], dtype=F64)), -torch.tensor([4 * 99 / 13 + 3 / 8, 12], dtype=F64))


@pytest.mark.parametrize("lqr", [wide(), double_integrator(None)], ids=["wide", "double-integrator"])
def test_riccati_agrees_with_scipy(lqr):
    # A discount is the same as dynamics and control both times its root.
    a, b = (DISCOUNT**0.5 * matrix.numpy() for matrix in (lqr.dynamics, lqr.control))
    expected = scipy.linalg.solve_discrete_are(a, b, lqr.state_cost.numpy(), lqr.action_cost.numpy())
    close(exact.riccati(lqr, DISCOUNT).cost, torch.from_numpy(expected), 1e-9)


def test_no_time_limit_is_the_limit_of_long_ones_for_lqr():
    forever, long = exact.riccati(wide(), DISCOUNT), exact.riccati(wide(600), DISCOUNT)
    for field in ("gain", "cost", "constant"):
        close(getattr(forever, field), getattr(long, field)[0], 1e-9)


def test_no_action_is_better_than_riccatis():
    """V_t(x) = max_u [r(x, u) + discount E V_{t+1}(A x + B u + L z)], and the maximum is at u = -K_t x."""
    lqr = wide(5)
    solved = exact.riccati(lqr, DISCOUNT)
    state = torch.randn(3, generator=torch.Generator().manual_seed(1), dtype=F64)
    outcomes = distributions.Normal(torch.zeros(3, dtype=F64), torch.zeros(3, dtype=F64))

    def worth(t, action):
        def total(z):
            following, reward, _ = lqr.step(state.expand(27, 3), action.expand(27, 2), z)
            return reward + DISCOUNT * solved.value(following)[:, t + 1]

        return exact.expectation(outcomes, total, order=3)  # quadratic in the noise: three points each way are exact

    for t in range(4):
        best = (-solved.gain[t] @ state).requires_grad_()
        value = worth(t, best)
        close(value.detach(), solved.value(state)[t])
        close(torch.autograd.grad(value, best)[0], torch.zeros(2, dtype=F64), 1e-9)
        assert worth(t, best.detach() + 0.1) < value


def test_the_exact_return_of_a_linear_policy_is_best_at_riccatis_gain():
    lqr = wide()
    solved = exact.riccati(lqr, DISCOUNT)
    gain = solved.gain.clone().requires_grad_()
    bias, std = (torch.zeros(2, dtype=F64, requires_grad=True) for _ in range(2))
    value = exact.linear_return(lqr, gain, bias, std, DISCOUNT)
    # E V(x_0) = V(mean) - trace(P Sigma_0)
    spread = torch.trace(solved.cost @ lqr.initial_spread @ lqr.initial_spread.mT)
    close(value.detach(), solved.value(lqr.initial_mean) - spread, 1e-9)
    for gradient in torch.autograd.grad(value, (gain, bias, std)):
        close(gradient, torch.zeros_like(gradient), 1e-7)
    assert exact.linear_return(lqr, solved.gain + 0.01, discount=DISCOUNT) < value


def test_without_noise_one_simulated_episode_is_the_exact_return():
    lqr = replace(double_integrator(30, noise=0.0), initial_mean=torch.tensor([1.0, -0.5]), initial_spread=torch.tensor(0.0))
    gain, bias = torch.tensor([[0.7, 0.9]], dtype=F64), torch.tensor([0.2], dtype=F64)
    state, total = lqr.initial(torch.zeros(2, dtype=F64)), 0.0
    for t in range(30):
        state, reward, _ = lqr.step(state, -gain @ state + bias, torch.zeros(2, dtype=F64))
        total = total + DISCOUNT**t * reward
    close(exact.linear_return(lqr, gain, bias, discount=DISCOUNT), total)


def test_two_steps_of_a_noisy_linear_policy_by_hand():
    # From x_0 = 0 with K = 2, std 3: u_0 = 3z, x_1 = 5 u_0, u_1 = -2 x_1 + 3z'; cost 7 x^2 + 11 u^2.
    lqr = LQR([[4.0]], [[5.0]], [[7.0]], [[11.0]], initial_spread=0.0, time_limit=2)
    gain, std = torch.tensor([[2.0]], dtype=F64), torch.tensor([3.0], dtype=F64)
    last = 7 * 15**2 + 11 * (4 * 15**2 + 9)
    close(exact.linear_return(lqr, gain, std=std, discount=0.5), -torch.tensor(11 * 9 + 0.5 * last, dtype=F64))


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_rollouts_of_a_linear_gaussian_policy_earn_what_is_computed(discount):
    """8 z-scores in all: one beyond 5 would come up with probability 4.6e-6 were the seeds not fixed."""
    lqr = replace(double_integrator(20, noise=0.3), initial_mean=torch.tensor([1.0, 0.0]))
    policy = policies.Gaussian(Rng(range(4), dtype=F64), 2, 1, hidden=())
    with torch.no_grad():
        policy.body.weights[0].copy_(torch.tensor([[-0.5], [-0.8]], dtype=F64))
        policy.body.biases[0].fill_(0.3)
        policy.log_std.copy_(torch.tensor([[-1.0], [0.0], [0.3], [0.6]], dtype=F64))
    expected = exact.linear_return(lqr, *exact.linear_parts(policy, 2), discount)
    record = episodes(lqr, policy, Rng(range(4), stream=1, dtype=F64), 4000)
    total = returns.discounted(record.reward, discount, record.valid)
    z = (total.mean(1) - expected) / (total.std(1) / 4000**0.5)
    assert z.abs().max() < FALSE_ALARM


@pytest.mark.parametrize("time_limit", [10, None])
def test_the_return_of_a_linear_policy_is_differentiable_replica_by_replica(time_limit):
    lqr = double_integrator(time_limit)
    policy = policies.Gaussian(Rng(range(3), dtype=F64), 2, 1, hidden=())
    with torch.no_grad():
        policy.body.weights[0] -= 0.8

    def objective():
        return exact.linear_return(lqr, *exact.linear_parts(policy, 2), DISCOUNT)

    expected = finite_differences(objective, policy)
    close(gradients.per_replica(objective(), policy), expected, 1e-7)


def test_linear_returns_without_time_limit_are_the_limit_of_long_ones():
    gain = torch.tensor([[[0.7, 0.9]], [[0.1, 0.5]]], dtype=F64)
    bias, std = torch.tensor([[0.1], [-0.3]], dtype=F64), torch.tensor([[0.5], [0.2]], dtype=F64)
    forever = exact.linear_return(double_integrator(None), gain, bias, std, DISCOUNT)
    close(forever, exact.linear_return(double_integrator(800), gain, bias, std, DISCOUNT), 1e-9)


def test_linear_parts_of_a_deterministic_policy():
    policy = policies.Deterministic(Rng(range(2), dtype=F64), 3, 2, hidden=())
    gain, bias, std = exact.linear_parts(policy, 3)
    state = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    close((-gain @ state.unsqueeze(-1)).squeeze(-1) + bias, policy(state).mode)
    assert std is None


def test_riccati_is_differentiable():
    def solve(a, b):
        solved = exact.riccati(LQR(a, b, torch.eye(2), torch.eye(1), noise=0.1, time_limit=None), 0.9)
        return solved.gain, solved.cost, solved.constant

    lqr = double_integrator()
    assert torch.autograd.gradcheck(solve, [x.clone().requires_grad_() for x in (lqr.dynamics, lqr.control)], fast_mode=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lqr: exact.riccati(lqr, 1.0), "no time limit and the discount is 1"),
        (lambda lqr: exact.riccati(lqr, 1.5), "discount is 1.5"),
        (
            lambda lqr: exact.riccati(LQR([[2.0]], [[0.0]], [[1.0]], [[1.0]], time_limit=None), 0.9),
            "does not settle: with discount 0.9",
        ),
        (lambda lqr: exact.linear_return(lqr, torch.zeros(1, 2), discount=1.0), "no time limit"),
        (lambda lqr: exact.linear_return(lqr, torch.zeros(2, 2), discount=0.9), r"gain has shape \(2, 2\).*\[..., 1, 2\]"),
        (lambda lqr: exact.linear_return(lqr, -torch.ones(1, 2) * 9, discount=0.9), "fold a step.*minus infinity"),
        (lambda lqr: exact.linear_parts(policies.Gaussian(Rng(0), 2, 1), 2), "not linear in the state.*hidden"),
        (lambda lqr: exact.linear_parts(policies.Categorical(Rng(0), 2, 2), 2), "policy is categorical"),
    ],
)
def test_what_cannot_be_computed_is_refused_for_lqr(call, message):
    with pytest.raises(ValueError, match=message):
        call(double_integrator(None))


# --------------------------------------------------------------------------------------------------------- expectations


def normal(mean, std, grad=False):
    mean, log_std = torch.tensor(mean, dtype=F64), torch.tensor(std, dtype=F64).log()
    return distributions.Normal(mean.requires_grad_(grad), log_std.requires_grad_(grad))


def test_categorical_expectation_and_gradient_in_closed_form():
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]], dtype=F64, requires_grad=True)
    payoff = torch.tensor([1.0, 4.0, -2.0], dtype=F64)
    value = exact.expectation(distributions.Categorical(logits), lambda a: payoff[a])
    p = logits.softmax(-1).detach()
    close(value.detach(), p @ payoff)
    # d E / d logit_a = p(a) (f(a) - E f)
    close(torch.autograd.grad(value.sum(), logits)[0], p * (payoff - value.detach().unsqueeze(-1)))


def test_gaussian_moments_and_their_gradients_in_closed_form():
    law = normal([0.7], [1.3], grad=True)
    m, s = 0.7, 1.3
    for power, moment, by_mean, by_log_std in [
        (1, m, 1, 0),
        (2, m**2 + s**2, 2 * m, 2 * s**2),
        (3, m**3 + 3 * m * s**2, 3 * m**2 + 3 * s**2, 6 * m * s**2),
        (4, m**4 + 6 * m**2 * s**2 + 3 * s**4, 4 * m**3 + 12 * m * s**2, 12 * m**2 * s**2 + 12 * s**4),
    ]:
        # a black box: the oracle's gradient must not lean on that of f
        value = exact.expectation(law, lambda x, power=power: x[..., 0].detach() ** power)
        found = torch.stack([value, *(g[0] for g in torch.autograd.grad(value, (law.mean, law.log_std)))])
        close(found.detach(), torch.tensor([moment, moment and by_mean * 1.0, by_log_std * 1.0], dtype=F64))


def test_three_points_are_exact_up_to_degree_five():
    law = normal([0.7], [1.3])
    m, s = 0.7, 1.3
    fifth = m**5 + 10 * m**3 * s**2 + 15 * m * s**4
    sixth = m**6 + 15 * m**4 * s**2 + 45 * m**2 * s**4 + 15 * s**6
    close(exact.expectation(law, lambda x: x[..., 0] ** 5, order=3), torch.tensor(fifth, dtype=F64))
    assert abs(exact.expectation(law, lambda x: x[..., 0] ** 6, order=3).item() - sixth) > 1
    close(exact.expectation(law, lambda x: x[..., 0] ** 6, order=4), torch.tensor(sixth, dtype=F64))


def test_a_smooth_function_in_closed_form():
    # E exp(b . x) = exp(b . m + sum_i b_i^2 s_i^2 / 2)
    law, b = normal([0.5, -1.0], [0.8, 0.3]), torch.tensor([1.0, 2.0], dtype=F64)
    expected = (b @ law.mean + 0.5 * (b * law.std).square().sum()).exp()
    close(exact.expectation(law, lambda x: (x @ b).exp()), expected)


@pytest.mark.parametrize("law", [normal([0.5, -1.0], [0.8, 0.3], grad=True), normal([[0.1], [2.0]], [[1.0], [0.2]], grad=True)])
def test_score_has_mean_zero_and_weighting_by_it_gives_the_gradient(law):
    def score(x):
        z = (x - law.mean) / law.std
        return torch.cat([z / law.std, z**2 - 1], -1).detach()  # by mean and by log_std

    def f(x):
        return (x**3).sum(-1) + x.prod(-1)

    zero = exact.expectation(law, score)
    close(zero.detach(), torch.zeros_like(zero), 1e-9)
    weighted = exact.expectation(law, lambda x: f(x).unsqueeze(-1) * score(x)).detach()
    found = torch.autograd.grad(exact.expectation(law, f).sum(), (law.mean, law.log_std))
    close(weighted, torch.cat(found, -1), 1e-9)


def test_what_depends_on_the_parameter_inside_f_is_in_the_gradient_too():
    law = normal([0.7], [1.3], grad=True)
    value = exact.expectation(law, lambda x: law.mean * x[..., 0])  # E[m x] = m^2
    close(torch.autograd.grad(value.sum(), law.mean)[0], torch.tensor([1.4], dtype=F64))


def test_second_derivatives():
    law = normal([0.7], [1.3], grad=True)
    value = exact.expectation(law, lambda x: x[..., 0].detach() ** 4)  # d^2/dm^2 = 12 m^2 + 12 s^2
    first = torch.autograd.grad(value, law.mean, create_graph=True)[0]
    close(torch.autograd.grad(first, law.mean)[0], torch.tensor([12 * 0.7**2 + 12 * 1.3**2], dtype=F64), 1e-9)


def test_batches_and_tensor_valued_functions():
    mean = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    law = distributions.Normal(mean, torch.zeros_like(mean))
    close(exact.expectation(law, lambda x: x[..., 0]), mean[..., 0])
    outer = exact.expectation(law, lambda x: x.unsqueeze(-1) * x.unsqueeze(-2))
    close(outer, mean.unsqueeze(-1) * mean.unsqueeze(-2) + torch.eye(2, dtype=F64))
    choice = distributions.Categorical(torch.zeros(2, 3, 4, dtype=F64))
    assert exact.expectation(choice, lambda a: a.to(F64)).shape == (2, 3)
    close(
        exact.expectation(choice, lambda a: torch.nn.functional.one_hot(a, 4).to(F64)), torch.full((2, 3, 4), 0.25, dtype=F64)
    )


def test_expectations_that_cannot_be_computed_are_refused():
    with pytest.raises(ValueError, match=r"order 20 in 6 dimensions is a grid of 6.4e\+07 points.*at most 10"):
        exact.expectation(normal([0.0] * 6, [1.0] * 6), lambda x: x.sum(-1))
    exact.expectation(normal([0.0] * 6, [1.0] * 6), lambda x: x.sum(-1), order=3)
    with pytest.raises(ValueError, match="order 0"):
        exact.expectation(normal([0.0], [1.0]), lambda x: x.sum(-1), order=0)
    with pytest.raises(ValueError, match=r"f returned shape \(\)"):
        exact.expectation(normal([0.0], [1.0]), lambda x: x.sum())
    with pytest.raises(TypeError, match="Deterministic; exact expectations exist for Categorical, Bernoulli, Normal"):
        exact.expectation(distributions.Deterministic(torch.zeros(1)), lambda x: x.sum(-1))


def test_what_jumps_is_exact_between_its_breaks():
    """P(x > 1) and E|x - 1|, with their gradients, by the error function; in a batch, each law with its own cuts."""
    mean, std = torch.tensor([[0.3], [1.0], [-4.0]], dtype=F64, requires_grad=True), 0.7
    law = distributions.Normal(mean, torch.full_like(mean, math.log(std)))
    z = ((1 - mean) / std)[:, 0]
    density, above = (-z.square() / 2).exp() / math.sqrt(2 * math.pi), torch.special.ndtr(-z)
    jump = exact.expectation(law, lambda x: (x[..., 0] > 1).to(F64), breaks=[1.0])
    bend = exact.expectation(law, lambda x: (x[..., 0] - 1).abs(), breaks=[1.0])
    close(jump, above, 1e-12)
    close(bend, std * (2 * density + z * (2 * torch.special.ndtr(z) - 1)), 1e-12)
    (slope,) = torch.autograd.grad(jump.sum(), mean, retain_graph=True)
    close(slope[:, 0], (density / std).detach(), 1e-12)
    (slope,) = torch.autograd.grad(bend.sum(), mean)
    close(slope[:, 0], (2 * above - 1).detach(), 1e-12)


def test_correlated_gaussians_and_coins_in_closed_form():
    factor = torch.tensor([[1.2, 0.0], [-0.7, 0.4]], dtype=F64, requires_grad=True)
    law = distributions.MultivariateNormal(torch.tensor([0.5, -1.0], dtype=F64), factor)
    weight = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=F64)
    value = exact.expectation(law, lambda x: torch.einsum("...i,ij,...j->...", x, weight, x), order=3)
    close(value, law.mean @ weight @ law.mean + torch.trace(weight @ law.covariance))
    close(torch.autograd.grad(value, factor)[0], (2 * weight @ factor).tril().detach())
    coins = distributions.Bernoulli(torch.tensor([[0.4, -1.0, 2.0]], dtype=F64))
    p = coins.probabilities[0]
    close(exact.expectation(coins, lambda b: b.prod(-1))[0], p.prod())
    close(exact.expectation(coins, lambda b: b.sum(-1).square())[0], p.sum() ** 2 + (p * (1 - p)).sum())


def test_the_gradient_of_an_expectation_has_the_shape_of_theta():
    objective = gradients.Expectation(lambda theta: distributions.Normal(theta, 0 * theta), lambda x: (x**3).sum(-1))
    theta = torch.tensor([[[0.5, -1.0]], [[2.0, 0.0]]], dtype=F64)
    close(exact.expectation_gradient(objective, theta), 3 * theta**2 + 3)


def test_breaks_and_coins_that_cannot_be_served_are_refused():
    with pytest.raises(ValueError, match="breaks are for a Normal of one dimension"):
        exact.expectation(normal([0.0, 0.0], [1.0, 1.0]), lambda x: x.sum(-1), breaks=[0.0])
    with pytest.raises(ValueError, match=r"30 coins have 1.07374e\+09 outcomes, more than limit"):
        exact.expectation(distributions.Bernoulli(torch.zeros(30)), lambda b: b.sum(-1))
