"""The lectures' closing questions, kept here so that a lecture's page does not give the answers away.

widgets.quiz(quizzes.LECTURE_03)
"""

from .widgets import question, right, wrong

START = (
    question(
        r"What is the derivative of $\log u(\theta)$ with respect to $\theta$?",
        wrong("1 / u", "That is the derivative by u. The chain rule multiplies by what is inside."),
        right("u' / u", "The chain rule. Lecture 03 rests on it."),
        wrong("u' log u", "The derivative of log u by u is 1 / u."),
    ),
    question(
        "x is 2 with probability 0.1 and 0 otherwise. What are its mean and its variance?",
        right("0.2 and 0.36", "E[x] = 0.1 · 2, and E[x²] - E[x]² = 0.4 - 0.04."),
        wrong("0.2 and 0.4", "0.4 is E[x²]; the variance is what is left when E[x]² is subtracted."),
        wrong("1 and 1", "That would be for two equally likely values."),
    ),
    question(
        "You average four times as many independent measurements. What becomes of the standard error?",
        wrong("It stays: it belongs to the measuring device", "That is the standard deviation of one measurement."),
        wrong("It falls to a quarter", "The variance of the mean does; the standard error is its square root."),
        right("It is halved", "It falls as one over the square root of the number."),
    ),
    question(
        "The tensor a has shape [5, 1], the tensor b has shape [3]. What is a * b?",
        wrong("An error: 5 is not 3", "Axes of length 1, and missing ones, are stretched to fit."),
        right("A tensor of shape [5, 3]", "Broadcasting. It is handy, and it will bite you in lecture 03."),
        wrong("A tensor of shape [5]", "Nothing is summed: each of the five meets each of the three."),
    ),
)

LECTURE_01 = (
    question(
        r"Which part of $J(\theta) = \sum_\tau p(\tau; \theta)\, R(\tau)$ does the policy change?",
        right("The probabilities of the trajectories", "Its factors stand in (1.1). Lecture 04 differentiates them."),
        wrong("What the trajectories pay", "A walk to the treasure pays what it pays, whoever walks it."),
        wrong("Both", "R(τ) contains no θ. The policy makes walks likelier or rarer, and leaves what they pay alone."),
    ),
    question(
        "400 episodes give J = 3.0 with a standard error of 0.2. How many episodes bring the error down to 0.05?",
        wrong("1,600", "Four times as many halve the error; it is to be a quarter."),
        right("6,400", "A quarter of the error needs sixteen times the episodes: it falls as one over the root."),
        wrong("It cannot be brought down: single returns differ as much as before", "They do; their mean does not."),
    ),
    question(
        "You always do the same when you see the same. When can that cost you something, however well you choose?",
        wrong("When the world is random", "Where the whole state is seen, time left too, some deterministic policy is best."),
        wrong("When rewards are rare", "Then it is hard to find what to do. That is another question."),
        right(
            "When different states look alike, or an opponent can predict you",
            "What is hidden makes chance worth something: which grey cell it is, or the opponent's next move.",
        ),
    ),
    question(
        "A table of all transitions and rewards is given. How do you compute J of a policy for 1,000 steps?",
        wrong("List the trajectories, by (1.3)", "There are more than atoms in the universe, in a corridor of five cells."),
        wrong("Only by sampling", "Possible, and noisy. The tables allow something better."),
        right("Backward in time, by (1.6)", "A thousand steps of a matrix product each; walks that meet share their future."),
    ),
    question(
        "A search tries 500 policies with 10 episodes each and reports the highest mean return: 92. What do you expect of that "
        "policy in a thousand new episodes?",
        right("Less than 92", "The winner of 500 noisy scores has mostly had luck as well: turn 13 b)."),
        wrong("92, with a smaller error", "So it would be for a policy chosen beforehand. This one was chosen for its score."),
        wrong("More: it goes on improving", "Nobody changes it any more. Only the luck of the ten episodes is gone."),
    ),
)

