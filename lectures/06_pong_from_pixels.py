# %% [markdown]
# # 06 Does it still work from pixels with one bit of feedback?
#
# In 2016 a recipe of 130 lines went round: a network looks at the screen of Atari's Pong, moves the paddle up or down, is told
# nothing but who won each point, and after three nights on a laptop beats the built-in player. There is nothing in it that you
# do not know. This lecture builds it, counts what it has to learn, and lets four learners do it while you watch.
#
# **After it you can**
# - turn a screen into something a small network can use, and write that network and its update by hand;
# - say which action gets how much of the credit for a point, and measure that it is, on average, the right one;
# - compare four ways to find a third of a million numbers, at equal cost.
#
# **You need** lectures 04 and 05. **Time:** 60 minutes at the keyboard, 30 as a talk.

# %%
import inspect
import json
from functools import partial

import numpy as np
import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import budget, envs, figures_06, nn, plots, policies, quizzes, returns, widgets
from pgcourse.algorithms import pong
from pgcourse.envs.pong import SIZE
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives

# %% [markdown]
# ## The whole lecture in one picture
#
# Somebody plays at random. Above, the ball goes to and fro until somebody misses it. In the middle, what each action is told: the
# longer the bar, the more probable (blue) or improbable (red) the action is made. Below, 300 such games: what actions towards
# the ball are told on average, and what actions away from it.

# %%
caption = "All actions of a rally share one bit, right or wrong. Over many games, the right ones get more of it."
widgets.movable(figures_06.rally, **figures_06.RALLY, caption=caption)

# %% [markdown]
# Four things to try. Slide *over* down to 1: from one game you cannot tell which actions were good. Slide *discount* to 1: every
# action of a rally gets the same. Now take the tick away from *anew*: later points leak into earlier ones, and the answer below
# drowns. Put both back and tick *standardise*: the mean is subtracted, and some actions of lost rallies turn blue.

# %% [markdown]
# ## 1. What the network sees
#
# The course has a Pong of its own, on tensors, so that many games run at once: 40 by 40 pixels, a built-in player who follows
# the ball but not as fast as it can fly, a point for whoever is not passed. Its ball is larger than Atari's, and faster.

# %%
env = envs.make("pong")
rng = Rng(3)
state = env.initial(rng.draw(env.spec.initial_noise)[0])
for _ in range(3):
    before = state
    state, reward, over = env.step(state, torch.tensor(1), torch.rand(2))

# %%
widgets.predict(
    "One frame shows the ball and both paddles. What does it not show, that a player must know?",
    ["Nothing: everything is there", "Where the ball will land", "Which way the ball is flying"],
)

# %%
picture, axes = plots.figure(8.5, 3.2, columns=3)
frames = {"a frame": env.frame(before), "the next": env.frame(state), "what has changed": env.frame(state) - env.frame(before)}
figures_06.pictures(axes, frames)
plots.show(picture, "The difference shows where things are (blue) and where they were (red): so it shows which way they move.")

# %% [markdown]
# Which way it is flying: from a still picture you cannot tell. (Where it will land follows from that.) So the network gets the
# **difference of two frames**: +1 where a pixel has been lit, −1 where one has gone dark. In the words of lecture 01 (turn 8), a
# frame is no state, only a look; the difference is nearly a state.
#
# Atari's screen needs a little more: it has a score, colours, and grounds of two shades. Of 210 by 160 pixels in three colours the recipe
# keeps the field, every second pixel, and only whether there is something:

# %%
atari = pong.recorded("pong_ale")


def preprocess(screen):
    """uint8 [210, 160, 3] -> [80, 80]: rows 35 to 194, every second pixel, 1 where red is not the ground's."""
    field = screen[35:195:2, ::2, 0]
    return ((field != 144) & (field != 109) & (field != 0)).astype(float)


