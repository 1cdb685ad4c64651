"""The checks of all tasks, checked: right solutions pass, wrong ones are rejected and named, nothing is judged by luck."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pgcourse.grading import audit, find, judge, reference_source, stub_source, tasks
from pgcourse.grading.answer import LocalAnswer
from pgcourse.grading.task import Gradient, Learning, shapes
from pgcourse.grading.tasks import t04_reinforce

PAGE = Path(__file__).parent.parent / "docs" / "kill_matrix.md"
TASKS = tasks()
BY_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)


@pytest.fixture(scope="module")
def cells():
    return audit.kill_matrix()


@BY_TASK
def test_kill_matrix_every_cell_is_right(task, cells):
    own = [cell for cell in cells if cell.task is task]
    assert sum(cell.kind == "right" for cell in own) >= 2
    assert sum(cell.kind == "wrong" for cell in own) >= 4
    assert sum(cell.kind == "spoilt" for cell in own) >= 10
    wrong = [f"{cell.kind} {cell.solution}: {cell.outcome}" for cell in own if not cell.good]
    assert not wrong, "\n".join(wrong)


def test_the_committed_kill_matrix_is_current(cells):
    assert PAGE.read_text(encoding="utf-8") == audit.markdown(cells), f"run: python -m pgcourse.grading.audit > {PAGE}"


def test_the_page_shows_a_wrong_judgement():
    """The matrix must be able to fail: a check that lets a mistake through shows."""
    task = find("04.batched_returns")
    blind = replace(task, stages=(replace(task.exact, verdict=lambda cases, seen: None),))
    cells = audit.kill_matrix([blind])
    assert {cell.kind for cell in cells if not cell.good} == {"wrong", "spoilt"}
    page = audit.markdown(cells)
    assert f"{sum(not cell.good for cell in cells)} judged wrongly" in page
    assert "**accepted, wrongly**" in page


@BY_TASK
def test_mistakes_are_recognised_whatever_the_seed(task):
    """Every mistake is named on other draws too, not only on those of the kill matrix."""
    for mistake in task.mistakes:
        for seed in (1, 2):
            outcome = judge(task, mistake.function, seed, learning=False)
            assert (outcome.status, outcome.points, outcome.mistake) == ("failed", 0, mistake.name), outcome
            assert outcome.message.startswith(mistake.sentence) or task.exact.verdict


@BY_TASK
def test_no_false_alarm_in_a_few_runs(task):
    assert not any(audit.false_alarms(task, 5).values())


@pytest.mark.full
@BY_TASK
def test_no_false_alarm_in_two_hundred_runs(task):
    assert not any(audit.false_alarms(task, 200).values())


@pytest.mark.full
@BY_TASK
def test_no_mistake_slips_through_in_fifty_runs(task):
    for mistake in task.mistakes:
        for seed in range(50):
            assert judge(task, mistake.function, seed, learning=False).mistake == mistake.name


@BY_TASK
def test_right_solutions_agree_with_the_truth_far_below_the_tolerance(task):
    """The error budget says that rounding is the only difference; so it must be many orders below what is tolerated."""
    stage = task.exact
    if stage.verdict is not None:
        pytest.skip("judged by a verdict; its margins have a test of their own")
    for function in (task.reference, *task.alternatives):
        answer = LocalAnswer(function)
        for case in stage.cases(torch.Generator().manual_seed(3)):
            found = stage.observe(task, answer, case.inputs)
            for part, truth in zip(_parts(found), _parts(case.truth), strict=True):
                part, truth = torch.as_tensor(part), torch.as_tensor(truth)
                assert (part - truth).abs().max() < 1e-6 * max(1.0, truth.abs().max()), function.__name__


def _parts(value):
    return value if isinstance(value, tuple) else (value,)


@BY_TASK
def test_the_oracle_is_not_the_reference(task):
    assert inspect.getsource(task.reference) not in inspect.getsource(task.exact.cases)
    own = task.exact.cases.__code__.co_names
    assert task.name not in own
    assert any(name.endswith("oracle") for name in own) or task.exact.verdict


@BY_TASK
def test_specification_is_complete(task):
    assert task.id == f"{task.id[:2]}.{task.reference.__name__}"
    assert find(task.name) is find(task.id) is task
    assert 2 <= len(task.hints) <= 4
    assert len(task.alternatives) >= 1
    assert len({mistake.name for mistake in task.mistakes}) == len(task.mistakes) >= 4
    assert task.points >= 1
    assert task.title
    assert len(task.error_budget) > 50
    learning = sum(stage.points for stage in task.stages if isinstance(stage, Learning))
    assert learning <= task.points / 4, "a training run earns minor points"
    for path in task.forbidden:
        module, _, name = path.rpartition(".")
        assert __import__(module, fromlist=[name])
        assert hasattr(__import__(module, fromlist=[name]), name), path


@BY_TASK
def test_the_signature_says_the_shapes(task):
    """Names are the reference's; shapes are those of the cases, and some case has all axes of different lengths."""
    head, _, result = task.signature.partition("->")
    name, _, arguments = head.partition("(")
    asked = shapes(arguments.rpartition(")")[0])
    assert name == task.name
    assert tuple(argument for argument, _ in asked) == task.parameters
    assert shapes(result), "the signature names what is returned"
    told_apart = False
    for case in task.exact.cases(torch.Generator().manual_seed(0)):
        sizes, numbers = {}, {}
        for (argument, shape), value in zip(asked, case.inputs, strict=True):
            if not shape:
                assert isinstance(value, int | float), argument
                numbers[argument] = value
                continue
            letters = [letter.strip() for letter in shape.strip("[]").split(",") if letter.strip()]
            assert len(letters) == value.ndim, argument
            for letter, size in zip(letters, value.shape, strict=True):
                assert sizes.setdefault(letter, size) == size, f"{argument}: {letter}"
        if not isinstance(task.exact.observe, Gradient):
            for (output, shape), value in zip(shapes(result), _parts(case.truth), strict=True):
                if not shape:
                    assert isinstance(value, int | float), output
                    continue
                letters = [letter.strip() for letter in shape.strip("[]").split(",") if letter.strip()]
                assert [_length(letter, sizes | numbers) for letter in letters] == list(value.shape), output
        told_apart |= len(set(sizes.values())) == len(sizes) and 1 not in sizes.values()
    assert told_apart, "no case has all axes of different lengths above 1: a confusion of axes could pass"