LECTURE_02 = (
    question(
        "J is computed without noise, in float64. Which step is best for a central difference, roughly?",
        wrong("1e-16, as small as the numbers allow", "There the two values agree in all digits: no slope is left."),
        wrong("1e-8", "That is where forward differences are best; central ones can afford a larger step, by (2.5)."),
        right("1e-5", "The cube root of the unit round-off, times a factor that depends on J: (2.5)."),
    ),
    question(
        "Each measurement has noise that you cannot repeat. You halve the step of a central difference. Its variance",
        wrong("is halved", "The noise is divided by the step, so a smaller step makes it larger."),
        wrong("is doubled", "The noise is divided by the step, and a variance goes with the square."),
        right("gets four times as large", "(2.6): it goes as one over the square of the step."),
    ),
    question(
        "With common random numbers, what is it that gets less noisy?",
        wrong("Each of the two means", "Each is as noisy as before. Their noise is the same noise, that is all."),
        right("Their difference", "What both sides have in common cancels: the covariance in (2.7)."),
        wrong("Nothing, but the estimate becomes unbiased", "The mean of the estimate is what it was; the variance changes."),
    ),
    question(
        "In (2.8), the mean with +ε is 250, the mean with 0 is 252 and the mean with -ε is 240. What is A?",
        wrong("10", "That would be the difference, but the middle group beats both others."),
        right("0", "Leaving the parameter alone was best, so it is left alone in this step."),
        wrong("12", "The middle group is never subtracted from; it can only veto."),
    ),
    question(
        "A search reports the highest of a thousand noisy measurements. Walked again, that gait will on average do",
        wrong("as well: it has been measured", "It was chosen because the measurement was high, and part of that was noise."),
        wrong("better: it has been trained", "Nothing was trained by measuring it."),
        right("worse", "The winner's curse: the maximum selects for luck as well. Measure the winner again."),
    ),
)

LECTURE_03 = (
    question(
        "What must be differentiable for (3.4)?",
        wrong("f, with respect to x", "f is only evaluated. A dartboard has no useful slope, and (3.4) found the gradient."),
        right("log p, with respect to theta", "The gradient goes into our own probabilities and nowhere else."),
        wrong("Both", "That is the pathwise gradient of lecture 11, which needs the slope of f."),
    ),
    question(
        "You can afford one sample for each estimate. The estimate is then",
        wrong("biased", "Its mean is the gradient for every N, one included: turn 6."),
        right("right on average, and very noisy", "Unbiased for every N; the variance is N times that of an average of N."),
        wrong("zero on average", "That would be the score alone. Multiplied by f it has the gradient as its mean."),
    ),
    question(
        "The surrogate loss has fallen from 3 to 1 in an hour. What do you conclude?",
        wrong("The policy got better", "In turn 10 it got better while the loss rose."),
        wrong("The policy got worse", "Not that either: in turn 12 b) the loss fell for a reason of its own."),
        right(
            "Nothing",
            "Its value changes with the units of x and with whatever is subtracted from f. Plot the mean of f.",
        ),
    ),
    question(
        "The board now pays 100 points more for every dart, wherever it lands. What happens to the estimates?",
        wrong("Nothing at all", "Each of them changes, by 100 times its mean score. Only the average change is zero."),
        wrong("They become biased", "By (3.5) what is added has mean zero."),
        right("Same mean, far more variance", "100 times something of mean zero: no bias, much noise. Turn 8, backwards."),
    ),
    question(
        r"Let $x$ be uniform between $0$ and $\theta$, and $f(x) = x$. Then $J = \theta / 2$ has the slope $1/2$. But "
        r"$\log p_\theta(x) = -\log\theta$, and (3.4) estimates $-1/2$. Which line of the derivation broke?",
        right(
            "(3.1): here the gradient may not go inside",
            "The places that x can reach depend on theta. The upper end of the integral moves, and what it gains is lost. The "
            "check of turn 8 sees it: the score is -1/theta everywhere, so its mean is not zero.",
        ),
        wrong("(3.2): it divides by zero", "Wherever x can land, p is 1/theta."),
        wrong("(3.3): the logarithm", "Where p > 0 the ratio is the gradient of log p, always."),
    ),
)