earlier, later = atari["screens"]
picture, axes = plots.figure(8.5, 3.4, columns=3)
change = preprocess(later) - preprocess(earlier)
figures_06.pictures(axes, {"Atari's screen": later, "preprocessed": preprocess(later), "what has changed": change})
plots.show(picture, "100,800 numbers in, 6,400 out, nearly all of them 0. (Two screens of a recorded game.)")

# %% [markdown]
# ## 2. A picture of zeros
#
# The difference has 1,600 pixels, and few of them are not 0. The library keeps the list of those: `+k` says that pixel
# `k - 1`, counted row by row, is +1, `-k` that it is −1.

# %%
seen = env.observe(state)
pixels = [int(k) for k in seen if k]
print(f"{len(pixels)} pixels:", *pixels[:12], "...")
assert_close(nn.picture(seen, SIZE), env.frame(state) - env.frame(before))

# %% [markdown]
# The first layer of a network multiplies the picture $x$ (shape `[D]`, $D = 1600$) with weights $W$ (`[D, H]`). A pixel that is 0
# adds nothing, and a 1 adds its row of $W$ (rows counted from 1):
#
# $$x W = \sum_{k \text{ in the list}} \operatorname{sign}(k)\, W_{|k|} \tag{6.1}$$
#
# Exactly the same, for an eightieth of the work or less. (And the gradient reaches only the rows that were used.)

# %%
layer = nn.PixelLayer(Rng(0), SIZE**2, 200)  # its weights are [1, 1 + D, H]: row 0 stands for no pixel
dense = nn.picture(seen, SIZE).flatten() @ layer.weight[0, 1:] + layer.bias[0, 0]
assert_close(layer(seen[None])[0], dense)
print(f"dense: {SIZE**2 * 200:,} multiplications; by the list: {int((seen != 0).sum()) * 200:,} additions")

# %% [markdown]
# ## 3. The policy, and how much there is to learn
#
# One layer of $H = 200$ rectified units, then one number, the **logit** $z$, then a sigmoid:
#
# $$h = \max(0,\, x W_1 + b_1), \qquad z = h\, w_2 + b_2, \qquad
# \pi_\theta(\text{up} \mid x) = \sigma(z) = \frac{1}{1 + e^{-z}} \tag{6.2}$$
#
# That is all of the recipe's network.

# %%
widgets.predict(
    "How many numbers are in θ = (W1, b1, w2, b2) for Atari's 80 x 80 pixels?",
    ["About 6,600", "About 80,000", "About 1.3 million", "About 13 million"],
)

# %%
for name, pixels in (("Atari's Pong", 80 * 80), ("ours", SIZE * SIZE)):
    print(f"{name}: {pixels} * 200 + 200 + 200 * 1 + 1 = {pixels * 200 + 200 + 200 + 1:,}")

# %% [markdown]
# All but a few hundred of them are in the first layer, one for each pair of a pixel and a unit. A network that looks at the
# picture **patch by patch, everywhere with the same weights**, has far fewer: 8 filters of 8 by 8 pixels, moved by 4. That is a
# **convolution**. A hidden layer and the logits follow, as before.

# %%
flat = policies.Pixels(Rng(range(2)), SIZE**2, 2)
convolutional = policies.Convolutional(Rng(range(2)), SIZE**2, 2, hidden=32)
for name, policy in {"one dense layer": flat, "convolutional": convolutional}.items():
    print(f"{name:16s} {sum(p[0].numel() for p in policy.parameters()):8,} numbers a learner")

# %% [markdown]
# (The library gives the dense one two logits and a row for "no pixel", which makes 401 more: its policies are made for any
# number of actions, and the sigmoid of a difference of two logits is their softmax.)

