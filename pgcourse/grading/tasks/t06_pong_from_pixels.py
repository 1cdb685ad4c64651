"""Tasks of lecture 06: Pong from pixels."""

import itertools
import math

import torch

from ..task import EXACT_BUDGET, Exact, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 06.lit_pixels


def lit_pixels(screen, first, last):
    """The field of a screen, every second pixel of it: 1 where something is, else 0.

    screen: [H, W, 3], red, green and blue of each pixel, 0 to 255. first, last: the field is the rows first to last - 1.
    The grounds are the pixels whose red is 144, 109 or 0; everything else is something.
    Returns [(last - first) / 2, W / 2], of the screen's dtype: the rows first, first + 2, ... and the columns 0, 2, ...
    """
    red = screen[first:last:2, ::2, 0]
    return ((red != 144) & (red != 109) & (red != 0)).to(screen.dtype)


def _lit_pixels_by_erasing(screen, first, last):
    """As the recipe of 2016 does it."""
    field = screen[first:last][::2, ::2, 0].clone()
    field[field == 144] = 0
    field[field == 109] = 0
    field[field != 0] = 1
    return field


def _lit_pixels_one_by_one(screen, first, last):
    rows = []
    for i in range(first, last, 2):
        rows.append([0.0 if screen[i, j, 0].item() in (0, 109, 144) else 1.0 for j in range(0, screen.shape[1], 2)])
    return torch.tensor(rows, dtype=screen.dtype)


def _lit_pixels_oracle(screen, first, last):
    """From Python numbers."""
    rows = screen[..., 0].tolist()
    field = [[float(red not in (0.0, 109.0, 144.0)) for red in row[::2]] for row in rows[first:last:2]]
    return torch.tensor(field, dtype=screen.dtype)


def _lit_pixels_cases(generator):
    colours = torch.tensor([144.0, 109.0, 0.0, 236.0, 92.0, 213.0, 1.0], dtype=torch.float64)

    def draw(height, width):
        chosen = torch.randint(len(colours), (height, width, 3), generator=generator)
        return colours[chosen]

    shapes = ((2, 2, 0, 2), (6, 4, 1, 5), (8, 6, 3, 7), (10, 8, 2, 10), (21, 16, 5, 19), (210, 160, 35, 195))
    return cases(_lit_pixels_oracle, [(draw(height, width), first, last) for height, width, first, last in shapes])


def _lit(red):
    return ((red != 144) & (red != 109) & (red != 0)).to(red.dtype)