LECTURE_04 = (
    question(
        "The dynamics are random and you do not know them. What does that do to the estimator (4.4)?",
        wrong(
            "It is biased: terms of the score are missing",
            "Those terms are gradients of numbers that do not contain theta: zero, not missing.",
        ),
        right(
            "Nothing: it stays centred on the gradient",
            "The world's terms have no gradient, and the world itself draws the paths with the right probabilities.",
        ),
        wrong(
            "It needs a learned model of the dynamics first",
            "The score needs the policy only, by (4.3). Models come in lecture 17, for other reasons.",
        ),
    ),
    question(
        "Every reward of a batch is 0. What does a plain step along (4.4) do?",
        right("Nothing", "Every weight is zero. A reward that nobody finds teaches nothing."),
        wrong("It makes the tried actions less likely", "For that their weight would have to be negative. 0 is no blame."),
        wrong("It explores, in a random direction", "The scores are random, but they are multiplied by zero."),
    ),
    question(
        r"With a discount below 1, which weights leave (4.4) centred on the gradient of $J$?",
        wrong("G_t", "Without γ^t late steps count more than they add to R(τ): turn 6 measured the bias."),
        right("γ^t G_t", "R(τ) without the rewards before step t: the same mean, usually less noise."),
        wrong("γ^t r_t", "An action answers for what comes after it, too. Its own reward alone is a one-step view."),
    ),
    question(
        "You see one number: the loss of a run fell between two updates. What do you know?",
        wrong("The policy has improved", "Each update has new episodes and new weights: they alone move the height."),
        right("Nothing about how well the policy does", "Only the slope of the surrogate means something. Look at the return."),
        wrong("There is a sign error: it should rise", "A sign error shows in the return, not in the loss."),
    ),
    question(
        "A replica has had a return of 9 and an entropy of 0.00 for fifty updates. What will help it?",
        wrong("More updates", "Its scores are zero, so all its estimates are. It will not move."),
        wrong("More episodes per update", "All its episodes are alike. More of them say the same."),
        right("Starting again with smaller steps", "It became certain before it was good. Small steps let evidence in first."),
    ),
)

LECTURE_05 = (
    question(
        "Which of these may be subtracted from the return of step t without a bias?",
        wrong("The reward of step t", "It depends on the action of step t, and takes that action's own earnings away."),
        right("The reward of step t - 1", "It was known before the action was drawn: that is all (5.3) asks."),
        wrong("The number of steps the episode will last", "The action has a say in that, so it is not fixed before."),
    ),
    question(
        "A baseline is wrong by 100 in every state. What does that do to the gradient estimate?",
        wrong("It is biased", "100 times a score has mean zero, like any other constant."),
        right("It stays unbiased and gets noisier", "The mean never asks how good b is, the variance does."),
        wrong("Nothing", "The variance is a parabola in b, and 100 is far up its side."),
    ),
    question(
        "Leave-one-out with two episodes that run equally long. What is the weight of a step of the first?",
        right("Its return-to-go minus the other's", "The mean of the others is the other: (5.9) with E = 2."),
        wrong("Half of that", "So it is with the mean over both, its own included: 1 - 1/E of the gradient is left."),
        wrong("Zero: two episodes cannot say what is usual", "One other return is a poor guess of V, and an unbiased one."),
    ),
    question(
        "In (5.8), what happens to the gradient with respect to φ of the target r + γ V(s')?",
        wrong("It is added to that of V(s)", "The target is computed with the old φ and held fixed. In code: detach it."),
        right("There is none", "The target has the old φ in it, a number. Only V(s) moves."),
        wrong("It is what λ multiplies", "λ holds φ near the old one, whatever the targets are."),
    ),
    question(
        "Your baseline explains 98 % of the variance of the returns it was fitted to. The policy hardly learns. What first?",
        wrong("Fit it better", "It may already know these returns by heart, and leave nothing of them."),
        wrong("Take a longer step", "If the weights are nearly zero for the wrong reason, longer steps do not mend them."),
        right(
            "See whether it is fitted before the weights are computed",
            "Turn 9 b): then it takes the gradient away with the noise.",
        ),
    ),
)