# %% [markdown]
# ## 4. Two updates side by side
#
# Suppose a good player had labelled each picture $x_n$ with the right action, $a_n^* = 1$ for up and 0 for down. **Supervised
# learning** makes these labels probable: it climbs $\sum_n \log \pi_\theta(a_n^* \mid x_n)$. Our sigmoid is the coin of lecture 03
# (turn 7): the log-probability is $\log \sigma(z)$ for up ($a = 1$), $\log(1 - \sigma(z))$ for down ($a = 0$), and its slope by the logit
#
# $$\frac{\partial}{\partial z} \log \pi(a \mid x) = a - \sigma(z) \tag{6.3}$$
#
# Nobody labels anything here. But we can **play**: draw $a_n$ from the policy itself, pretend that it was right, and put a
# weight $A_n$ on the pretence when we know how it went.
#
# | | supervised | policy gradient |
# |---|---|---|
# | label | $a_n^*$, from a teacher | $a_n \sim \pi_\theta(\cdot \mid x_n)$, my own |
# | weight | 1 | $A_n$, what came of it |
# | step | $\sum_n (a_n^* - \sigma(z_n))\, \nabla_\theta z_n$ | $\sum_n A_n\, (a_n - \sigma(z_n))\, \nabla_\theta z_n$ |

# %%
z = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
a, A = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)
log_pi = a * z.sigmoid().log() + (1 - a) * (1 - z.sigmoid()).log()
(slope,) = torch.autograd.grad((A * log_pi).sum(), z)
print("by autograd:", slope.numpy().round(4), "  by (6.3):", (A * (a - z.sigmoid())).detach().numpy().round(4))

# %%
widgets.predict(
    "All weights are 1, and the labels are the learner's own actions. What does the policy gradient then learn, on average?",
    ["To play better", "To do what it does already, with more certainty", "Nothing: the average step is zero"],
)

# %% [markdown]
# Nothing. With $A_n = 1$ the step is the sum of scores, whose mean is zero, (3.5): own labels carry no news. All news is in the
# weights. From here back through the network both columns are the same code.

# %% [markdown]
# ## 5. One bit for a rally
#
# The weights. A point pays $+1$ or $-1$ at its last step $k$ and nothing before. We count each point as an episode of its own,
# which is all that "begins anew" means: the reward-to-go, (5.2), stops there.
#
# $$G_t = \gamma^{\,k - t}\, r_k, \qquad A_t = \frac{G_t - \operatorname{mean}(G)}{\operatorname{std}(G)} \tag{6.4}$$
#
# with $k$ the step that decides the point of step $t$, and mean and standard deviation taken over the batch: the mean is a
# baseline, (5.4), and the division sets the length of the step.

# %%
reward = torch.tensor([0.0, 0, 0, -1, 0, 0, 1])[:, None]
G = returns.to_go(reward, 0.5, reward != 0)
print(G[:, 0].numpy())

# %% [markdown]
# Every action of a lost rally is blamed, the good ones too. Somebody who ran to the right place and was late by one step is told
# not to run. How can that work?

# %%
widgets.predict(
    "In an untrained learner's games: which actions get, on average, more than is usual at their moment?",
    [
        "None: each gets the same share of the blame",
        "Those towards the ball, most of all just before it arrives",
        "Those towards the ball, equally at all times",
    ],
)

# %%
learners = budget.choose(8, 4)
untrained = policies.Pixels(Rng(range(learners)), SIZE**2, 2)
towards, away = figures_06.credit(env, untrained, learners)
picture, ax = plots.figure(8, 4.2)
figures_06.credits(ax, towards, away)
plots.show(picture, "Nobody tells the learner where to go. On average its weights know, the later the better.")

# %% [markdown]
# A good action stands in won rallies a little more often than in lost ones. The difference is small: 0.2 at the end, where the
# weights themselves scatter by about 1, (6.4). With 200 actions of each kind it is twice its standard error, $\sqrt{2 / 200} = 0.1$;
# a batch has thousands. The discount matters too: $\gamma = 0.8$ says that what happened twenty steps ago had little to do with
# it. It is wrong about that (lecture 05, turn 7), and far quieter.

