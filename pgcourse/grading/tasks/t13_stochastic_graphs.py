"""Tasks of lecture 13: stochastic graphs."""

import math

import torch
from torch.nn.functional import softplus

from ..task import EXACT_BUDGET, Exact, Gradient, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 13.chain_surrogate


def chain_surrogate(log_probability_x, log_probability_y, cost_x, cost_y):
    """The surrogate of a chain: x is drawn, then y given x; the costs are cost_x(x) and cost_y(x, y).

    log_probability_x, log_probability_y: [N], log p(x_n) and log p(y_n | x_n). cost_x, cost_y: [N]. Parameters may stand in all
    four: a node is weighed with those costs that depend on it, and a cost that contains a parameter has a slope of its own.
    Returns a tensor with one number, shape []. Only its gradient is judged.
    """
    weight_x = (cost_x + cost_y).detach()
    weight_y = cost_y.detach()
    return (cost_x + cost_y + weight_x * log_probability_x + weight_y * log_probability_y).mean()


def _chain_surrogate_by_magic_boxes(log_probability_x, log_probability_y, cost_x, cost_y):
    both = log_probability_x + log_probability_y
    box_x, box_y = ((each - each.detach()).exp() for each in (log_probability_x, both))
    return (box_x * cost_x + box_y * cost_y).mean()


def _chain_surrogate_cost_by_cost(log_probability_x, log_probability_y, cost_x, cost_y):
    first = cost_x + cost_x.detach() * log_probability_x
    second = cost_y + cost_y.detach() * (log_probability_x + log_probability_y)
    return first.sum() / len(first) + second.sum() / len(second)


def _chain_surrogate_oracle(log_probability_x, log_probability_y, cost_x, cost_y):
    """Its four slopes: x is pushed by both costs, y by the later one, and each cost counts 1 / N."""
    count = len(cost_x)
    slopes = [(f + h, h, 1.0, 1.0) for f, h in zip(cost_x.tolist(), cost_y.tolist(), strict=True)]
    return tuple(torch.tensor(column, dtype=cost_x.dtype) / count for column in zip(*slopes, strict=True))


def _chain_surrogate_cases(generator):
    inputs = [
        (*(readable(-uniform(generator, 0.2, 2, n)) for _ in range(2)), *(readable(normal(generator, n) + 2) for _ in range(2)))
        for n in (1, 2, 3)
    ]
    inputs += [
        (*(-uniform(generator, 0.1, 3, n) for _ in range(2)), *(normal(generator, n) + 1 for _ in range(2))) for n in (5, 9)
    ]
    return cases(_chain_surrogate_oracle, inputs)


def _chain(weight_x, weight_y, costs=lambda f, h: f + h):
    """The surrogate with these weights, functions of both costs held fixed."""

    def surrogate(log_probability_x, log_probability_y, cost_x, cost_y):
        f, h = cost_x.detach(), cost_y.detach()
        scored = weight_x(f, h) * log_probability_x + weight_y(f, h) * log_probability_y
        return (costs(cost_x, cost_y) + scored).mean()

    return surrogate