LECTURE_06 = (
    question(
        "You show the network single frames in place of differences. What can it no longer know?",
        wrong("Where its own paddle is", "A frame shows that, and so does the difference as long as the paddle moves."),
        right("Which way the ball is flying", "A still picture has no direction. Two of them, or their difference, have."),
        wrong("Nothing; it only has to learn more", "No amount of learning finds out what is not in the picture."),
    ),
    question(
        "You won a rally. In the middle of it you once ran the wrong way. What does the update do with that action?",
        wrong("It makes it less probable", "It cannot know. The rally was won, and the action stood in it."),
        right(
            "It makes it more probable, like the others",
            "One bit for all of them. In lost rallies it stands more often, and that decides, on average.",
        ),
        wrong("Nothing, if it was far from the ball", "Its weight is smaller by the discount, and not zero."),
    ),
    question(
        "A sigmoid says 0.9 for up. The learner goes down, and the point is lost: the weight is -1. Which way, and how hard, "
        "is the logit of up pushed?",
        right("Up, by 0.9", "A (a - p) = -1 (0 - 0.9) = 0.9: a rare action that went wrong is pushed hard."),
        wrong("Up, by 0.1", "a is 0 for down, so a - p is -0.9."),
        wrong("Down, by 0.9", "Down was played and lost: it is to become rarer, so the logit of up rises."),
    ),
    question(
        "A picture of 40 by 40 pixels, 300 hidden units. About how many numbers has the first layer?",
        wrong("12,000", "Each of 1,600 pixels, not of 40, has a weight to each unit."),
        right("480,000", "1,600 times 300, and 300 biases."),
        wrong("1,900", "Every pixel is joined to every unit: multiply, do not add."),
    ),
    question(
        "Evolution judges 240 networks by 2,048 steps each; the likelihood ratio uses the same half million steps. Why does it "
        "learn so much more from them?",
        wrong("Its games are better", "At first they are the same bad games."),
        wrong("Evolution is biased", "Its steps point uphill on average. They are noisy: 240 numbers for 320,000 directions."),
        right(
            "It gets a weight for each step, and backpropagation tells each parameter its part",
            "Evolution gets a single number for 2,048 steps, and does not look inside the network.",
        ),
    ),
)

LECTURE_07 = (
    question(
        "Episodes are only ever cut off, and the critic is too high by 5 in every state. What does the policy learn from δ?",
        wrong("To seek states that look too good", "Every state is too high by the same: none looks better than it is."),
        right(
            "What it should: the error is a baseline",
            "By (7.6) the bias is 5γ - 5 for every action. (Where an action may end the world, and 0 follows, it would show.)",
        ),
        wrong("To take every action more often", "What is left of the two errors does not depend on the action."),
    ),
    question(
        "You know the true V. Which λ gives the best advantages?",
        right("0", "No λ is biased then, and every further δ only adds variance."),
        wrong("1: it has no bias", "Nor has any other. And it is the noisiest."),
        wrong("One in between", "That is a bargain between bias and variance. There is no bias to pay for."),
    ),
    question(
        "A step is both terminated and truncated: the pole fell at step 500. What is its δ?",
        wrong("r + γ V(s') - V(s)", "The world has ended. That the clock stopped as well changes nothing."),
        right("r - V(s)", "An end has no future, whoever is still looking."),
        wrong("r", "The prediction V(s) is compared with what came: it stays."),
    ),
    question(
        "Two actors: one subtracts V_φ(s) from sampled returns, the other uses r + γ V_φ(s') - V_φ(s). The critics are equally "
        "bad. Whose gradient is biased?",
        wrong("Both", "In the first the critic is a baseline, by (5.3), however bad."),
        wrong("The first", "It uses the critic only where the action has not acted yet."),
        right("The second", "Its critic judges what the action led to, and judges wrongly."),
    ),
    question(
        "The target of a Q critic has the maximum over the next actions in it. What has it learned in the end?",
        wrong("Q of the policy, sooner", "The policy does not enter the target at all."),
        right("Q of the best policy", "It is the value of acting best from the next step on. Nobody acts like that yet."),
        wrong("Nothing: it diverges", "With a table it settles, at another place."),
    ),
)