def _length(letter, known):
    """Of an axis: a letter of the inputs', or what the signature says to compute from them: K + 1, (last - first) / 2."""
    return known[letter] if letter in known else eval(letter, {}, known)  # our own text


@BY_TASK
def test_cases_begin_small_and_are_exact(task):
    cases = task.exact.cases(torch.Generator().manual_seed(0))
    first = [x for x in cases[0].inputs if isinstance(x, torch.Tensor)]
    assert all(x.numel() <= 12 for x in first)
    for case in cases:
        assert all(x.dtype in (torch.float64, torch.bool, torch.int64) for x in case.inputs if isinstance(x, torch.Tensor))


@BY_TASK
def test_sources(task):
    """The stub has the reference's signature and docstring and nothing of its body; both can be executed."""
    stub, reference = stub_source(task), reference_source(task)
    for source in (stub, reference):
        space = {"torch": torch}
        exec(source, space)  # our own text
        assert space[task.name].__doc__ == task.reference.__doc__
        assert inspect.signature(space[task.name]) == inspect.signature(task.reference)
    assert stub.rstrip().endswith("raise NotImplementedError")
    assert judge(task, space[task.name], 0, learning=False).status == "passed", "the source alone is a right answer"
    exec(stub, space)
    assert judge(task, space[task.name], 0).status == "not attempted"
    body = reference.partition(task.reference.__doc__)[2].replace('"""', "")
    assert len(body.strip().splitlines()) <= 12
    assert not any(line.strip() in stub for line in body.splitlines() if line.strip())


def test_function_names_are_unique_over_the_course():
    assert len({task.name for task in TASKS}) == len(TASKS)
    assert len({task.id for task in TASKS}) == len(TASKS)
    assert [task.id[:2] for task in TASKS] == sorted(task.id[:2] for task in TASKS)


