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
        wrong("G_t", "Without γ^t late steps count more than they add to R: turn 6 measured the bias."),
        right("γ^t G_t", "R without the rewards before step t: the same mean, usually less noise."),
        wrong("γ^t r_t", "An action answers for what comes after it, too. Its own reward alone is a one-step view."),
    ),
    question(
        "You see one number: the loss of a run fell between two updates. What do you know?",
        wrong("The policy has improved", "Each update has new episodes: if they are longer, that alone moves the height."),
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