LECTURE_08 = (
    question(
        "One worker takes 64 consecutive steps; its gradients are worth about 5 independent ones. You let it take 128. "
        "What are they worth?",
        wrong("Still about 5", "The second half is no repetition of the first: what is far apart is hardly correlated."),
        right("About 10", "Once the batch is much longer than the correlation, the bracket of (8.1) no longer grows."),
        wrong("About 69: the new ones are fresh", "They repeat each other as the first 64 did."),
    ),
    question(
        "Two synchronous workers had 10 and 30 samples. Each reports its mean gradient. You average the two reports. What is "
        "wrong?",
        wrong("Nothing: by (8.3) the average is the union's gradient", "With equal batches only."),
        right("A sample of the first counts three times one of the second", "Weigh by 10 and 30, then divide by 40."),
        wrong("The sum should be taken", "Then the step would grow with the number of workers."),
    ),
    question(
        "Of four asynchronous workers one is ten times slower than the others. What is the mean staleness over all updates?",
        right(
            "About 3, as with equal speeds",
            "By (8.6): each update is counted once by each other worker. The slow one's own are few and very stale.",
        ),
        wrong("About 10", "The slow worker's updates are that stale, or more; but there are few of them."),
        wrong("About 2: the slow one hardly takes part", "It counts every update of the others, all at once."),
    ),
    question(
        "Step 0.3 is well below the limit 2 of a bowl. Eight asynchronous workers use it, and the run blows up. Why?",
        wrong("Their updates overwrite each other", "Lost writes are rare, and make the step smaller if anything."),
        wrong("Eight noisy gradients are too noisy", "Noise makes it tremble. It does not grow."),
        right("Gradients are seven updates old, and the limit is 0.21", "(8.8): they still push when the bottom is passed."),
    ),
    question(
        "You have 100 fast cores in one machine, and batches that all take the same time. In step or out of step?",
        right("In step", "Nobody waits long, the result is that of one big batch, and a run can be repeated."),
        wrong("Out of step: waiting is always a waste", "With equal times there is next to no waiting, and no age."),
        wrong("It makes no difference", "Out of step each gradient would be 99 updates old, and no two runs alike."),
    ),
)

LECTURE_09 = (
    question(
        "With exact advantages and unlimited data, the surrogate promises a gain of 2, and J falls. How can that be?",
        wrong("The advantages are the old policy's", "As they should be: (9.2) asks for the old ones."),
        wrong("The ratios of probabilities are too noisy", "Not with unlimited data."),
        right(
            "The new policy visits other states",
            "That is the only difference between (9.2) and (9.3), and it grows with the KL divergence.",
        ),
    ),
    question(
        "You divide all parameters of a network by 10 and let the network multiply them by 10. What becomes of the natural "
        "gradient's step, undamped?",
        right("The policy changes as before", "F and g change together, and F^-1 g in the new parameters is the same step."),
        wrong("The policy changes a hundred times as much", "So it would with the plain gradient at a fixed step size."),
        wrong("It depends on the damping", "There is none here; with one it does, because damping is a ruler for parameters."),
    ),
    question(
        "After k iterations of conjugate gradient from x = 0, what is x?",
        wrong("The solution, rounded to k digits", "How fast it converges depends on the eigenvalues, not on k alone."),
        right(
            "The best point of the space spanned by g, F g, ..., F^(k-1) g",
            "Best in the norm of F. So as many iterations suffice as there are different eigenvalues.",
        ),
        wrong("The point that k steps of gradient descent reach", "Those lie in the same space, but are not the best of it."),
    ),
    question(
        "You want steps half as long. By how much must delta be smaller?",
        wrong("By half", "The step is sqrt(2 delta / x F x) x: the root is missing."),
        right("To a quarter", "KL grows with the square of the step, (9.10)."),
        wrong("Not at all: the line search shortens the steps", "It shortens those that go too far or do not gain, no others."),
    ),
    question(
        "The line search finds no acceptable step. What should TRPO do?",
        wrong("Take the shortest step tried", "It was measured: it lowers the surrogate or goes too far."),
        wrong("Take the whole step, and hope", "That is TNPG, in the one case where it is known to fail."),
        right("Restore the weights, collect the next batch", "It has another gradient, and the critic has learned meanwhile."),
    ),
)