LIT_PIXELS = Task(
    id="06.lit_pixels",
    title="Preprocessing",
    signature="lit_pixels(screen [H, W, 3], first, last) -> picture [(last - first) / 2, W / 2]",
    reference=lit_pixels,
    stages=(Exact(1, _lit_pixels_cases),),
    alternatives=(_lit_pixels_by_erasing, _lit_pixels_one_by_one),
    mistakes=(
        Mistake(
            "whole screen",
            lambda screen, first, last: _lit(screen[::2, ::2, 0]),
            "You keep the whole screen; the score above the field and the border below are to go: cut rows first to last - 1.",
        ),
        Mistake(
            "every pixel",
            lambda screen, first, last: _lit(screen[first:last, :, 0]),
            "You keep every pixel of the field; asked is every second one, in both directions.",
        ),
        Mistake(
            "every second row only",
            lambda screen, first, last: _lit(screen[first:last:2, :, 0]),
            "You leave out every second row, but keep all columns.",
        ),
        Mistake(
            "last row too",
            lambda screen, first, last: _lit(screen[first : last + 1 : 2, ::2, 0]),
            "Your field ends a row too late: row last does not belong to it.",
        ),
        Mistake(
            "starts at the second",
            lambda screen, first, last: _lit(screen[first + 1 : last : 2, ::2, 0]),
            "You start at row first + 1; the rows are first, first + 2, and so on.",
        ),
        Mistake(
            "one ground forgotten",
            lambda screen, first, last: ((screen[first:last:2, ::2, 0] != 144) & (screen[first:last:2, ::2, 0] != 0)).to(
                screen.dtype
            ),
            "You erase one of the two coloured grounds; both 144 and 109 are ground.",
        ),
        Mistake(
            "black is lit",
            lambda screen, first, last: ((screen[first:last:2, ::2, 0] != 144) & (screen[first:last:2, ::2, 0] != 109)).to(
                screen.dtype
            ),
            "Black pixels (red 0) come out as 1; they are ground too.",
        ),
        Mistake(
            "keeps the colour",
            lambda screen, first, last: _lit(screen[first:last:2, ::2, 0]) * screen[first:last:2, ::2, 0],
            "You keep the red value of what is lit; asked is 1.",
        ),
        Mistake(
            "green",
            lambda screen, first, last: _lit(screen[first:last:2, ::2, 1]),
            "You look at the second channel; red is channel 0.",
        ),
        Mistake(
            "mean of the channels",
            lambda screen, first, last: _lit(screen[first:last:2, ::2].mean(-1)),
            "You average the three channels before you compare; 144 and 109 are values of red alone.",
        ),
        Mistake(
            "inverted",
            lambda screen, first, last: 1 - _lit(screen[first:last:2, ::2, 0]),
            "Your picture is a negative: 1 stands where something is, not for the ground.",
        ),
    ),
    hints=(
        "Three slices in one: rows first:last:2, columns ::2, channel 0.",
        "Comparing a tensor with a number gives true and false; & joins two of them.",
        ".to(screen.dtype) turns true and false into 1 and 0.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 06.point_returns


def point_returns(reward, discount):
    """What came of each step, within its own point: a discounted sum that begins anew wherever a reward is not zero.

    reward: [T, E], +1 or -1 at the step that decides a point, else 0; E games side by side, each with many points.
    Returns [T, E]: discount^(k - t) r_k, where k is the first step from t on whose reward is not zero; 0 where none follows.
    """
    G = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = torch.where(reward[t] != 0, reward[t], discount * following)
        G[t] = following
    return G


def _point_returns_game_by_game(reward, discount):
    columns = []
    for rewards in reward.T.tolist():
        G, running = [], 0.0
        for r in reversed(rewards):
            if r != 0:
                running = 0.0
            running = r + discount * running
            G.append(running)
        columns.append(G[::-1])
    return torch.tensor(columns, dtype=reward.dtype).T


def _point_returns_by_counting(reward, discount):
    """Looks forward from each step."""
    G = torch.zeros_like(reward)
    for t in range(len(reward)):
        open_ = torch.ones_like(reward[0])
        for k in range(t, len(reward)):
            G[t] += open_ * discount ** (k - t) * reward[k]
            open_ = open_ * (reward[k] == 0)
    return G


def _point_returns_oracle(reward, discount):
    """The first reward from each step on, found by looking."""
    columns = []
    for rewards in reward.T.tolist():
        points = [k for k, r in enumerate(rewards) if r]
        column = []
        for t in range(len(rewards)):
            k = next((k for k in points if k >= t), None)
            column.append(0.0 if k is None else math.prod([discount] * (k - t)) * rewards[k])
        columns.append(column)
    return torch.tensor(columns, dtype=reward.dtype).T


def _point_returns_cases(generator):
    def draw(steps, games):
        chance = uniform(generator, 0, 1, steps, games)
        reward = (chance < 0.2).to(chance.dtype) - (chance > 0.8).to(chance.dtype)
        reward[1, 0], reward[-2, 0], reward[-1, 0] = 1.0, -1.0, 0.0  # two points at least, and an open end
        return reward

    shapes = ((4, 1, 0.5), (5, 2, 0.5), (6, 3, 0.9), (12, 5, 0.99), (30, 4, 0.8))
    return cases(_point_returns_oracle, [(draw(steps, games), discount) for steps, games, discount in shapes])


def _sum_back(reward, keep):
    """following <- reward_t + keep(t) * following, from the end."""
    G, following = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        G[t] = following = reward[t] + keep(t) * following
    return G


def _point_returns_forward(reward, discount):
    G, following = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in range(len(reward)):
        G[t] = following = torch.where(reward[t] != 0, reward[t], discount * following)
    return G


def _point_returns_one_late(reward, discount):
    """Forgets what comes later a step after the point instead of at it."""
    before = torch.cat([torch.zeros_like(reward[:1]), reward[:-1]])
    return _sum_back(reward, lambda t: discount * (before[t] == 0))


def _point_returns_standardised(reward, discount):
    G = point_returns(reward, discount)
    return (G - G.mean()) / (G.std() + 1e-8)


POINT_RETURNS = Task(
    id="06.point_returns",
    title="Discounted rewards, anew at each point",
    signature="point_returns(reward [T, E], discount) -> G [T, E]",
    reference=point_returns,
    stages=(Exact(2, _point_returns_cases),),
    alternatives=(_point_returns_game_by_game, _point_returns_by_counting),
    mistakes=(
        Mistake(
            "never begins anew",
            lambda reward, discount: _sum_back(reward, lambda t: discount),
            "Your sum runs on through the points: what happens in the next one is no merit of this one. Forget what follows "
            "wherever reward is not zero.",
        ),
        Mistake(
            "only after points won",
            lambda reward, discount: _sum_back(reward, lambda t: discount * (reward[t] <= 0)),
            "You begin anew after points won only; a lost point (-1) ends a rally as well.",
        ),
        Mistake(
            "only after points lost",
            lambda reward, discount: _sum_back(reward, lambda t: discount * (reward[t] >= 0)),
            "You begin anew after points lost only; a point won ends a rally as well.",
        ),
        Mistake(
            "begins anew a step late",
            _point_returns_one_late,
            "You forget the later points a step too late: at the step of a point itself nothing of the next may count.",
        ),
        Mistake(
            "whole game at a point",
            lambda reward, discount: _sum_back(reward, lambda t: discount * (reward[t] == 0).all()),
            "A point in one game begins all games anew; each game has its own: compare reward[t], not its sum, with 0.",
        ),
        Mistake(
            "forward",
            _point_returns_forward,
            "You carry rewards forward, to the steps after a point; they belong to those before it. Go through time backwards.",
        ),
        Mistake(
            "forgets the discount",
            lambda reward, discount: _sum_back(reward, lambda t: (reward[t] == 0).to(reward.dtype)),
            "All steps of a point get the same; multiply by the discount at each step back.",
        ),
        Mistake(
            "discounts the point itself",
            lambda reward, discount: discount * point_returns(reward, discount),
            "The step that decides a point gets its reward undiscounted: discount^(k - t) is 1 there.",
        ),
        Mistake(
            "own reward only",
            lambda reward, discount: reward + 0 * discount,
            "You return the rewards; the steps before them are to share in them.",
        ),
        Mistake(
            "time and games swapped",
            lambda reward, discount: point_returns(reward.T, discount).T,
            "You sum along the games; time is axis 0.",
            "SF09",
        ),
        Mistake(
            "standardised",
            _point_returns_standardised,
            "You have standardised already; here the plain sums are asked for.",
        ),
    ),
    hints=(
        "Go backward with a running value [E] that begins at zero.",
        "At a step without a reward the running value is multiplied by the discount.",
        "At a step with one it is replaced by it: torch.where(reward[t] != 0, ..., ...).",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=(
        "pgcourse.returns.to_go",
        "pgcourse.returns.discounted",
        "pgcourse.returns.backward_sum",
        "pgcourse.algorithms.pong",
    ),
)

# ----------------------------------------------------------------------------------------------------------------------
# 06.probability_of_up


def probability_of_up(picture, W1, b1, w2, b2):
    """The policy: how probable "up" is in each of N pictures, (6.2).

    picture: [N, D], differences of two frames, one in each row. W1: [D, H], b1: [H], the hidden layer, rectified. w2: [H],
    b2: a number, the output, through a sigmoid.
    Returns [N].
    """
    hidden = (picture @ W1 + b1).clamp(min=0)
    return (hidden @ w2 + b2).sigmoid()


def _probability_of_up_by_einsum(picture, W1, b1, w2, b2):
    hidden = torch.relu(torch.einsum("nd,dh->nh", picture, W1) + b1)
    return 1 / (1 + torch.exp(-(torch.einsum("nh,h->n", hidden, w2) + b2)))


def _probability_of_up_by_two_logits(picture, W1, b1, w2, b2):
    """A softmax over two logits, of which one is 0."""
    hidden = torch.nn.functional.relu(picture @ W1 + b1)
    up = (hidden * w2).sum(1) + b2
    return torch.softmax(torch.stack([torch.zeros_like(up), up], 1), 1)[:, 1]


def _probability_of_up_oracle(picture, W1, b1, w2, b2):
    """Unit by unit in Python numbers."""
    columns, chances = list(zip(*W1.tolist(), strict=True)), []
    for x in picture.tolist():
        units = [
            max(0.0, math.fsum([*(a * b for a, b in zip(x, w, strict=True)), b]))
            for w, b in zip(columns, b1.tolist(), strict=True)
        ]
        z = math.fsum([*(h * w for h, w in zip(units, w2.tolist(), strict=True)), b2])
        chances.append(1 / (1 + math.exp(-z)))
    return torch.tensor(chances, dtype=picture.dtype)


def _network(generator, pictures, pixels, units, tidy=lambda x: x):
    """Pictures of -1, 0 and 1, and the weights of a network."""
    picture = torch.randint(-1, 2, (pictures, pixels), generator=generator).to(torch.float64)
    W1, b1, w2 = (tidy(normal(generator, *shape)) for shape in ((pixels, units), (units,), (units,)))
    return picture, W1, b1, w2


def _probability_of_up_cases(generator):
    inputs = []
    for tidy, shapes in ((readable, ((2, 3, 4), (3, 4, 2), (4, 2, 3))), (lambda x: x, ((7, 12, 5), (5, 30, 9)))):
        for shape in shapes:
            b2 = round(float(normal(generator)), 1)
            inputs.append((*_network(generator, *shape, tidy), b2 or 0.3))
    return cases(_probability_of_up_oracle, inputs)


PROBABILITY_OF_UP = Task(
    id="06.probability_of_up",
    title="The policy forward",
    signature="probability_of_up(picture [N, D], W1 [D, H], b1 [H], w2 [H], b2) -> p [N]",
    reference=probability_of_up,
    stages=(Exact(1, _probability_of_up_cases),),
    alternatives=(_probability_of_up_by_einsum, _probability_of_up_by_two_logits),
    mistakes=(
        Mistake(
            "not rectified",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1) @ w2 + b2).sigmoid(),
            "The hidden units are not rectified: without it two layers are one. Set what is below 0 to 0.",
        ),
        Mistake(
            "sigmoid units",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1).sigmoid() @ w2 + b2).sigmoid(),
            "Your hidden units go through a sigmoid; they are rectified, only the output goes through a sigmoid.",
        ),
        Mistake(
            "tanh units",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1).tanh() @ w2 + b2).sigmoid(),
            "Your hidden units go through tanh; here they are rectified.",
        ),
        Mistake(
            "no sigmoid",
            lambda x, W1, b1, w2, b2: (x @ W1 + b1).clamp(min=0) @ w2 + b2,
            "You return the logit; the sigmoid makes a probability of it.",
        ),
        Mistake(
            "output rectified too",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1).clamp(min=0) @ w2 + b2).clamp(min=0).sigmoid(),
            "You rectify the output as well, so up is never less probable than 1/2.",
        ),
        Mistake(
            "rectified before the bias",
            lambda x, W1, b1, w2, b2: (((x @ W1).clamp(min=0) + b1) @ w2 + b2).sigmoid(),
            "You rectify before you add b1; the bias moves the place where a unit switches on.",
        ),
        Mistake(
            "first bias forgotten",
            lambda x, W1, b1, w2, b2: ((x @ W1).clamp(min=0) @ w2 + b2).sigmoid(),
            "b1 is missing.",
        ),
        Mistake(
            "second bias forgotten",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1).clamp(min=0) @ w2).sigmoid(),
            "b2 is missing.",
        ),
        Mistake(
            "probability of down",
            lambda x, W1, b1, w2, b2: 1 - ((x @ W1 + b1).clamp(min=0) @ w2 + b2).sigmoid(),
            "You return the probability of down.",
        ),
        Mistake(
            "softmax over the pictures",
            lambda x, W1, b1, w2, b2: ((x @ W1 + b1).clamp(min=0) @ w2 + b2).softmax(0),
            "Your probabilities sum to 1 over the pictures; each picture has its own, independent of the others.",
        ),
    ),
    hints=(
        "picture @ W1 is [N, H]; b1 is added to every row.",
        ".clamp(min=0) or torch.relu rectifies.",
        "[N, H] @ [H] is [N]; add b2, then .sigmoid().",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 06.pong_update


def pong_update(picture, up, weight, W1, w2, step_size):
    """One step up the mean over N steps of weight_n log pi(a_n | s_n), (6.3), for a network without biases.

    picture: [N, D]. up: [N], 1 where "up" was played, 0 where "down" was. weight: [N], what came of each step, A_n. W1: [D, H],
    w2: [H]: p = sigmoid(relu(picture W1) w2) is the probability of up. step_size: a number.
    Returns the new (W1 [D, H], w2 [H]); the tensors given stay as they are.
    """
    hidden = (picture @ W1).clamp(min=0)  # [N, H]
    p = (hidden @ w2).sigmoid()
    push = weight * (up - p) / len(up)  # what each logit should move by, [N]
    to_w2 = hidden.T @ push
    to_W1 = picture.T @ (push[:, None] * w2 * (hidden > 0))
    return W1 + step_size * to_W1, w2 + step_size * to_w2


def _pong_update_by_autograd(picture, up, weight, W1, w2, step_size):
    with torch.enable_grad():
        W1, w2 = W1.detach().clone().requires_grad_(), w2.detach().clone().requires_grad_()
        p = (torch.relu(picture @ W1) @ w2).sigmoid()
        log_probability = torch.where(up > 0, p.log(), (1 - p).log())
        to_W1, to_w2 = torch.autograd.grad((weight * log_probability).mean(), (W1, w2))
    return W1.detach() + step_size * to_W1, w2.detach() + step_size * to_w2


def _pong_update_step_by_step(picture, up, weight, W1, w2, step_size):
    new_W1, new_w2 = W1.clone(), w2.clone()
    for x, a, A in zip(picture, up, weight, strict=True):
        h = torch.relu(x @ W1)
        d = A * (a - torch.sigmoid(h @ w2)) * step_size / len(up)
        new_w2 += d * h
        new_W1 += torch.outer(x, d * w2 * (h > 0))
    return new_W1, new_w2


def _pong_update_oracle(picture, up, weight, W1, w2, step_size):
    """Sums of Python numbers, weight by weight."""
    xs, columns, out = picture.tolist(), list(zip(*W1.tolist(), strict=True)), w2.tolist()
    hidden = [[max(0.0, math.fsum(a * b for a, b in zip(x, w, strict=True))) for w in columns] for x in xs]
    push = []
    for h, a, A in zip(hidden, up.tolist(), weight.tolist(), strict=True):
        z = math.fsum(u * w for u, w in zip(h, out, strict=True))
        push.append(step_size * A * (a - 1 / (1 + math.exp(-z))) / len(xs))
    new_w2 = [w + math.fsum(d * h[j] for d, h in zip(push, hidden, strict=True)) for j, w in enumerate(out)]
    new_W1 = [
        [
            columns[j][i] + math.fsum(d * x[i] * out[j] for d, x, h in zip(push, xs, hidden, strict=True) if h[j] > 0)
            for j in range(len(out))
        ]
        for i in range(len(xs[0]))
    ]
    return torch.tensor(new_W1, dtype=W1.dtype), torch.tensor(new_w2, dtype=W1.dtype)


def _pong_update_cases(generator):
    inputs = []
    for tidy, shapes in ((readable, ((2, 3, 4), (3, 4, 2), (5, 2, 3))), (lambda x: x, ((9, 14, 6), (12, 25, 5)))):
        for n, d, h in shapes:
            picture, W1, _, w2 = _network(generator, n, d, h, tidy)
            while (picture @ W1).abs().min() < 1e-6:  # at 0, whether a unit is on would be a matter of rounding
                picture, W1, _, w2 = _network(generator, n, d, h, tidy)
            up = torch.randint(0, 2, (n,), generator=generator).to(W1.dtype)
            up[0], up[-1] = 1.0, 0.0
            inputs.append((picture, up, tidy(normal(generator, n)), W1, w2, 0.5))
    return cases(_pong_update_oracle, inputs)


def _pong_update_with(error=lambda up, p, A: A * (up - p), gate=lambda h: h > 0, count=len, order="together"):
    """The update with something else in one place."""

    def update(picture, up, weight, W1, w2, step_size):
        hidden = (picture @ W1).clamp(min=0)
        push = error(up, (hidden @ w2).sigmoid(), weight) / count(up)
        new_w2 = w2 + step_size * hidden.T @ push
        through = new_w2 if order == "one after the other" else w2
        return W1 + step_size * picture.T @ (push[:, None] * through * gate(hidden)), new_w2

    return update


PONG_UPDATE = Task(
    id="06.pong_update",
    title="The update",
    signature="pong_update(picture [N, D], up [N], weight [N], W1 [D, H], w2 [H], step_size) -> new_W1 [D, H], new_w2 [H]",
    reference=pong_update,
    stages=(Exact(3, _pong_update_cases),),
    alternatives=(_pong_update_by_autograd, _pong_update_step_by_step),
    mistakes=(
        Mistake(
            "sign",
            _pong_update_with(lambda up, p, A: -A * (up - p)),
            "Your step goes down: what won points becomes rarer. Add the gradient of the log-probabilities, or descend their "
            "negative.",
            "SF01",
        ),
        Mistake(
            "as if supervised",
            _pong_update_with(lambda up, p, A: up - p),
            "You imitate what was played, whatever came of it: that is supervised learning with one's own actions for labels. "
            "Multiply by weight.",
        ),
        Mistake(
            "only the sign of the weight",
            _pong_update_with(lambda up, p, A: A.sign() * (up - p)),
            "You use the sign of weight only; its size counts too.",
        ),
        Mistake(
            "forgets the probability",
            _pong_update_with(lambda up, p, A: A * up),
            "Each logit is pushed by up - p, not by up: what was certain anyway should not be pushed.",
        ),
        Mistake(
            "always up",
            _pong_update_with(lambda up, p, A: A * (1 - p)),
            "You take the score of up at every step; where down was played it is -p.",
        ),
        Mistake(
            "gradient of the probability",
            _pong_update_with(lambda up, p, A: A * (2 * up - 1) * p * (1 - p)),
            "You follow the gradient of pi, not of log pi: divide by the probability of what was played.",
            "SF11",
        ),
        Mistake(
            "gate forgotten",
            _pong_update_with(gate=lambda h: torch.ones_like(h)),
            "Weights of hidden units that were off are moved too: where a unit is 0 no slope passes through it.",
        ),
        Mistake(
            "one layer after the other",
            _pong_update_with(order="one after the other"),
            "You move w2 first and use the new w2 in the gradient of W1; both gradients are taken at the old weights.",
        ),
        Mistake(
            "sum over the steps",
            _pong_update_with(count=lambda up: 1),
            "You sum over the N steps; asked is the mean.",
            "SF09",
        ),
        Mistake(
            "first layer only",
            lambda picture, up, weight, W1, w2, step_size: (
                pong_update(picture, up, weight, W1, w2, step_size)[0],
                w2.clone(),
            ),
            "w2 stays as it is; both layers learn.",
        ),
        Mistake(
            "output layer only",
            lambda picture, up, weight, W1, w2, step_size: (
                W1.clone(),
                pong_update(picture, up, weight, W1, w2, step_size)[1],
            ),
            "W1 stays as it is; both layers learn.",
        ),
        Mistake(
            "returns the gradients",
            lambda picture, up, weight, W1, w2, step_size: tuple(
                new - old for new, old in zip(pong_update(picture, up, weight, W1, w2, step_size), (W1, w2), strict=True)
            ),
            "You return the steps; asked are the new weights.",
        ),
    ),
    hints=(
        "The slope of log pi by the logit is 1 - p for up and -p for down: up - p, (6.3).",
        "w2 gets hidden.T @ push. W1 gets picture.T @ what arrives at the hidden units: push times w2, where the unit is on.",
        "Or let autograd do it: clone W1 and w2, .requires_grad_(), and torch.autograd.grad of the weighted mean.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.score_surrogate", "pgcourse.algorithms.pong", "pgcourse.algorithms.reinforce"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 06.parameter_counts


def parameter_counts(side, hidden, filters, size, stride):
    """How many numbers two policies for pictures of side x side pixels have to learn, biases included; of N pairs at once.

    The dense one: every pixel to each of ``hidden`` units, and these to one logit. The convolutional one: ``filters`` filters
    of size x size pixels, moved over the picture by ``stride`` pixels at a time, as far as they fit; what they give, at all
    places, to each of ``hidden`` units; these to one logit.
    side, hidden, filters, size, stride: [N], whole numbers.
    Returns (dense [N], convolutional [N]).
    """
    dense = side * side * hidden + hidden + hidden + 1
    places = (side - size) // stride + 1  # in each direction
    convolutional = filters * (size * size + 1) + filters * places**2 * hidden + hidden + hidden + 1
    return dense, convolutional


def _parameter_counts_by_torch(*numbers):
    dense, convolutional = [], []
    for side, hidden, filters, size, stride in torch.stack(numbers, 1).long().tolist():
        convolution = torch.nn.Conv2d(1, filters, size, stride)
        seen = convolution(torch.zeros(1, 1, side, side)).numel()
        for modules, counts in (
            ([torch.nn.Linear(side**2, hidden), torch.nn.Linear(hidden, 1)], dense),
            ([convolution, torch.nn.Linear(seen, hidden), torch.nn.Linear(hidden, 1)], convolutional),
        ):
            counts.append(sum(p.numel() for module in modules for p in module.parameters()))
    return torch.tensor(dense).to(numbers[0]), torch.tensor(convolutional).to(numbers[0])


def _parameter_counts_layer_by_layer(side, hidden, filters, size, stride):
    def layer(inputs, outputs):
        return (inputs + 1) * outputs

    places = torch.stack([torch.ceil((a - b + 1) / c) for a, b, c in zip(side, size, stride, strict=True)])
    return (
        layer(side * side, hidden) + layer(hidden, 1),
        layer(size * size, filters) + layer(filters * places * places, hidden) + layer(hidden, 1),
    )


def _parameter_counts_oracle(*numbers):
    """Weights counted one by one, by going through their places."""
    pairs = []
    for side, hidden, filters, size, stride in torch.stack(numbers, 1).long().tolist():
        corners = [c for c in range(side) if c % stride == 0 and c + size <= side]
        pixels, patch = (sum(1 for _ in itertools.product(range(n), range(n))) for n in (side, size))
        seen = sum(1 for _ in itertools.product(range(filters), corners, corners))
        logit = hidden + 1
        pairs.append((pixels * hidden + hidden + logit, (patch + 1) * filters + seen * hidden + hidden + logit))
    dense, convolutional = torch.tensor(pairs, dtype=numbers[0].dtype).T
    return dense, convolutional


def _parameter_counts_cases(generator):
    def draw(pairs):
        size, stride, filters, hidden = (torch.randint(2, 7, (pairs,), generator=generator) for _ in range(4))
        side = size + torch.randint(3, 14, (pairs,), generator=generator)
        side[0] = size[0] + 2 * stride[0] + 1  # does not fit exactly
        return tuple(x.to(torch.float64) for x in (side, hidden + 1, filters, size, stride))

    atari = tuple(torch.tensor(x, dtype=torch.float64) for x in ([40, 80], [200, 200], [8, 16], [8, 8], [4, 4]))
    return cases(_parameter_counts_oracle, [draw(2), draw(3), atari, draw(9)])


def _places(side, size, stride):
    return (side - size) // stride + 1


def _convolutional(filters, size, places, hidden):
    return filters * (size * size + 1) + filters * places**2 * hidden + 2 * hidden + 1


PARAMETER_COUNTS = Task(
    id="06.parameter_counts",
    title="Count the parameters",
    signature="parameter_counts(side [N], hidden [N], filters [N], size [N], stride [N]) -> dense [N], convolutional [N]",
    reference=parameter_counts,
    stages=(Exact(1, _parameter_counts_cases),),
    alternatives=(_parameter_counts_by_torch, _parameter_counts_layer_by_layer),
    mistakes=(
        Mistake(
            "no biases",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + hidden,
                filters * size * size + filters * _places(side, size, stride) ** 2 * hidden + hidden,
            ),
            "The biases are missing: one for each hidden unit, one for each filter, one for the logit.",
        ),
        Mistake(
            "one row of pixels",
            lambda side, hidden, filters, size, stride: (
                side * hidden + 2 * hidden + 1,
                _convolutional(filters, size, _places(side, size, stride), hidden),
            ),
            "A picture has side times side pixels.",
        ),
        Mistake(
            "two logits",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + hidden + 2 * (hidden + 1),
                filters * (size * size + 1) + filters * _places(side, size, stride) ** 2 * hidden + hidden + 2 * (hidden + 1),
            ),
            "You count two logits; for two actions one is enough, through a sigmoid.",
        ),
        Mistake(
            "weights at every place",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                filters * _places(side, size, stride) ** 2 * (size * size + 1 + hidden) + 2 * hidden + 1,
            ),
            "You count a filter's weights once for each place; it has the same weights everywhere.",
        ),
        Mistake(
            "one place short",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                _convolutional(filters, size, (side - size) // stride, hidden),
            ),
            "The filter fits at one place more in each direction: it also lies at the very first pixel.",
        ),
        Mistake(
            "stride forgotten",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                _convolutional(filters, size, side - size + 1, hidden),
            ),
            "You move the filter by one pixel at a time; it moves by stride.",
        ),
        Mistake(
            "places in one direction",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                filters * (size * size + 1) + filters * _places(side, size, stride) * hidden + 2 * hidden + 1,
            ),
            "The filter moves in two directions: the places are squared.",
        ),
        Mistake(
            "filters forgotten",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                filters * (size * size + 1) + _places(side, size, stride) ** 2 * hidden + 2 * hidden + 1,
            ),
            "Every filter gives a number at each place: filters times the places go to the hidden units.",
        ),
        Mistake(
            "logit without a bias",
            lambda *numbers: tuple(count - 1 for count in parameter_counts(*numbers)),
            "One number is missing in both: the logit's bias.",
        ),
        Mistake(
            "size ignored",
            lambda side, hidden, filters, size, stride: (
                side * side * hidden + 2 * hidden + 1,
                _convolutional(filters, size, side // stride, hidden),
            ),
            "You divide the side by the stride; the filter has a size, and must fit as a whole.",
        ),
        Mistake(
            "swapped",
            lambda *numbers: parameter_counts(*numbers)[::-1],
            "You return the two counts in the other order: the dense one first.",
        ),
    ),
    hints=(
        "A layer from n inputs to m outputs has n m weights and m biases.",
        "A filter has size^2 weights and one bias, wherever it lies.",
        "Along a side it fits at (side - size) // stride + 1 places.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.policies.Pixels", "pgcourse.policies.Convolutional"),
)

TASKS = (LIT_PIXELS, POINT_RETURNS, PROBABILITY_OF_UP, PONG_UPDATE, PARAMETER_COUNTS)