# ----------------------------------------------------------------------------------------------------------------------
# 04.cartpole_loss: a whole family of losses is right


def _losses():
    """Right losses of the kinds people write, and wrong ones that are in no list."""

    def discounted(x, gamma=0.99):
        rows, G = [], torch.zeros_like(x[0])
        for r in x.flip(0):
            G = r + gamma * G
            rows.append(G)
        return torch.stack(rows[::-1])

    def standard(x, v):
        return (x - x[v].mean()) / (x[v].std() + 1e-8)

    def whole(r, v):
        return (r * v).sum(0)

    def alone(r, v):
        return whole(r, v) - (whole(r, v).sum() - whole(r, v)) / (r.shape[1] - 1)

    def less(baseline, of=whole):
        return lambda p, r, v: -((of(r, v) - baseline(of(r, v))) * p * v).sum(0).mean()

    def each_step(r, v):
        """Rewards-to-go, and their mean and standard deviation over the episodes that reach a step."""
        G, alive = discounted(r * v, 1.0), v.sum(1, keepdim=True)
        mean = (G * v).sum(1, keepdim=True) / alive
        return G, mean, (((G - mean) ** 2 * v).sum(1, keepdim=True) / alive).sqrt()

    def last(v):
        return v & (v.cumsum(0) == v.sum(0))

    def standard_whole(r, v):
        return (whole(r, v) - whole(r, v).mean()) / (whole(r, v).std() + 1e-8)

    right = {
        "whole return": lambda p, r, v: -(whole(r, v) * p * v).sum(0).mean(),
        "sum over episodes": lambda p, r, v: -(whole(r, v) * p * v).sum(),
        "mean over all entries": lambda p, r, v: -(whole(r, v) * p * v).mean(),
        "mean over valid entries": lambda p, r, v: -(whole(r, v) * p * v).sum() / v.sum(),
        "counts steps, not rewards": lambda p, r, v: -(v.sum(0) * (p * v).sum(0)).mean(),
        "to go": lambda p, r, v: -(discounted(r * v) * p * v).sum(0).mean(),
        "to go, discounted more": lambda p, r, v: -(discounted(r * v, 0.9) * p * v).sum(0).mean(),
        "to go, standardised, all entries": lambda p, r, v: -(standard(discounted(r * v), v) * p * v).mean(),
        "to go less its mean at each step": lambda p, r, v: (
            -((discounted(r * v) - (discounted(r * v) * v).sum(1, keepdim=True) / v.sum(1, keepdim=True)) * p * v).sum(0).mean()
        ),
        "standardised over the whole population": lambda p, r, v: (
            -((whole(r, v) - whole(r, v).mean()) / (whole(r, v).std(correction=0) + 1e-6) * p * v).sum(0).mean()
        ),
        "by ratio": lambda p, r, v: -((p - p.detach()).exp() * v * (whole(r, v) - whole(r, v).mean())).sum(0).mean(),
        "by boolean index": lambda p, r, v: -(p[v] * (whole(r, v) - whole(r, v).mean()).expand_as(p)[v]).sum() / p.shape[1],
        "less 10": less(lambda R: 10),
        "less 20": less(lambda R: 20),
        "less 50, divided by 50": lambda p, r, v: -((whole(r, v) - 50) / 50 * p * v).sum(0).mean(),
        "less 200": less(lambda R: 200),
        "less 200, divided by 200": lambda p, r, v: -((whole(r, v) - 200) / 200 * p * v).sum(0).mean(),
        "to go less 20": less(lambda G: 20, lambda r, v: discounted(r * v, 1.0)),
        "to go, discounted, less 20": less(lambda G: 20, lambda r, v: discounted(r * v)),
        "to go less 1: the rewards that follow": less(lambda G: 1, lambda r, v: discounted(r * v, 1.0)),
        "less the largest": less(lambda R: R.max()),
        "less the smallest": less(lambda R: R.min()),
        "less the median": less(lambda R: R.median()),
        "less the mean of the others": lambda p, r, v: -(alone(r, v) * p * v).sum(0).mean(),
        "divided by the largest": lambda p, r, v: -(whole(r, v) / whole(r, v).max() * p * v).sum(0).mean(),
        "to go, less the mean of each step": lambda p, r, v: -((each_step(r, v)[0] - each_step(r, v)[1]) * p * v).sum(0).mean(),
        "to go, standardised at each step": lambda p, r, v: (
            -((each_step(r, v)[0] - each_step(r, v)[1]) / (each_step(r, v)[2] + 1e-8) * p * v).sum(0).mean()
        ),
        "to go, discounted more, standardised": lambda p, r, v: -(standard(discounted(r * v, 0.9), v) * p * v).sum(0).mean(),
        "to go, standardised with the padding": lambda p, r, v: -(standard(discounted(r * v), v | True) * p * v).sum(0).mean(),
        "standardised, over valid entries": lambda p, r, v: -(standard_whole(r, v) * p * v).sum() / v.sum(),
    }
    rising = {
        "square": lambda p, r, v: -(whole(r, v) ** 2 * p * v).sum(0).mean(),
        "logarithm": lambda p, r, v: -(whole(r, v).log() * p * v).sum(0).mean(),
        "minus one over it": lambda p, r, v: ((p * v).sum(0) / v.sum(0)).mean(),
    }
    wrong = {
        "squared": lambda p, r, v: ((whole(r, v) * (p * v).sum(0)) ** 2).mean(),
        "probability of the episode": lambda p, r, v: -(whole(r, v) * (p * v).sum(0).exp()).mean(),
        "random weights": lambda p, r, v: -(torch.rand_like(p) * p * v).sum(),
        "only imitates": lambda p, r, v: -(p * v).sum(0).mean(),
        "noise added to returns": lambda p, r, v: -((whole(r, v) + 20 * torch.arange(p.shape[1])) * p * v).sum(0).mean(),
        "first episode only": lambda p, r, v: -(whole(r, v)[0] * (p * v).sum(0)).mean(),
        "last step only": lambda p, r, v: -(whole(r, v) * p[-1] * v[-1]).mean(),
        "own reward, one step late": lambda p, r, v: -(p[:-1] * (r * v)[1:]).sum(0).mean(),
        "blames only the last step": lambda p, r, v: (p * last(v)).sum(0).mean(),
        "misses the last step": lambda p, r, v: -(whole(r, v) * (p[:-1] * v[1:]).sum(0)).mean(),
        "misses the last step, standardised": lambda p, r, v: -(standard_whole(r, v) * (p[:-1] * v[1:]).sum(0)).mean(),
        "misses the first step, standardised": lambda p, r, v: -(standard_whole(r, v) * (p * v)[1:].sum(0)).mean(),
        "first step only": lambda p, r, v: -(whole(r, v) * p[0]).mean(),
        "first step only, standardised": lambda p, r, v: -(standard_whole(r, v) * p[0]).mean(),
        "discounts all that follows away": lambda p, r, v: -(discounted(r * v, 0.01) * p * v).sum(0).mean(),
        "discounts all that follows away, standardised": lambda p, r, v: (
            -(standard(discounted(r * v, 0.01), v) * p * v).sum(0).mean()
        ),
        "mean return for all": lambda p, r, v: -(whole(r, v).mean() * p * v).sum(0).mean(),
        "mean return less 2 for all": lambda p, r, v: -((whole(r, v).mean() - 2) * p * v).sum(0).mean(),
        "rewards to go after the end": lambda p, r, v: -(discounted(r, 1.0) * p * v).sum(0).mean(),
        "return over length": lambda p, r, v: -(whole(r, v) * (p * v).sum(0) / v.sum(0)).mean(),
        "past rewards punished": lambda p, r, v: (standard((r * v).cumsum(0), v) * p * v).sum(0).mean(),
        "no weight at all": lambda p, r, v: (0 * p).sum(),
        "longest is worst": lambda p, r, v: -((whole(r, v).max() - whole(r, v)) * p * v).sum(0).mean(),
    }
    return right, rising, wrong