# %% [markdown]
# ## 6. The recipe
#
# ```text
# algorithm 6.1: Pong from pixels
# repeat
#     play T steps of Pong in E games with pi_theta                        (6.2)
#     G_t = discount^(k - t) r_k, k the step that decides the point of t   (6.4)
#     A_t = (G_t - mean) / standard deviation, over the batch              (6.4)
#     theta <- theta + step_size * mean_t A_t grad log pi_theta(a_t | s_t)   Adam
# ```

# %%
Code(inspect.getsource(pong.weights) + "\n\n" + inspect.getsource(pong.loss), language="python")

# %% [markdown]
# The rest of `pgcourse/algorithms/pong.py` is what you have seen in lecture 04. The recipe of 2016 plays ten whole games per
# update and steps by RMSProp, a forerunner of Adam. Ours plays 128 at once for 64 steps each, leaves out the steps
# whose point is still open, and takes larger steps.

# %% [markdown]
# ## 7. Watch it learn
#
# Four learners, from nothing. An episode is a point here, and 0 a draw with the built-in player: above it they win more points
# than they lose.

# %%
config = pong.Config() if not budget.small() else pong.Config(iterations=12)
seeds = budget.choose(4, 2)
policy, history = pong.train(env, config, Rng(range(seeds)), progress=plots.live(threshold=0.0, label="live"))

# %%
first, last = history.metrics["return"][:, :5].mean(1), history.window("return", 10)[:, -1]
print("mean result of a point, each learner: first 5 updates", first.round(2))
print("                                      last 10 updates", last.round(2))
print(f"rallies: {history.metrics['steps per point'][:, 0].mean():.0f} steps, then {history.latest('steps per point').mean():.0f}")
print(f"decisions: {history.steps[0, -1]:,.0f} for each learner")

# %%
best = int(last.argmax())
widgets.watch(policy, env, replica=best, steps=budget.choose(300, 60))

# %% [markdown]
# At full budget all four cross the line. Look at the shape: for more than a third of the time little happens, then it goes faster.
# What is learned first is not to miss, and rallies get longer; a learner who hits the ball has more to learn from.

# %% [markdown]
# ## 8. What has it learned?
#
# Hold the ball at one column, flying level, and move it and the paddle up and down: where does the best of them go?

# %%
picture, axes = plots.figure(8.5, 4.2, columns=2, sharey=True)
for ax, column in zip(axes, (16, 28), strict=True):
    chance = figures_06.decisions(policy, column)[best]
    figures_06.boundary(ax, chance)
    ax.set_title(f"ball at column {column}: {figures_06.right_way(chance):.0%} right")
plots.show(picture, "Blue: down. Red: up. A perfect player is red above the dashed line (ball higher than paddle), blue below.")

# %% [markdown]
# (Counted are places where the two are more than three rows apart.) Nobody has written "compare the heights", and at full budget
# it is learned in part, best where the ball is near. The level bands show what it goes by: mostly the ball's row, less its own
# paddle's. "Down if the ball is in the lower half" alone would be right in 80 % of the places.
#
# And inside? A hidden unit is a picture of weights, one for each pixel. Blue: a pixel lit switches it on; red: one gone dark.

# %%
shown, push = figures_06.strongest(policy, 8, best)
picture, axes = plots.figure(8.5, 4.9, columns=4, rows=2)
figures_06.filters(axes, shown, push)
plots.show(picture, "At full budget: the ball high switches on units for up, the ball low units for down.")

# %% [markdown]
# Stripes of both colours alternate, four columns apart: the ball where it has come to, and where it was before.

# %% [markdown]
# Where is the network looking right now? The **saliency** of a pixel is the slope of the logit by that pixel:

# %%
x = nn.picture(seen, SIZE).flatten()[None].requires_grad_()
hidden = (x @ policy.first.weight[best, 1:].detach() + policy.first.bias[best].detach()).relu()
logits = hidden @ policy.last.weights[0][best].detach()
(slope,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], x)