LECTURE_10 = (
    question(
        "A batch has been collected, and no step has been taken on it. What is the gradient of the clipped objective?",
        wrong("0: every ratio is 1, which is inside the clip", "Inside the clip is where the objective slopes."),
        right("The policy gradient", "At ratio 1 the gradient of ratio times A is A times the score. No clip is felt yet."),
        wrong("A fifth of the policy gradient, with clip 0.2", "The clip is an edge, not a factor."),
    ),
    question(
        "A step has A < 0 and ratio 0.7, with clip 0.2. What happens to it?",
        right("It is held", "Its probability has fallen by more than a fifth: far enough the right way."),
        wrong("It is pushed down further", "Below 0.8 the objective of a bad action is flat."),
        wrong("It is pushed back up to 0.8", "Held means no gradient. Only who went the wrong way is pushed back."),
    ),
    question(
        "The clip fraction is 0 in every update. What do you suspect first?",
        wrong("The clip works perfectly", "It holds a step only once that step is outside; some should be."),
        wrong("The advantages are too small", "Standardised, they have one size."),
        right("The ratios are all 1, or the steps are tiny", "Is the old log-probability the recorded one? Then see the KL."),
    ),
    question(
        "Which of these does PPO with clip 0.2 guarantee?",
        wrong("Each ratio ends between 0.8 and 1.2", "Momentum and shared weights carry steps outside: turn 4."),
        wrong("The KL of an update stays below a bound", "It came to about 0.01 in one setting. Longer steps move it."),
        right("Neither", "It takes away the gain beyond the edge. What the optimizer does with that is another matter."),
    ),
    question(
        "The penalty's coefficient has doubled after each of the last ten updates. What does that say?",
        right(
            "The KL is above its target, and the penalty is not yet what decides it",
            "Each time it was more than 1.5 times the target. If that lasts, the steps are too long for any coefficient.",
        ),
        wrong("The policy hardly moves", "Then it would be halved."),
        wrong("The rewards have become larger", "That may be why, but the rule only sees the KL."),
    ),
)

LECTURE_11 = (
    question(
        "What does the pathwise estimator need that the score function does not?",
        wrong(
            "The density of the samples", "That is what the score function needs. Pathwise needs to know how a sample is made."
        ),
        right("The slope of the payment by the sample", "By (11.4) it is the slope of f, times how the sample moves."),
        wrong("More samples", "On smooth payments it needs far fewer: turns 6 and 7."),
    ),
    question(
        r"Lecture 03 asked about $x$ uniform between $0$ and $\theta$, with $f(x) = x$, where (3.4) fails. Write "
        r"$x = \theta z$ with $z$ uniform between 0 and 1. What does (11.4) estimate?",
        right(
            "1/2, and it is right",
            "The slope of f is 1 and x moves by z, whose mean is 1/2. The density of z has no parameter.",
        ),
        wrong(
            "-1/2, as the score function does", "That came from differentiating a density whose end moves. Here nothing does."
        ),
        wrong("0: a uniform density has no slope", "No density is differentiated. f and x = theta z have slopes."),
    ),
    question(
        "A payment is smooth except for one jump down, at a place that one throw in ten thousand comes near. With a million "
        "throws the pathwise estimate is",
        wrong("right: the jump is hit by hardly any throw", "It is hit by none. What is missing is jump times density there."),
        wrong("noisier than the score function's", "Its noise may be small. That is what makes it so convincing."),
        right("off by the height of the jump times the density there", "By (11.10). Here that is little; it is never nothing."),
    ),
    question(
        "An episode of a chaotic machine, twenty seconds long, all of it smooth. Its pathwise gradient is",
        wrong("biased", "Everything is smooth, so the gradient may go inside: right on average."),
        right("unbiased, with a variance that no number of samples tames", "Slopes grow exponentially and cancel on average."),
        wrong("zero: the end does not depend on the beginning any more", "It depends on it enormously, in either direction."),
    ),
    question(
        "A network has a million parameters and a smooth, known loss of one sampled layer. Measure-valued or pathwise?",
        wrong(
            "Measure-valued: it has the smaller variance",
            "It had on the square. But each parameter of the law asks for two values.",
        ),
        wrong("They cost the same", "Backpropagation gives all slopes at the price of a few evaluations."),
        right("Pathwise", "One backward pass serves all parameters at once."),
    ),
)