RIGHT, RISING, WRONG = _losses()


@pytest.mark.parametrize("name", RIGHT)
def test_cartpole_loss_accepts_the_whole_family(name):
    for seed in range(2):
        outcome = judge(t04_reinforce.CARTPOLE_LOSS, RIGHT[name], seed, learning=False)
        assert outcome.points == 3, outcome


@pytest.mark.parametrize("name", RISING)
def test_cartpole_loss_accepts_gradients_of_rising_functions_of_the_return(name):
    """They raise the expected return too, if not by the straightest way; the error budget says so."""
    for seed in range(2):
        outcome = judge(t04_reinforce.CARTPOLE_LOSS, RISING[name], seed, learning=False)
        assert outcome.points == 3, outcome


@pytest.mark.parametrize("name", WRONG)
def test_cartpole_loss_rejects_what_is_in_no_list(name):
    for seed in range(2):
        outcome = judge(t04_reinforce.CARTPOLE_LOSS, WRONG[name], seed, learning=False)
        assert (outcome.status, outcome.points) == ("failed", 0), outcome


def test_cartpole_loss_finds_rewards_after_the_end_whatever_is_subtracted_from_them():
    for scaled in (lambda R: R - R.mean(), lambda R: (R - R.mean()) / (R.std() + 1e-8)):
        outcome = judge(
            t04_reinforce.CARTPOLE_LOSS,
            lambda p, r, v, scaled=scaled: -(scaled(r.sum(0)) * (p * v).sum(0)).mean(),
            0,
            learning=False,
        )
        assert (outcome.points, outcome.mistake) == (0, "rewards after the end")