# %%
picture, axes = plots.figure(8.5, 3.9, columns=2)
figures_06.pictures(axes, {"what it sees": x.detach()[0].reshape(SIZE, SIZE), "saliency": slope[0].reshape(SIZE, SIZE)})
plots.show(picture, "Blue: a pixel lit here would speak for down; red: for up. The empty field is looked at too: a ball might be there.")

# %% [markdown]
# ## 9. Four ways to find a third of a million numbers
#
# We might have searched instead. **Random search:** draw networks, keep the best. **Evolution:** try networks near the present
# one in pairs, $\theta \pm \sigma \epsilon$, and move towards the better ones (the randomised differences of lecture 02).
# **Finite differences:** change one number at a time. **Likelihood ratio:** this lecture. All may play equally many steps.

# %%
widgets.predict(
    "320,000 numbers, half a million steps of play for each learner. Which of the searches gets anywhere near the likelihood ratio?",
    ["Evolution", "Random search", "Finite differences", "None of them"],
)

# %%
cost = history.steps[0, min(history.iteration, 60) - 1]  # decisions of each learner that all may use
each = 64 * 32  # steps that a network plays to be judged: some 250 points
one_gradient = 2 * (SIZE**2 * 200 + 401) * each
print(f"networks that can be judged: {cost / each:.0f}")
print(f"one gradient by central differences: {one_gradient:,} steps, {one_gradient / cost:,.0f} times the budget")


# %%
def judge(candidates, rng, games=32):
    """Mean result of a point for each of P networks, played as P replicas: [P]."""
    played, _ = rollout(env, candidates, rng, 64, games)
    return played.reward.sum((1, 2)) / (played.reward != 0).sum((1, 2)).clamp(min=1)


def flat_weights(network):
    """All weights of P networks, [P, numbers]."""
    return torch.cat([p.detach().flatten(1) for p in network.parameters()], 1)