LECTURE_12 = (
    question(
        "You add Gumbel noise to logits and take the argmax. Which outcome wins how often?",
        right(
            "In proportion to exp(logit), exactly",
            "A race of clocks with these rates, by (12.1). There is no temperature in it.",
        ),
        wrong("The largest logit, always", "So it would be without the noise, which may lift any other above it."),
        wrong("In proportion to exp(logit / temperature)", "Dividing all sums by one number does not change which is largest."),
    ),
    question(
        "Straight-through on a coin with the cost f(b) = 7 b. How biased is its gradient?",
        right("Not at all", "For a linear cost both tangents are the chord."),
        wrong("Its slope is 7, so by a factor of 7", "7 is the chord as well: f(1) - f(0) = 7, and both multiply p (1 - p)."),
        wrong("By an amount that shrinks with more samples", "Bias never shrinks with samples. Here there is none."),
    ),
    question(
        "One gradient is biased by 0.1 and has variance 1; another has no bias and variance 100. You average N estimates. "
        "From which N on has the second the smaller squared error?",
        wrong("From 100 on", "At 100 it has 1, and the first 0.01 + 0.01."),
        right("From about 10,000 on", "0.01 + 1/N against 100/N: they meet at N = 9,900."),
        wrong("Never: 100 is too much", "100/N goes to zero, 0.01 does not."),
    ),
    question(
        "Leave-one-out with the mean over all N samples, one's own included. What is wrong?",
        wrong("Nothing: the score has mean zero", "That needs a baseline that does not depend on the sample it is for."),
        wrong("It is noisier", "It is quieter, by the same factor by which it is too small."),
        right(
            "It is too small by (N - 1) / N", "Each f takes a part of itself away. Multiply by N / (N - 1), and it is (12.6)."
        ),
    ),
    question(
        "The control in RELAX is a bad guess of f. What does that do?",
        right(
            "The estimate gets noisier, and stays unbiased",
            "The three terms have mean zero whatever the control is, by (12.9).",
        ),
        wrong("The estimate becomes biased toward the control", "What is subtracted with the score is added back as a slope."),
        wrong("Nothing: the control only matters in training", "It decides how much of f is left for the score to carry."),
    ),
)

LECTURE_13 = (
    question(
        "A graph: a is drawn; b is drawn given a; c is drawn on its own. The one cost is k(b, c). Which nodes answer for it?",
        wrong("b and c: a does not stand in it", "a decides how likely each b is, and so what k costs on average."),
        right("All three", "Arrows lead from a through b to the cost, and from c directly."),
        wrong("a alone, the root", "A different toss of b or c would have cost something else."),
    ),
    question(
        "You weigh a node with a cost that it cannot reach. What does that do to the estimated gradient?",
        right(
            "It gets noisier and stays unbiased", "Given the rest, that cost is fixed, and a score has mean zero, by (13.3)."
        ),
        wrong("It becomes biased", "The part that is added has mean zero."),
        wrong("Nothing: the weight is multiplied by zero", "It has mean zero; in a single sample it is anything but zero."),
    ),
    question(
        "The magic box exp(log p - detach(log p)) is always 1. What is it good for?",
        wrong(
            "It keeps the numbers from overflowing",
            "It is 1 whatever log p is; nothing overflows, but that is not why it is there.",
        ),
        wrong("It removes the variance of the score function", "Its first derivative is the score function, noise and all."),
        right(
            "Its derivatives are those of p, divided by p, of every order",
            "The first is the score, the second has the product of the scores that a weight held fixed has lost.",
        ),
    ),
    question(
        "x is drawn pathwise from a Gaussian, then a coin y is tossed whose logit depends on x. The cost depends on y alone. "
        "How does the gradient find its way to the parameters of x?",
        wrong("It does not: a coin has no slope", "Its outcome has none; its probability has."),
        right("Through log p(y | x)", "The score of y is differentiated by x, and x by its parameters."),
        wrong("Only if y is relaxed", "Relaxing is a way, and a biased one. The score function of y is enough."),
    ),
    question(
        "A hundred data points, each with its own coin and its own cost. You add the costs up and give the program the sum "
        "alone. What have you lost?",
        wrong(
            "Nothing: the gradient of a sum is the sum of the gradients", "On average. But now every coin answers for the sum."
        ),
        wrong("Unbiasedness", "Costs of the other points are noise to a coin, no bias."),
        right(
            "Much in variance: a hundredfold or more",
            "Each coin is weighed with a hundred costs, of which it reaches one. On a plate each point keeps its own.",
        ),
    ),
)