def test_cartpole_loss_says_what_makes_all_weights_zero():
    def every_return_with_every_episode(p, r, v):
        R = (r * v).sum(0)
        return -((R - R.mean())[:, None] * (p * v).sum(0)).mean()

    outcome = judge(t04_reinforce.CARTPOLE_LOSS, every_return_with_every_episode, 0, learning=False)
    assert outcome.points == 0
    assert "[E, E]" in outcome.message


def test_the_truth_of_the_falling_pole():
    """Its episodes' probabilities sum to one, and plain REINFORCE's expected step is the exact gradient."""
    cases = [
        case
        for case in t04_reinforce.CARTPOLE_LOSS.stages[0].cases(torch.Generator().manual_seed(0))
        if not isinstance(case.truth, int)
    ]
    assert sum(case.truth.probability for case in cases) == pytest.approx(1)
    step = torch.zeros(4, dtype=torch.float64)
    for case in cases:
        _, reward, valid = case.inputs
        pull = ((reward * valid).sum(0) * valid * case.truth.score).sum(1) / valid.shape[1]
        step[: len(pull)] += case.truth.probability * pull
    torch.testing.assert_close(step, cases[0].truth.gradient)


def test_cartpole_loss_learns(monkeypatch):
    monkeypatch.setenv("PGCOURSE_BUDGET", "small")
    lines = []
    task = t04_reinforce.CARTPOLE_LOSS
    outcome = judge(task, task.reference, 1, report=lines.append)
    assert (outcome.status, outcome.points, outcome.printed) == ("passed", 4, ""), outcome
    assert outcome.warned == ""
    assert "4 learners" in lines[0]
    assert len(lines) >= 2


def test_a_right_but_noisy_loss_loses_only_the_minor_points(monkeypatch):
    monkeypatch.setenv("PGCOURSE_BUDGET", "small")
    monkeypatch.setattr(t04_reinforce.budget, "choose", lambda full, small: (475, 3, 2))
    outcome = judge(t04_reinforce.CARTPOLE_LOSS, RIGHT["whole return"], 0)
    assert (outcome.status, outcome.points, outcome.max_points) == ("failed", 3, 4)
    assert "The gradient points the right way." in outcome.message


@pytest.mark.full
def test_learning_runs_succeed():
    """The error budget of the learning stage; with 20 runs without a failure its rate is below 14 % (95 %)."""
    assert audit.false_alarms(t04_reinforce.CARTPOLE_LOSS, 20, learning=True) == {
        f.__name__: 0 for f in (t04_reinforce.CARTPOLE_LOSS.reference, *t04_reinforce.CARTPOLE_LOSS.alternatives)
    }