CHAIN_SURROGATE = Task(
    id="13.chain_surrogate",
    title="The surrogate of a chain",
    signature="chain_surrogate(log_probability_x [N], log_probability_y [N], cost_x [N], cost_y [N]) -> surrogate []",
    reference=chain_surrogate,
    stages=(
        Exact(
            2,
            _chain_surrogate_cases,
            Gradient(("log_probability_x", "log_probability_y", "cost_x", "cost_y")),
        ),
    ),
    alternatives=(_chain_surrogate_by_magic_boxes, _chain_surrogate_cost_by_cost),
    mistakes=(
        Mistake(
            "y weighed with both costs",
            _chain(lambda f, h: f + h, lambda f, h: f + h),
            "You weigh y with cost_x as well. That is unbiased, but cost_x was fixed before y was drawn: to y it is "
            "nothing but noise.",
            "GE16",
        ),
        Mistake(
            "each node its own cost",
            _chain(lambda f, h: f, lambda f, h: h),
            "You weigh x with cost_x alone; cost_y depends on x too, directly and through y, so this gradient is biased.",
            "GE16",
        ),
        Mistake(
            "x weighed with the later cost only",
            _chain(lambda f, h: h, lambda f, h: h),
            "You weigh both nodes with cost_y alone; cost_x depends on x.",
        ),
        Mistake(
            "weights exchanged",
            _chain(lambda f, h: h, lambda f, h: f + h),
            "The weights are exchanged: x, drawn first, answers for both costs, and y for cost_y alone.",
        ),
        Mistake(
            "backward in time",
            _chain(lambda f, h: f, lambda f, h: f + h),
            "You weigh each node with the costs up to it, its past; it answers for the costs that come after it.",
            "GE16",
        ),
        Mistake(
            "costs without their own slope",
            _chain(lambda f, h: f + h, lambda f, h: h, lambda f, h: 0.0),
            "The nodes are weighed rightly, but where a cost contains a parameter its own slope is missing: add the costs "
            "themselves, not detached.",
        ),
        Mistake(
            "only the last cost has a slope",
            _chain(lambda f, h: f + h, lambda f, h: h, lambda f, h: h),
            "cost_x is missing from the sum of the costs: where it contains a parameter, its slope counts too.",
        ),
        Mistake(
            "weights not detached",
            lambda log_probability_x, log_probability_y, cost_x, cost_y: (
                cost_x + cost_y + (cost_x + cost_y) * log_probability_x + cost_y * log_probability_y
            ).mean(),
            "Gradient flows through the weights: a cost that multiplies a log-probability must be detached.",
            "SF12",
        ),
        Mistake(
            "y forgotten",
            _chain(lambda f, h: f + h, lambda f, h: 0.0),
            "log_probability_y has no gradient: y is drawn too, from probabilities that contain parameters.",
        ),
        Mistake(
            "x forgotten",
            _chain(lambda f, h: 0.0, lambda f, h: h),
            "log_probability_x has no gradient: x is drawn too, and both costs depend on it.",
        ),
        Mistake(
            "costs subtracted",
            _chain(lambda f, h: f + h, lambda f, h: h, lambda f, h: -f - h),
            "The sign of the costs' own slope is wrong: the gradient of E[f] contains plus grad f.",
            "SF01",
        ),
        Mistake(
            "sign",
            _chain(lambda f, h: -f - h, lambda f, h: -h, lambda f, h: -f - h),
            "The gradient of your surrogate has the wrong sign. It is the gradient of the expected cost itself.",
            "SF01",
        ),
        Mistake(
            "sum instead of mean",
            lambda *inputs: len(inputs[0]) * chain_surrogate(*inputs),
            "You sum over the N samples; the estimate is their mean.",
            "SF09",
        ),
        Mistake(
            "mean weight for all",
            lambda log_probability_x, log_probability_y, cost_x, cost_y: (
                (cost_x + cost_y).mean()
                + (cost_x + cost_y).mean().detach() * log_probability_x.mean()
                + cost_y.mean().detach() * log_probability_y.mean()
            ),
            "You average the costs before they meet the log-probabilities. Each sample's own cost weighs its own "
            "log-probability; the mean comes last.",
        ),
    ),
    hints=(
        "Which of the two costs would have been another number, had x come out differently? And y?",
        "weight_x = (cost_x + cost_y).detach(), and y has the weight cost_y alone.",
        "Add the costs themselves as well: they may contain parameters. Then take the mean over the N samples.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 13.magic_box_derivatives


def magic_box_derivatives(theta, b):
    """First and second derivatives of E[f(b, theta)], estimated from N tosses of D coins through a magic box.

    theta: [D], the coins' logits; b: [N, D], zeros and ones, drawn from them. The cost of a toss is
    f(b, theta) = (sum_d b_d theta_d - 1)^2: it contains theta too. The surrogate is
    mean_n exp(log p(b_n) - detach(log p(b_n))) f(b_n, theta), with log p(b) = sum_d b_d theta_d - log(1 + exp(theta_d)).
    Returns its gradient [D] and its matrix of second derivatives [D, D], by autograd or by hand.
    """

    def surrogate(theta):
        log_probability = (b * theta - torch.nn.functional.softplus(theta)).sum(-1)  # [N]
        box = torch.exp(log_probability - log_probability.detach())
        return (box * (b @ theta - 1).square()).mean()

    return torch.func.grad(surrogate)(theta), torch.func.hessian(surrogate)(theta)


def _magic_box_derivatives_by_autograd(theta, b):
    theta = theta.detach().requires_grad_()
    law = torch.distributions.Bernoulli(logits=theta)
    log_probability = law.log_prob(b).sum(1)
    cost = (b @ theta - 1) ** 2
    surrogate = (torch.exp(log_probability - log_probability.detach()) * cost).mean()
    (gradient,) = torch.autograd.grad(surrogate, theta, create_graph=True)
    rows = [torch.autograd.grad(each, theta, retain_graph=True)[0] for each in gradient]
    return gradient.detach(), torch.stack(rows)


def _magic_box_derivatives_by_ratios(theta, b):
    """The box as a ratio of probabilities."""
    old = theta.detach().clone()

    def surrogate(new):
        ratio = (torch.sigmoid((2 * b - 1) * new) / torch.sigmoid((2 * b - 1) * old)).prod(-1)
        return (ratio * ((b * new).sum(-1) - 1).pow(2)).sum() / b.shape[0]

    hessian = torch.autograd.functional.hessian(surrogate, old)
    return torch.autograd.functional.jacobian(surrogate, old), hessian


def _magic_box_derivatives_by_hand(theta, b):
    p = torch.sigmoid(theta)
    score, away = b - p, b @ theta - 1
    gradient = (away.square()[:, None] * score + 2 * away[:, None] * b).mean(0)
    bend = torch.einsum("n,nd,ne->de", away.square(), score, score) / len(b) - away.square().mean() * torch.diag(p * (1 - p))
    mixed = torch.einsum("n,nd,ne->de", 2 * away, score, b) / len(b)
    return gradient, bend + mixed + mixed.T + 2 * b.T @ b / len(b)


def _magic_box_derivatives_oracle(theta, b):
    """Entry by entry in Python numbers: f s_i s_j + f d s_i / d theta_j + f_i s_j + f_j s_i + f_ij."""
    logits, tosses = theta.tolist(), b.tolist()
    p = [1 / (1 + math.exp(-logit)) for logit in logits]
    count, size = len(tosses), len(logits)
    first, second = [], []
    for i in range(size):
        terms, row = [], [[] for _ in range(size)]
        for toss in tosses:
            away = math.fsum(x * logit for x, logit in zip(toss, logits, strict=True)) - 1
            score = [x - chance for x, chance in zip(toss, p, strict=True)]
            terms.append(away**2 * score[i] + 2 * away * toss[i])
            for j in range(size):
                bend = -p[i] * (1 - p[i]) if i == j else 0.0
                mixed = 2 * away * (toss[i] * score[j] + toss[j] * score[i])
                row[j].append(away**2 * (score[i] * score[j] + bend) + mixed + 2 * toss[i] * toss[j])
        first.append(math.fsum(terms) / count)
        second.append([math.fsum(each) / count for each in row])
    return torch.tensor(first, dtype=theta.dtype), torch.tensor(second, dtype=theta.dtype)


def _coins(generator, tosses, coins):
    """[N, D] of zeros and ones; the last toss shows 1 everywhere, so that no coin is out of play."""
    b = (uniform(generator, 0, 1, tosses, coins) < 0.5).double()
    b[-1] = 1
    return b


def _magic_box_derivatives_cases(generator):
    inputs = [(readable(normal(generator, d)) + 0.25, _coins(generator, n, d)) for n, d in ((2, 1), (3, 2), (4, 2))]
    inputs += [(normal(generator, d), _coins(generator, n, d)) for n, d in ((7, 3), (6, 4))]
    return cases(_magic_box_derivatives_oracle, inputs)


def _derivatives(surrogate):
    """Both derivatives of the mean of ``surrogate(log p [N], f [N])``."""

    def derivatives(theta, b):
        def value(at):
            return surrogate((b * at - softplus(at)).sum(-1), (b @ at - 1).square()).mean()

        return torch.func.grad(value)(theta), torch.func.hessian(value)(theta)

    return derivatives


def _box(x):
    return (x - x.detach()).exp()


def _unnormalised(theta, b):
    """With b . theta for log p(b)."""

    def value(at):
        return (_box(b @ at) * (b @ at - 1).square()).mean()

    return torch.func.grad(value)(theta), torch.func.hessian(value)(theta)


def _only_cost(theta, b):
    """Of the cost alone, the tosses held fixed."""
    away = b @ theta - 1
    return (2 * away[:, None] * b).mean(0), 2 * b.T @ b / len(b)


MAGIC_BOX_DERIVATIVES = Task(
    id="13.magic_box_derivatives",
    title="Second derivatives through a magic box",
    signature="magic_box_derivatives(theta [D], b [N, D]) -> gradient [D], hessian [D, D]",
    reference=magic_box_derivatives,
    stages=(Exact(3, _magic_box_derivatives_cases),),
    alternatives=(
        _magic_box_derivatives_by_autograd,
        _magic_box_derivatives_by_ratios,
        _magic_box_derivatives_by_hand,
    ),
    mistakes=(
        Mistake(
            "plain surrogate, differentiated twice",
            _derivatives(lambda log_p, f: f + f.detach() * log_p),
            "Your gradient is right and your second derivatives are those of the plain surrogate: its weight is held fixed, so "
            "how the score and the cost change together is lost. Multiply the cost with a magic box instead.",
            "GE15",
        ),
        Mistake(
            "surrogate with a weight that is not detached",
            _derivatives(lambda log_p, f: f + f * log_p),
            "You multiply the cost with log p, and nothing is detached: gradient flows through the weight, and depends on how "
            "large log p itself is. A magic box is worth 1.",
            "SF12",
        ),
        Mistake(
            "cost detached",
            _derivatives(lambda log_p, f: _box(log_p) * f.detach()),
            "You detach the cost; it contains theta too, and its own slope belongs in both derivatives.",
        ),
        Mistake(
            "box without detach",
            _derivatives(lambda log_p, f: log_p.exp() * f),
            "Your box is p(b) itself. Divide by its detached value, or subtract the detached logarithm, so that it is worth 1: "
            "the tosses have been drawn already.",
        ),
        Mistake(
            "box of the detached",
            _only_cost,
            "No gradient flows through the probabilities: your box is the number 1. Only the second logarithm is detached.",
        ),
        Mistake(
            "box the wrong way round",
            _derivatives(lambda log_p, f: (log_p.detach() - log_p).exp() * f),
            "The wrong logarithm is detached: exp(detach(log p) - log p) has the opposite slope.",
            "SF01",
        ),
        Mistake(
            "probabilities that do not add up to 1",
            _unnormalised,
            "Your log p(b) lacks -log(1 + exp(theta_d)): its score is b instead of b minus the probability of 1.",
        ),
        Mistake(
            "box made linear",
            _derivatives(lambda log_p, f: (1 + log_p - log_p.detach()) * f),
            "Your box is 1 + log p - detach(log p). It has the right slope and no curvature: the product of the scores is "
            "missing from your second derivatives. Take the exponential.",
            "GE15",
        ),
        Mistake(
            "mean log-probability in the box",
            _derivatives(lambda log_p, f: _box(log_p.mean()) * f.mean()),
            "One box for all tosses: each toss has its own log p, which goes with its own cost. The mean comes last.",
        ),
        Mistake(
            "all tosses in the box",
            _derivatives(lambda log_p, f: _box(log_p.sum()) * f),
            "Your box holds the log-probabilities of all tosses. Unbiased, but far too noisy: the cost of a toss depends on no "
            "other toss.",
            "GE16",
        ),
        Mistake(
            "product of the gradients",
            lambda theta, b: (
                magic_box_derivatives(theta, b)[0],
                torch.outer(magic_box_derivatives(theta, b)[0], magic_box_derivatives(theta, b)[0]),
            ),
            "Your second output is the gradient times itself; asked are the derivatives of the gradient.",
        ),
        Mistake(
            "diagonal only",
            lambda theta, b: (
                magic_box_derivatives(theta, b)[0],
                torch.diag(magic_box_derivatives(theta, b)[1].diagonal()),
            ),
            "The mixed second derivatives are missing: row i is the gradient of the i-th slope, by every theta_j.",
        ),
        Mistake(
            "sum instead of mean",
            lambda theta, b: tuple(len(b) * each for each in magic_box_derivatives(theta, b)),
            "You sum over the N tosses; the estimate is their mean.",
            "SF09",
        ),
    ),
    hints=(
        "log_probability is [N], summed over the coins; box = exp(log_probability - log_probability.detach()).",
        "The surrogate is (box * cost).mean(), and neither theta in the cost nor the first log-probability is detached.",
        "torch.func.grad(surrogate)(theta) and torch.func.hessian(surrogate)(theta), where surrogate is a function of theta.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.relaxations.magic_box",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 13.causal_costs


def causal_costs(edge, cost):
    """Each node's weight: the sum of the costs that depend on it, directly or through other nodes.

    edge: [V, V]; edge[i, j] is 1 where node j takes node i for an input, else 0. Nodes are numbered in the order in which they
    are computed, so edge[i, j] = 0 unless i < j. cost: [V, N], what each node itself costs in each of N samples (0 for a node
    that is no cost). A node's own cost counts, and every cost counts once, however many ways lead to it.
    Returns [V, N].
    """
    reaches = torch.eye(len(edge), dtype=edge.dtype)
    for i in reversed(range(len(edge))):
        for j in range(i + 1, len(edge)):
            if edge[i, j]:
                reaches[i] = torch.maximum(reaches[i], reaches[j])
    return reaches @ cost


def _causal_costs_by_powers(edge, cost):
    step = torch.eye(len(edge), dtype=edge.dtype) + edge
    return (torch.linalg.matrix_power(step, len(edge)) > 0).to(cost.dtype) @ cost


def _causal_costs_by_sets(edge, cost):
    below = {}
    for i in range(len(edge) - 1, -1, -1):
        below[i] = {i}.union(*(below[j] for j in range(i + 1, len(edge)) if edge[i, j]))
    return torch.stack([sum(cost[j] for j in sorted(below[i])) for i in range(len(edge))])


def _causal_costs_by_walks(edge, cost):
    weight = torch.zeros_like(cost)
    for start in range(edge.shape[0]):
        seen, todo = set(), [start]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                weight[start] += cost[node]
                todo += edge[node].nonzero().flatten().tolist()
    return weight


def _causal_costs_oracle(edge, cost):
    """From the costs backward: whoever has an input to a node that pays is credited, once, with what it pays."""
    rows, paid = edge.tolist(), cost.tolist()
    credits = [[[] for _ in column] for column in paid]
    for j in range(len(rows)):
        answers = {j}
        for i in range(j - 1, -1, -1):
            if any(rows[i][k] for k in answers):
                answers.add(i)
        for i in answers:
            for n, price in enumerate(paid[j]):
                credits[i][n].append(price)
    return torch.tensor([[math.fsum(each) for each in row] for row in credits], dtype=cost.dtype)


def _causal_costs_cases(generator):
    diamond = torch.zeros(4, 4, dtype=torch.float64)
    diamond[0, 1] = diamond[0, 2] = diamond[1, 3] = diamond[2, 3] = 1
    chain = torch.diag(torch.ones(3, dtype=torch.float64), 1)[:3, :3].clone()
    inputs = [(chain, readable(normal(generator, 3, 1) + 2)), (diamond, readable(normal(generator, 4, 2) + 2))]
    for v, n in ((8, 3), (11, 2), (10, 5)):
        edge = (uniform(generator, 0, 1, v, v) < 0.3).double().triu(1)
        edge[0] = edge[2] = 0
        edge[0, 2] = edge[2, 3] = edge[3, 4] = edge[3, 5] = edge[4, 5] = 1  # a long way from 0, and two ways from 3
        edge[:, -2:] = 0
        edge[-2, -1] = 1  # a pair that has nothing to do with the others
        cost = normal(generator, v, n) + 1
        cost[1] = 0  # one that is no cost
        inputs.append((edge, cost))
    return cases(_causal_costs_oracle, inputs)


def _paths(edge):
    """How many ways lead from i to j."""
    return torch.linalg.inv(torch.eye(len(edge), dtype=edge.dtype) - edge)


def _reach(edge):
    return (_paths(edge) > 0.5).to(edge.dtype)


CAUSAL_COSTS = Task(
    id="13.causal_costs",
    title="Which costs depend on which node",
    signature="causal_costs(edge [V, V], cost [V, N]) -> weight [V, N]",
    reference=causal_costs,
    stages=(Exact(2, _causal_costs_cases),),
    alternatives=(_causal_costs_by_powers, _causal_costs_by_sets, _causal_costs_by_walks),
    mistakes=(
        Mistake(
            "direct children only",
            lambda edge, cost: cost + edge @ cost,
            "You count the costs one edge away; a cost also depends on a node through other nodes.",
            "GE16",
        ),
        Mistake(
            "children and grandchildren",
            lambda edge, cost: ((torch.eye(len(edge), dtype=edge.dtype) + edge + edge @ edge) > 0).double() @ cost,
            "You look two edges far; a way may be as long as the graph.",
            "GE16",
        ),
        Mistake(
            "every path counts",
            lambda edge, cost: _paths(edge) @ cost,
            "You count a cost as often as there are ways to it. In a diamond two ways lead to one cost; it is paid once.",
        ),
        Mistake(
            "all costs",
            lambda edge, cost: cost.sum(0, keepdim=True).expand_as(cost).clone(),
            "You weigh every node with all costs. Those that do not depend on it are only noise to it: follow the edges.",
            "GE16",
        ),
        Mistake(
            "all later costs",
            lambda edge, cost: cost.flip(0).cumsum(0).flip(0),
            "You count every cost that is computed later. Later is not enough: it must depend on the node, along the edges.",
            "GE16",
        ),
        Mistake(
            "edges the wrong way",
            lambda edge, cost: _reach(edge).T @ cost,
            "You follow the edges backward: these are the costs that a node depends on, not those that depend on it.",
            "GE16",
        ),
        Mistake(
            "own cost forgotten",
            lambda edge, cost: (_reach(edge) - torch.eye(len(edge), dtype=edge.dtype)) @ cost,
            "A node's own cost is missing; it depends on the node as well.",
        ),
        Mistake(
            "edges in both directions",
            lambda edge, cost: (_paths((edge + edge.T) / (2 * len(edge))) > 1e-12).to(edge.dtype) @ cost,
            "You follow edges in both directions, and so reach costs that merely have a common cause.",
        ),
        Mistake(
            "leaves only",
            lambda edge, cost: _reach(edge) @ (cost * (edge.sum(1, keepdim=True) == 0)),
            "You count the costs at the ends of the graph only; a cost in the middle is paid too.",
        ),
        Mistake(
            "mean instead of sum",
            lambda edge, cost: (_reach(edge) @ cost) / _reach(edge).sum(1, keepdim=True),
            "You average the costs; they add up.",
        ),
        Mistake(
            "averaged over the samples",
            lambda edge, cost: (_reach(edge) @ cost).mean(1, keepdim=True).expand_as(cost).clone(),
            "You average over the N samples; each sample has weights of its own.",
            "SF09",
        ),
        Mistake(
            "number of costs",
            lambda edge, cost: _reach(edge) @ (cost != 0).to(cost.dtype),
            "You count how many costs depend on a node; add up what they cost.",
        ),
    ),
    hints=(
        "Go through the nodes from the last to the first. When you come to node i, you know what each later node reaches.",
        "Node i reaches itself, and all that its children reach. As a row of zeros and ones: the maximum of their rows.",
        "With reaches [V, V], reaches[i, j] = 1 where cost j depends on node i, the answer is reaches @ cost.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 13.episode_graph_surrogate


def episode_graph_surrogate(log_probability, reward, valid, discount):
    """An episode as a graph: action a_t feeds the reward r_t and all that comes later. The mean return, with magic boxes:
    mean_e sum_t discount^t r_t exp(S_t - detach(S_t)), where S_t = sum_{k <= t} log pi(a_k | s_k).

    log_probability, reward: [T, E]; they mean nothing where valid, [T, E], is false. discount: a number in [0, 1]. Rewards may
    contain parameters as well.
    Returns a tensor with one number, shape []: its value is the mean return, its gradient the policy gradient.
    """
    t = torch.arange(len(reward), dtype=reward.dtype)[:, None]
    past = (log_probability * valid).cumsum(0)
    box = torch.exp(past - past.detach())
    return (discount**t * reward * box * valid).sum(0).mean()


def _episode_graph_surrogate_with_to_go(log_probability, reward, valid, discount):
    powers = discount ** torch.arange(reward.shape[0], dtype=reward.dtype).unsqueeze(1)
    paid = torch.where(valid, powers * reward, 0.0)
    weight = paid.detach().flip(0).cumsum(0).flip(0)
    score = torch.where(valid, log_probability - log_probability.detach(), 0.0)
    return (paid + weight * score).sum() / reward.shape[1]


def _episode_graph_surrogate_in_loops(log_probability, reward, valid, discount):
    total = torch.zeros((), dtype=reward.dtype)
    for e in range(reward.shape[1]):
        box = torch.ones((), dtype=reward.dtype)
        for t in range(reward.shape[0]):
            if valid[t, e]:
                box = box * (log_probability[t, e] - log_probability[t, e].detach()).exp()
                total = total + discount**t * reward[t, e] * box
    return total / reward.shape[1]


def _episode_graph_surrogate_oracle(log_probability, reward, valid, discount):
    """Value and slopes, episode by episode in Python numbers: a step is pushed by the discounted rewards from it on."""
    steps, episodes = reward.shape
    value, push, slope = [], torch.zeros_like(reward), torch.zeros_like(reward)
    for e in range(episodes):
        paid = [discount**t * reward[t, e].item() if valid[t, e] else 0.0 for t in range(steps)]
        value.append(math.fsum(paid))
        for t in range(steps):
            if valid[t, e]:
                push[t, e] = math.fsum(paid[t:]) / episodes
                slope[t, e] = discount**t / episodes
    return torch.tensor(math.fsum(value) / episodes, dtype=reward.dtype), push, slope


class _ValueAndGradients(Gradient):
    """Looks at the number as well."""

    def __call__(self, task, answer, inputs):
        value, gradients = answer.gradient(inputs, [task.parameters.index(name) for name in self.wrt])
        return value, *gradients

    def names(self, task):
        return "the number you return", *super().names(task)


def _valid(generator, steps, episodes):
    """[T, E], true during the first 1 .. T steps of each episode; one lasts all T steps, and one does not if there are two."""
    length = torch.randint(1, steps + 1, (episodes,), generator=generator)
    length[0] = max(1, steps - 1)
    length[-1] = steps
    return torch.arange(steps)[:, None] < length


def _episode_graph_surrogate_cases(generator):
    inputs = []
    for t, e, discount in ((2, 1, 0.5), (3, 2, 0.9), (4, 3, 1.0), (4, 2, 0.0)):
        shape = (generator, t, e)
        inputs.append((readable(-uniform(generator, 0.1, 2, t, e)), readable(normal(*shape) + 2), _valid(*shape), discount))
    for t, e, discount in ((7, 4, 0.9), (5, 8, 0.7), (6, 3, 1.0)):
        shape = (generator, t, e)
        inputs.append((-uniform(generator, 0.1, 2, t, e), normal(*shape) + 1, _valid(*shape), discount))
    return cases(_episode_graph_surrogate_oracle, inputs)


def _paid(reward, valid, discount):
    powers = discount ** torch.arange(len(reward), dtype=reward.dtype)[:, None]
    return torch.where(valid, powers * reward, 0.0)


def _boxed(past, paid=_paid, reduce=torch.mean):
    """The boxes of ``past(log pi [T, E], 0 where invalid)``, times ``paid(reward, valid, discount)``."""

    def surrogate(log_probability, reward, valid, discount):
        sums = past(torch.where(valid, log_probability, 0.0))
        return reduce((_box(sums) * paid(reward, valid, discount)).sum(0))

    return surrogate


def _so_far(log_probability):
    return log_probability.cumsum(0)


def _from_now(log_probability):
    return log_probability.flip(0).cumsum(0).flip(0)


def _discounted_twice(reward, valid, discount):
    """Reward-to-go whose discount starts anew at each step."""
    rows, later = [], torch.zeros_like(reward[0])
    for r, alive in zip(reward.flip(0), valid.flip(0), strict=True):
        later = torch.where(alive, r + discount * later, 0.0)
        rows.append(later)
    return torch.stack(rows[::-1])


def _restarted(log_probability, reward, valid, discount):
    paid = _paid(reward, valid, discount)
    log_pi = torch.where(valid, log_probability, 0.0)
    weight = _discounted_twice(reward, valid, discount).detach()
    return (paid + weight * (log_pi - log_pi.detach())).sum(0).mean()


EPISODE_GRAPH_SURROGATE = Task(
    id="13.episode_graph_surrogate",
    title="A graph for an episode",
    signature="episode_graph_surrogate(log_probability [T, E], reward [T, E], valid [T, E], discount) -> surrogate []",
    reference=episode_graph_surrogate,
    stages=(Exact(3, _episode_graph_surrogate_cases, _ValueAndGradients(("log_probability", "reward"))),),
    alternatives=(_episode_graph_surrogate_with_to_go, _episode_graph_surrogate_in_loops),
    mistakes=(
        Mistake(
            "one box for the whole episode",
            _boxed(lambda log_pi: log_pi.sum(0, keepdim=True).expand_as(log_pi)),
            "Your box holds all actions of the episode, also those that come after the reward. Unbiased, but noisy: a reward "
            "depends on the actions up to it.",
            "GE16",
        ),
        Mistake(
            "box of the later actions",
            _boxed(_from_now),
            "Your box for r_t holds the actions from t on; the reward depends on those up to t.",
            "GE16",
        ),
        Mistake(
            "box of its own action",
            _boxed(lambda log_pi: log_pi),
            "Your box for r_t holds a_t alone; earlier actions led to the state it was paid in, so they belong inside.",
            "GE16",
        ),
        Mistake(
            "own action missing",
            _boxed(lambda log_pi: log_pi.cumsum(0) - log_pi),
            "Your box for r_t ends before a_t; the action taken at t decides r_t too.",
            "SF03",
        ),
        Mistake(
            "sums over the episodes",
            _boxed(lambda log_pi: log_pi.cumsum(1)),
            "Your cumsum runs over the episodes; time is axis 0.",
            "SF09",
        ),
        Mistake(
            "forgets the discount",
            _boxed(_so_far, lambda reward, valid, discount: torch.where(valid, reward, 0.0)),
            "The rewards are added up without discount^t.",
        ),
        Mistake(
            "discount starts anew",
            _restarted,
            "Your weights are rewards-to-go that are discounted from their own step on. The cost is discount^t r_t, whichever "
            "action answers for it.",
        ),
        Mistake(
            "plain surrogate",
            lambda log_probability, reward, valid, discount: (
                (
                    _from_now(_paid(reward, valid, discount).detach()) * torch.where(valid, log_probability, 0.0)
                    + _paid(reward, valid, discount)
                )
                .sum(0)
                .mean()
            ),
            "The gradient is right, but the number is not the mean return: log pi times a weight was added to it. A magic box "
            "is worth 1.",
            "SF14",
        ),
        Mistake(
            "rewards detached",
            _boxed(_so_far, lambda reward, valid, discount: _paid(reward.detach(), valid, discount)),
            "You detach the rewards. Nothing is weighed here: a reward that contains parameters has a slope of its own.",
        ),
        Mistake(
            "box without detach",
            lambda log_probability, reward, valid, discount: (
                (torch.where(valid, log_probability, 0.0).cumsum(0).exp() * _paid(reward, valid, discount)).sum(0).mean()
            ),
            "Your box is the probability of the actions so far; subtract the detached sum, so that it is worth 1.",
        ),
        Mistake(
            "no box",
            lambda log_probability, reward, valid, discount: (
                (_paid(reward, valid, discount)).sum(0).mean() + 0 * log_probability.sum()
            ),
            "No gradient reaches the log-probabilities: your box is the number 1. Detach the second sum only.",
        ),
        Mistake(
            "rewards after the end",
            lambda log_probability, reward, valid, discount: (
                (_box(torch.where(valid, log_probability, 0.0).cumsum(0)) * _paid(reward, torch.ones_like(valid), discount))
                .sum(0)
                .mean()
            ),
            "Rewards after the end of an episode count; multiply by valid.",
        ),
        Mistake(
            "mean over time",
            lambda log_probability, reward, valid, discount: (
                episode_graph_surrogate(log_probability, reward, valid, discount) / len(reward)
            ),
            "You take the mean over time; the rewards of an episode add up, and the mean is over the E episodes.",
        ),
        Mistake(
            "sum over the episodes",
            _boxed(_so_far, reduce=torch.sum),
            "You sum over the episodes; an expectation is estimated by their mean.",
            "SF09",
        ),
        Mistake(
            "sign",
            lambda *inputs: -episode_graph_surrogate(*inputs),
            "You return minus the mean return; it is to be ascended.",
            "SF01",
        ),
    ),
    hints=(
        "Which actions had been taken when r_t was paid? Their log-probabilities add up in S_t: a cumsum over time.",
        "S_t = (log_probability * valid).cumsum(0), and the box is exp(S_t - S_t.detach()), [T, E].",
        "Discount, reward, box and valid multiply; sum over time, mean over the episodes.",
    ),
    error_budget=EXACT_BUDGET,
)

TASKS = (CHAIN_SURROGATE, MAGIC_BOX_DERIVATIVES, CAUSAL_COSTS, EPISODE_GRAPH_SURROGATE)