# %%
def random_search(seed, networks):
    """The best of so many drawn networks, judged afresh."""
    found, best = None, -2.0
    for part in range(networks // 20):
        rng = Rng(range(1000 * seed + 20 * part, 1000 * seed + 20 * part + 20))
        drawn = policies.Pixels(rng, SIZE**2, 2)
        result = judge(drawn, rng)
        if result.max() > best:
            best, found = float(result.max()), flat_weights(drawn)[int(result.argmax())]
    return found


# %%
def evolve(seed, networks, sigma=0.05, step=0.5, pairs=10):
    """Steps along random directions, each weighted with how much better its plus end does than its minus end."""
    crowd = policies.Pixels(Rng(range(2 * pairs)), SIZE**2, 2)
    mover, rng = nn.SGD(crowd, 1.0), Rng(range(1000 * seed, 1000 * seed + 2 * pairs))
    draw = torch.Generator().manual_seed(seed)
    theta = flat_weights(policies.Pixels(Rng(seed), SIZE**2, 2))[0]
    for _ in range(networks // (2 * pairs)):
        direction = torch.randn(pairs, len(theta), generator=draw)
        tried = theta + sigma * torch.cat([direction, -direction])
        mover.move(tried - flat_weights(crowd))
        plus, minus = judge(crowd, rng).split(pairs)
        theta = theta + step * sigma * ((plus - minus) / (plus - minus).std()) @ direction / pairs**0.5
    return theta


# %% [markdown]
# Both are judged in new games at the end: the best of many lucky ones is not as good as it looked (lecture 02).

# %%
networks = int(cost // each) if not budget.small() else 20
found = {"random search": [], "evolution": []}
for seed in range(seeds):
    for name, search in (("random search", random_search), ("evolution", evolve)):
        answer = policies.Pixels(Rng(90 + seed), SIZE**2, 2)
        nn.SGD(answer, 1.0).move(search(seed, networks) - flat_weights(answer))
        found[name].append(judge(answer, Rng(500 + seed), games=200).item())
found["likelihood ratio"] = history.window("return", 10)[:, min(history.iteration, 60) - 1]
for name, values in found.items():
    print(f"{name:17s}", np.round(values, 2))

# %%
picture, ax = plots.figure(8, 3.2)
figures_06.costs(ax, found, float(first.mean()))
plots.show(picture, "At full budget: the searches are still about where they began; the likelihood ratio is halfway to a draw.")

# %% [markdown]
# At full budget, none of them. A search of networks gets *one number* for 2,048 steps of play, and has hundreds of thousands of directions to
# tell apart. The likelihood ratio gets a weight for each of these steps, and backpropagation says at no further cost what each of the
# 320,000 numbers had to do with it. (For a gait with 12 numbers, lecture 02, a search was the right tool. It depends on the number.)

# %% [markdown]
# ## 10. Sixteen seeds, and a convolution
#
# The same, recorded: 16 seeds of the network above and of the convolutional one. `python benchmarks/pong.py --record`
# makes them again.

# %%
record = pong.recorded("pong")
about = json.loads(str(record["about"]))
kinds = {"dense": "score_function", "convolutional": "other"}
runs = {f"{name}, recorded": (record[f"{name}_steps"], record[f"{name}_return"]) for name in kinds}
for name in kinds:
    end = record[f"{name}_return"][:, -10:].mean(1)
    print(f"{name:14s} {len(end)} seeds, {record[f'{name}_steps'][-1]:,.0f} decisions each: {end.mean():.2f} a point,")
    print(f"{'':15s}from {end.min():.2f} to {end.max():.2f}; {about['cpu seconds'][name]} CPU seconds, {about['date']}")

# %%
picture, ax = plots.figure(8, 5)
figures_06.curves(ax, runs, dict(zip(runs, kinds.values(), strict=True)))
plots.show(picture, "Recorded. The convolution learns from fewer games: what it learns about a ball in one place, it knows in all.")

# %% [markdown]
# A ball that is 4 rows higher lights other pixels, and the dense layer has to learn it there anew. The convolution has the same
# weights in all places. For that it pays in computing: it must draw the picture out, where the dense one adds up a few rows, (6.1).

# %% [markdown]
# ## 11. Atari's own
#
# The same policy and the same update on the real game, `envs.make("atari-pong")`, through Gymnasium and the Arcade Learning
# Environment (`pip install pgcourse[atari]`). Four frames pass between two decisions, and at each frame the
# console goes on with the action before, with probability 1/4. A run takes hours or days, so it is recorded, with what the
# machine had to spare and a step size that was lowered on the way, and it is **one seed**: look at it as at a film, not as at evidence.

# %%
story, point = json.loads(str(atari["about"])), atari["return"]
decisions = atari["decisions"].sum()
print(f"recorded {story['date']}: {decisions:,.0f} decisions = {4 * decisions:,.0f} frames, {atari['games'].sum():,.0f} games")
print(f"{story['cpu hours']:.2f} CPU hours; a point pays {point[:20].mean():.3f} at first and {point[-20:].mean():.3f} at last")

# %%
picture, ax = plots.figure(8, 4.6)
runs = {"Atari's Pong, recorded": (atari["decisions"].cumsum(), point[None])}
figures_06.curves(ax, runs, {"Atari's Pong, recorded": "score_function"}, window=max(1, len(point) // 100))
plots.show(picture, "Recorded, one seed, unfinished where the line ends: 0 is a draw with Atari's player, -1 loses every point.")

# %% [markdown]
# Beside it, what others report. Karpathy (2016): about 8,000 games in three nights on a laptop, then slightly better than
# Atari's player. Somebody else's run of the same recipe: 27,065 games in 16 days, and still 2 points of 21 behind. CleanRL's PPO (lecture 10;
# four stacked frames, a convolution, ten million steps): 20 points ahead after 281 minutes. It is not one number. The recipe works, and it wastes.

# %% [markdown]
# ## 12. What goes wrong
#
# **The sum runs on through the points.** Then what happens in the next rallies is added to this one's bit. How much of a weight is
# still about its own point?

# %%
played, _ = rollout(env, policies.Pixels(Rng(range(4)), SIZE**2, 2), Rng(range(4)), 256, 32)
own = returns.to_go(played.reward, 1.0, played.reward != 0)  # the own point's result, at every step
for discount in (0.8, 0.99):
    for name, ended in (("anew at each point", played.reward != 0), ("runs on", played.done)):
        G = returns.to_go(played.reward, discount, ended)[:, :128]
        share = torch.corrcoef(torch.stack([G.flatten(), own[:, :128].flatten()]))[0, 1] ** 2
        print(f"discount {discount:<4}: {name:18s} {share:.0%} of a weight's variance is its own point's")

# %% [markdown]
# With $\gamma = 0.99$ a weight that runs on is more than three quarters about other rallies. What an action has hardly any
# influence on adds hardly any bias, as in (5.1), and much noise. **The check:** the weight at the step of a point is its reward,
# and nothing else.
#
# **Steps too large.** At ten times the step size, how certain is the policy, and how good?

# %%
short = config.iterations if budget.small() else 30
hasty, hasty_history = pong.train(env, pong.Config(iterations=short, step_size=5e-2), Rng(range(seeds)))
for name, one in (("step 0.005, whole run", policy), ("step 0.05, few updates", hasty)):
    played, _ = rollout(env, one, Rng(range(seeds)), 32, 64)
    sure = played.log_probability.exp().mean((1, 2))
    result = played.reward.sum((1, 2)) / (played.reward != 0).sum((1, 2))
    print(f"{name:23s} probability of what it does {sure.numpy().round(2)}")
    print(f"{'':23s} a point pays                {result.numpy().round(2)}")

# %% [markdown]
# It is sure before it knows anything. Where $\sigma(z)$ is 0 or 1, the score (6.3) of what it does is 0: it has stopped learning,
# and the loss looks fine. **The check:** print how probable its actions are. Near 1 early on means that steps are too large.
#
# **Every rally standardised by itself.** Within a rally all weights have one sign; subtract its mean and half of them change it. Lost
# rallies then praise as much as won ones: lecture 05's turn 13, once more.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_06)

# %% [markdown]
# ## In four lines
#
# - Pixels change nothing in the gradient: the difference of two frames goes in, a logit comes out, and its slope is $a - \sigma(z)$, (6.3).
# - It is supervised learning with labels I drew myself, weighted by how it went; all actions of a rally share one bit, (6.4).
# - On average the right actions get more of it, most of all the late ones: small signal, much noise, many games.
# - With a third of a million numbers no search at random gets anywhere at the same cost; the price is wasted games.
#
# **Now you:** [exercise 06](../exercises/06_pong_from_pixels.ipynb): preprocessing, the weights, the network forward, its
# update, and the count.
#
# **Next:** lecture 07 asks what a rally was *worth* at each moment, so that an action need not wait for the point.

# %% [markdown]
# ## Sources
#
# - A. Karpathy (2016), *Deep reinforcement learning: Pong from pixels*. The recipe, its preprocessing and its three nights.
# - V. Mnih et al. (2015), Human-level control through deep reinforcement learning, *Nature* 518. Convolutions on Atari's games.
# - M. G. Bellemare et al. (2013), The Arcade Learning Environment, *JAIR* 47; M. C. Machado et al. (2018), Revisiting the Arcade
#   Learning Environment, *JAIR* 61: actions repeated by chance.
# - S. Huang et al. (2022), CleanRL, *JMLR* 23. PPO's figures on Pong.
# - Source slides and notes: `003_0746104038de6fc3.txt` (Pong from pixels, the policy network and its count),
#   `002_20f9c9cab9178118.txt` (Atari policy, credit assignment), `004_c4625da9e5213f66.txt` (why policies; Pong as the example).
