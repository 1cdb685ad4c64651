"""check, hint, solution, progress: what a learner meets, with everything learners hand to them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from pgcourse import grading
from pgcourse.grading import answer as answers
from pgcourse.grading import check, compare, find, hint, judge, progress, solution, store, tasks
from pgcourse.grading.answer import Answer, LocalAnswer, Opaque
from pgcourse.grading.tasks import t03_log_derivative_trick as t03
from pgcourse.grading.tasks import t04_reinforce as t04


@pytest.fixture(autouse=True)
def working_copy(tmp_path, monkeypatch):
    """A working copy with the notebook's folder as the current one, and nothing remembered from other tests."""
    (tmp_path / ".pgcourse").write_text("{}")
    (tmp_path / "exercises").mkdir()
    monkeypatch.chdir(tmp_path / "exercises")
    monkeypatch.delenv("PGCOURSE_PROGRESS", raising=False)
    monkeypatch.setattr(store, "_unsaved", {})
    monkeypatch.setattr(store, "_said", set())
    return tmp_path


def named(name):
    """Give a function the name under which a task asks for it."""

    def rename(function):
        function.__name__ = name
        return function

    return rename


def episode_log_probability(log_probability, valid):
    return (log_probability * valid).sum(0)


# ----------------------------------------------------------------------------------------------------------------------
# Outcomes


def test_a_right_answer_passes_and_is_printed(capsys):
    outcome = check(episode_log_probability)
    assert (outcome.task, outcome.status, outcome.points, outcome.max_points, outcome.mistake) == (
        "04.episode_log_probability",
        "passed",
        1,
        1,
        None,
    )
    said = capsys.readouterr()
    assert "04.episode_log_probability: passed, 1 of 1 point" in said.out
    assert said.err == ""


def test_a_listed_mistake_is_named(capsys):
    @named("episode_log_probability")
    def forgets(log_probability, valid):
        return log_probability.sum(0)

    outcome = check(forgets)
    assert (outcome.status, outcome.points, outcome.mistake) == ("failed", 0, "forgets valid")
    assert "count a step only where valid is true" in capsys.readouterr().out


def test_an_unlisted_mistake_is_described_and_not_guessed_at():
    @named("gaussian_score")
    def odd(x, mean, scale):
        right = t03.gaussian_score(x, mean, scale)
        return right[0], right[1] * 3

    outcome = judge(find("gaussian_score"), odd, 0)
    assert outcome.status == "failed"
    assert outcome.mistake is None
    assert "Your score_of_scale is" in outcome.message
    assert "and should be" in outcome.message
    assert "scale = [" in outcome.message, "the inputs of the smallest failing case are shown"


def test_a_constant_factor_is_remarked():
    outcome = judge(
        find("measured_bias_and_variance"),
        lambda estimates, exact: tuple(5 * part for part in t03.measured_bias_and_variance(estimates, exact)),
        0,
    )
    assert outcome.mistake is None
    wrong = compare.difference(torch.tensor([2.0, 4.0]), torch.tensor([-1.0, -2.0]), ["your x"], 1e-6)
    assert wrong.endswith("Every number is -2 times what it should be.")


def test_wrong_only_on_larger_inputs_shows_where_and_how_to_repeat():
    def small_only(score, value):
        right = t03.score_function_estimate(score, value)
        if len(value) > 7:
            right[3] += 1
        return right

    outcome = judge(find("score_function_estimate"), small_only, 77)
    assert "wrong by up to" in outcome.message or "should be" in outcome.message
    assert "score: shape [8, 5]" in outcome.message
    assert "seed=77" in outcome.message


def test_blank_answers_are_not_attempted():
    def blank(log_probability, valid):
        """Docstring."""
        raise NotImplementedError

    def blank_with_words(log_probability, valid):
        raise NotImplementedError("to do")

    task = find("episode_log_probability")
    for function in (blank, blank_with_words):
        outcome = judge(task, function, 0)
        assert (outcome.status, outcome.points) == ("not attempted", 0)


def test_what_torch_has_not_implemented_is_an_error_of_the_answer():
    def asks_too_much(log_probability, valid):
        return torch.ops.aten.set_.source_Storage(torch.zeros(1, device="meta"), None) if False else _raise_from_torch()

    def _raise_from_torch():
        return torch.empty(2, device="meta").to_sparse().cpu().numpy()

    outcome = judge(find("episode_log_probability"), asks_too_much, 0)
    assert outcome.status == "error", outcome


def test_exceptions_show_the_students_lines_only():
    def helper(x):
        return x / undefined_name

    def broken(log_probability, valid):
        return torch.func.vmap(helper)(log_probability)

    outcome = judge(find("episode_log_probability"), broken, 0)
    assert outcome.status == "error"
    assert "NameError: name 'undefined_name' is not defined" in outcome.message
    assert "in helper:  return x / undefined_name" in outcome.message
    assert "in broken:" in outcome.message
    assert "site-packages" not in outcome.message
    assert "answer.py" not in outcome.message
    assert len([line for line in outcome.message.splitlines() if " line " in line]) == 2
    assert "when it was called with" in outcome.message


def test_hostile_exceptions_are_survived():
    class Nasty(Exception):
        def __str__(self):
            raise RuntimeError("no text for you")

    def nasty(log_probability, valid):
        raise Nasty

    def long_and_dirty(log_probability, valid):
        raise ValueError("\x1b[31mred\x07 \u202eright to left \ud800" + "x" * 100_000)

    def endless(log_probability, valid):
        return endless(log_probability, valid)

    def leaves(log_probability, valid):
        sys.exit(0)

    task = find("episode_log_probability")
    for function in (nasty, long_and_dirty, endless, leaves):
        outcome = judge(task, function, 0)
        assert (outcome.status, outcome.points) == ("error", 0)
        assert len(outcome.message) < 3000
        assert not set("\x1b\x07\u202e\ud800") & set(str(outcome))
    assert "SystemExit" in judge(task, leaves, 0).message
    assert "RecursionError" in judge(task, endless, 0).message


def test_an_interrupt_interrupts():
    def interrupted(log_probability, valid):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(find("episode_log_probability"), interrupted, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_stop_button_ends_an_endless_loop(working_copy):
    @named("episode_log_probability")
    def endless(log_probability, valid):
        torch.set_default_dtype(torch.float64)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pass

    stdout, dtype = sys.stdout, torch.get_default_dtype()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            check(endless)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert (sys.stdout, torch.get_default_dtype()) == (stdout, dtype)
    assert not (working_copy / "progress.json").exists()


# ----------------------------------------------------------------------------------------------------------------------
# What comes back


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda x: None, "returned None. Is there a return at its end?"),
        (lambda x: x.numpy(), "a numpy array of shape [2]; a tensor of shape [2] is asked for. Stay in torch"),
        (lambda x: x.tolist(), "a list of 2 numbers; a tensor of shape [2] is asked for. torch.stack(list_of_tensors)"),
        (lambda x: list(x), "a list of 2 tensors; a tensor of shape [2] is asked for. torch.stack(list_of_tensors)"),
        (lambda x: [x.tolist(), x.tolist()], "a list of 2 lists"),
        (lambda x: [], "an empty list"),
        (lambda x: (x, x), "a tuple of 2 tensors; a tensor of shape [2] is asked for.\n"),
        (lambda x: (x,), "a tuple of 1 tensor; a tensor of shape [2] is asked for. A comma at the end"),
        (lambda x: x.sum().item(), "the Python number"),
        (lambda x: x.float(), "has dtype float32; it should keep the inputs' float64"),
        (lambda x: x.long(), "has dtype int64"),
        (lambda x: x[:, None], "has shape [2, 1]; shape [2] is asked for. There is an axis of length 1 too many"),
        (lambda x: x.squeeze(), "has shape []; shape [1] is asked for. The shape is right where no axis has length 1"),
        (lambda x: x * float("nan"), "1 of 1 numbers that are NaN or infinite"),
        (lambda x: x.to_sparse(), "layout torch.sparse_coo"),
        (lambda x: x.to("meta"), "on meta"),
        (lambda x: "sum", "an object of type str"),
        (lambda x: (part for part in x), "an object of type generator"),
        (lambda x: print, "an object of type builtin_function_or_method"),
        (lambda x: {"result": x}, "an object of type dict"),
    ],
)
def test_things_returned_that_are_not_what_is_asked(returned, said):
    outcome = judge(
        find("episode_log_probability"), lambda log_probability, valid: returned((log_probability * valid).sum(0)), 0
    )
    assert outcome.status == "failed"
    assert said in outcome.message


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda a, b: a, "a tensor of shape [3, 2]; a tuple of 2 is asked for: score_of_mean, score_of_scale"),
        (lambda a, b: (a, b, b), "a tuple of 3 tensors; 2 are asked for"),
        (lambda a, b: (a.numpy(), b.numpy()), "Your score_of_mean is a numpy array of shape [3, 2]; a tensor"),
        (lambda a, b: (a.tolist(), b.tolist()), "Your score_of_mean is a list of 3 lists; a tensor of shape"),
        (lambda a, b: [a.numpy(), b.numpy()], "Stay in torch, or end with torch.from_numpy"),
        (lambda a, b: a.numpy(), "a numpy array of shape [3, 2]; a tuple of 2 is asked for"),
        (lambda a, b: (a, b.numpy()), "Your score_of_scale is a numpy array"),
        (lambda a, b: (a.float(), b), "Your score_of_mean has dtype float32"),
        (lambda a, b: (a[0], b), "Your score_of_mean has shape [2]; shape [3, 2] is asked for. An axis too many was reduced"),
        (lambda a, b: (a, None), "Your score_of_scale is None"),
    ],
)
def test_several_outputs(returned, said):
    outcome = judge(find("gaussian_score"), lambda x, mean, scale: returned(*t03.gaussian_score(x, mean, scale)), 0)
    assert outcome.status == "failed"
    assert said in outcome.message


def test_a_list_or_a_named_tuple_of_tensors_is_as_good_as_a_tuple():
    assert judge(find("gaussian_score"), lambda *inputs: list(t03.gaussian_score(*inputs)), 0).status == "passed"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda loss: loss.item(), ".item() and float() turn a tensor into a number"),
        (lambda loss: loss.detach(), "No gradient flows back"),
        (lambda loss: torch.tensor(float(loss)), "No gradient flows back"),
        (lambda loss: loss[None], "a tensor of shape [1]; one number is asked for"),
        (lambda loss: None, "returned None"),
        (lambda loss: (loss, loss), "a tuple of 2 tensors"),
        (lambda loss: (loss,), "a tuple of 1 tensor;"),
        (lambda loss: loss.detach().numpy(), "a numpy array"),
    ],
)
def test_losses_that_cannot_be_differentiated(returned, said):
    outcome = judge(find("score_function_surrogate"), lambda *inputs: returned(t03.score_function_surrogate(*inputs)), 0)
    assert outcome.status == "failed"
    assert outcome.points == 0
    assert said in outcome.message


@pytest.mark.parametrize(
    ("task", "function", "asked"),
    [
        ("gaussian_score", lambda x, m, s: tuple(part.sum(1) for part in t03.gaussian_score(x, m, s)), "shape [3, 2]"),
        ("gaussian_score", lambda x, m, s: tuple(part.sum(0) for part in t03.gaussian_score(x, m, s)), "shape [3, 2]"),
        ("score_function_estimate", lambda score, value: (value[:, None] * score).mean(), "shape [2]"),
        ("measured_bias_and_variance", lambda e, exact: (e.mean(0) - exact, e.var(), (e.var() / len(e)).sqrt()), "shape [2]"),
        ("measured_bias_and_variance", lambda e, exact: ((e - exact).mean(), e.var(0), e.std(0)), "shape [2]"),
    ],
)
def test_a_wrong_reduction_gets_no_advice_about_axes_of_length_one(task, function, asked):
    outcome = judge(find(task), function, 0)
    assert f"{asked} is asked for. An axis too many was reduced" in outcome.message
    assert "queeze" not in outcome.message


@pytest.mark.parametrize("seed", range(3))
def test_a_mistake_is_named_under_a_wrong_format_too(seed):
    def only_one_hot(logits, action):
        return torch.nn.functional.one_hot(action, logits.shape[-1])

    def sign_and_float(score, value):
        return -t03.score_function_estimate(score, value).float()

    outcome = judge(find("categorical_score"), only_one_hot, seed)
    assert outcome.mistake == "normaliser forgotten"
    assert "has dtype int64" in outcome.message
    assert judge(find("score_function_estimate"), sign_and_float, seed).mistake == "sign"
    right = judge(find("categorical_score"), lambda *inputs: t03.categorical_score(*inputs).float(), seed)
    assert (right.status, right.mistake) == ("failed", None)


@pytest.mark.parametrize("seed", range(3))
def test_a_softmax_that_overflows_is_told_so(seed):
    def by_ratio(logits, action):
        weight = torch.exp(logits)
        return torch.nn.functional.one_hot(action, logits.shape[-1]) - weight / weight.sum(1, keepdim=True)

    def by_autograd(logits, action):
        logits = logits.clone().requires_grad_()
        taken = logits.gather(1, action[:, None])[:, 0]
        return torch.autograd.grad((taken - logits.exp().sum(1).log()).sum(), logits)[0]

    for function in (by_ratio, by_autograd):
        outcome = judge(find("categorical_score"), function, seed)
        assert outcome.mistake == "overflows"
        assert "NaN" in outcome.message
    outcome = judge(find("categorical_score"), lambda *inputs: -by_ratio(*inputs), seed)
    assert outcome.mistake == "sign", "recognised where it is finite"


def test_outputs_in_another_order_are_told_so():
    def mixed(estimates, exact):
        bias, variance, error = t03.measured_bias_and_variance(estimates, exact)
        return error, bias, variance

    outcome = judge(find("measured_bias_and_variance"), mixed, 0)
    assert outcome.message.startswith(
        "Your outputs are right, but in another order: standard_error, bias, variance. Asked for: bias, variance, standard_er"
    )


def test_backward_is_not_the_functions_to_call():
    def backward(log_probability, value):
        loss = t03.score_function_surrogate(log_probability, value)
        loss.backward()
        return loss

    def backward_alone(log_probability, value):
        t03.score_function_surrogate(log_probability, value).backward()

    def kept(log_probability, value):
        loss = t03.score_function_surrogate(log_probability, value)
        loss.backward(retain_graph=True)
        return loss

    def grad(log_probability, value):
        loss = t03.score_function_surrogate(log_probability, value)
        torch.autograd.grad(loss, log_probability)
        return loss

    for function in (backward, backward_alone, kept, grad):
        outcome = judge(find("score_function_surrogate"), function, 0)
        assert outcome.status == "failed"
        assert "calls backward() or torch.autograd.grad itself. Do not: return the number" in outcome.message


def test_detaching_an_argument_in_place_is_changing_it():
    def detaches(log_probability, value):
        return (value.detach_() * log_probability).mean()

    def connects_again(log_probability, value):
        value.detach_().requires_grad_()
        return t03.score_function_surrogate(log_probability, value)

    for function in (detaches, connects_again):
        outcome = judge(find("score_function_surrogate"), function, 0)
        assert outcome.status == "failed"
        assert "changes its argument value in place: detach_()" in outcome.message


def test_zeros_have_no_sign():
    shown = compare.show_inputs(["x"], [torch.tensor([-0.0, 0.0, -1.0])])
    assert shown == "  x = [ 0   0  -1]"
    for seed in range(20):
        for case in t03.GAUSSIAN_SCORE.exact.cases(torch.Generator().manual_seed(seed)):
            assert not any((torch.signbit(x) & (x == 0)).any() for x in case.inputs)


@pytest.mark.parametrize("change", [lambda x: x + 1000, lambda x: x - x.detach(), lambda x: x - 2 * x.detach()])
def test_the_value_of_a_surrogate_is_never_looked_at(change):
    outcome = judge(find("score_function_surrogate"), lambda *inputs: change(t03.score_function_surrogate(*inputs)), 0)
    assert outcome.status == "passed"


# ----------------------------------------------------------------------------------------------------------------------
# How it is called


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: 0, "cannot be called as"),
        (lambda log_probability: 0, "too many positional arguments"),
        (lambda log_probability, valid, more: 0, "missing a required argument: 'more'"),
        (lambda valid, log_probability: 0, "same names, another order"),
        (lambda *, log_probability, valid: 0, "cannot be called as"),
    ],
)
def test_wrong_signatures(function, said):
    outcome = judge(find("episode_log_probability"), named("episode_log_probability")(function), 0)
    assert outcome.status == "failed"
    assert "episode_log_probability(log_probability, valid)" in outcome.message
    assert said in outcome.message


def test_other_names_and_further_defaults_are_welcome():
    def other_names(a, b, verbose=False):
        return (a * b).sum(0)

    def any_number(*arguments):
        return (arguments[0] * arguments[1]).sum(0)

    for function in (other_names, any_number):
        assert judge(find("episode_log_probability"), function, 0).status == "passed"


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.mul_(2),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.__iadd__(1),
        lambda x: setattr(x, "data", x * 2),
    ],
)
def test_writing_into_an_argument_is_told_by_its_name(write):
    def by_value(log_probability, valid):
        result = (log_probability * valid).sum(0)
        write(log_probability)
        return result

    def by_gradient(log_probability, value):
        result = (log_probability * value.detach()).mean()
        with torch.no_grad():
            write(log_probability)
        return result

    for name, function in (("episode_log_probability", by_value), ("score_function_surrogate", by_gradient)):
        outcome = judge(find(name), function, 0)
        assert outcome.status == "failed", outcome
        assert "changes its argument log_probability in place" in outcome.message


def test_writing_into_what_it_made_is_allowed():
    def scratch(log_probability, valid):
        mine = log_probability.clone()
        mine[~valid] = 0
        return mine.sum(0)

    assert judge(find("episode_log_probability"), scratch, 0).status == "passed"


def test_the_bytes_returned_are_judged_not_the_object():
    """A buffer that is given out again and again, or the input itself, may change later."""
    buffer = torch.zeros(64, dtype=torch.float64)

    def reuses(log_probability, valid):
        n = log_probability.shape[1]
        buffer[:n] = (log_probability * valid).sum(0)
        return buffer[:n]

    assert judge(find("episode_log_probability"), reuses, 0).status == "passed"
    outcome = judge(find("episode_log_probability"), lambda log_probability, valid: log_probability, 0)
    assert outcome.status == "failed"


def test_functions_that_remember_or_throw_dice_are_told_so():
    count = []

    def only_the_first_time(log_probability, valid):
        count.append(1)
        return (log_probability * valid).sum(0) * (1 if len(count) <= 5 else 2)  # 5 cases, then the first again

    def dice(log_probability, valid):
        return (log_probability * valid).sum(0) + torch.rand(())

    def numpy_dice(log_probability, valid):
        return (log_probability * valid).sum(0) + np.random.rand()

    def python_dice(log_probability, value):
        return (log_probability * value.detach()).mean() * random.random()

    for name, function in (
        ("episode_log_probability", only_the_first_time),
        ("episode_log_probability", dice),
        ("episode_log_probability", numpy_dice),
        ("score_function_surrogate", python_dice),
    ):
        outcome = judge(find(name), function, 0)
        assert outcome.status == "failed"
        assert "Called a second time with the same inputs" in outcome.message


def test_global_state_is_restored():
    def vandal(log_probability, valid):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.use_deterministic_algorithms(True)
        torch.set_default_device("meta")
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        warnings.simplefilter("ignore")
        return (log_probability * valid).sum(0)

    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_default_device(), warnings.filters[:])
    assert judge(find("episode_log_probability"), vandal, 0).status == "passed"
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.get_default_device(), warnings.filters[:])
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()
    assert random.random() == expected[2]


def test_checks_work_wherever_gradients_are_off():
    with torch.no_grad():
        assert judge(find("score_function_surrogate"), t03.score_function_surrogate, 0).status == "passed"
    with torch.inference_mode():
        assert judge(find("score_function_surrogate"), t03.score_function_surrogate, 0).status == "passed"


# ----------------------------------------------------------------------------------------------------------------------
# What it prints


def test_printing_is_shown_and_no_error(capsys):
    @named("episode_log_probability")
    def talks(log_probability, valid):
        print("shape", log_probability.shape)
        print("complaint", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return (log_probability * valid).sum(0)

    outcome = check(talks)
    assert outcome.status == "passed"
    for word in ("shape torch.Size([2, 1])", "complaint"):
        assert word in outcome.printed
    assert outcome.warned == "careful"
    said = capsys.readouterr()
    assert "Warnings from your function:\n  | careful" in said.out
    assert "Your function printed:" in said.out
    assert "  | shape torch.Size([2, 1])" in said.out
    assert said.err == ""


def test_what_torch_warns_itself_of_is_not_shown_but_what_it_warns_the_student_of_is():
    @named("episode_log_probability")
    def warns(log_probability, valid):
        for whose in ("torch.jit._script", "answer"):
            warnings.warn_explicit(f"old, {whose}", DeprecationWarning, "file.py", 1, module=whose)
        return (log_probability * valid).sum(0)

    outcome = judge(find("episode_log_probability"), warns, 0)
    assert (outcome.status, outcome.warned) == ("passed", "old, answer")


def test_the_same_warning_is_shown_once():
    @named("episode_log_probability")
    def warns(log_probability, valid):
        warnings.warn(f"size {len(valid)} is odd (Triggered internally at /pytorch/x.cpp:12.)", stacklevel=1)
        return (log_probability * valid).sum(0)

    outcome = judge(find("episode_log_probability"), warns, 0)
    assert (outcome.status, outcome.printed, outcome.warned) == ("passed", "", "size 2 is odd")
    assert "printed" not in str(outcome)


def test_a_flood_of_output_is_cut():
    def flood(log_probability, valid):
        for _ in range(200):
            print("x" * 10_000)
        return (log_probability * valid).sum(0)

    outcome = judge(find("episode_log_probability"), flood, 0)
    assert outcome.status == "passed"
    assert len(outcome.printed) < 11_000
    assert "characters more" in outcome.printed
    assert len(str(outcome).splitlines()) < 30


def test_dirty_output_is_cleaned(capsys):
    @named("episode_log_probability")
    def dirty(log_probability, valid):
        print("\ud800 \x1b[2J \u202e")
        return (log_probability * valid).sum(0)

    check(dirty)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\ud800" not in said


# ----------------------------------------------------------------------------------------------------------------------
# Traps seen in other courses' graders


def test_the_expected_value_is_not_read_from_the_students_object():
    """It was computed before the call, from inputs that the call cannot reach."""

    def zeroes_everything(log_probability, valid):
        log_probability.zero_()
        valid.zero_()
        return torch.zeros_like(log_probability[0])

    assert judge(find("episode_log_probability"), zeroes_everything, 0).status == "failed"

    class AlwaysEqual:
        def __eq__(self, other):
            return True

        def __getattr__(self, name):
            return self

    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            return torch.tensor(True)

    for lie in (AlwaysEqual(), torch.zeros(1, dtype=torch.float64).as_subclass(Liar)):
        assert judge(find("episode_log_probability"), lambda log_probability, valid: lie, 0).status == "failed"  # noqa: B023


def test_the_reference_cannot_be_shadowed():
    """A notebook may use every name of the task modules, and functions may be redefined while they are judged."""
    space = {"torch": torch}
    exec(
        "reference = oracle = judge = compare = None\n"
        "TASKS = ()\n"
        "def _gaussian_score_oracle(x, mean, scale):\n    return x * 0, x * 0\n"
        "def gaussian_score(x, mean, scale):\n    return x * 0, x * 0\n",
        space,
    )
    assert check(space["gaussian_score"]).status == "failed"


def test_patched_comparisons_change_nothing(monkeypatch):
    def patches(log_probability, valid):
        monkeypatch.setattr(torch, "allclose", lambda *a, **k: True)
        monkeypatch.setattr(torch, "equal", lambda *a, **k: True)
        monkeypatch.setattr(torch.testing, "assert_close", lambda *a, **k: None)
        return (log_probability * valid).sum(0) + 1

    assert judge(find("episode_log_probability"), patches, 0).status == "failed"


def test_a_sign_error_never_passes():
    """Nothing is compared by squares or absolute values, nor after broadcasting."""
    for task in tasks():
        outcome = judge(task, lambda *inputs: _negative(task.reference(*inputs)), 0, learning=False)  # noqa: B023
        assert outcome.status == "failed", task.id
    assert compare.difference(torch.ones(1, 3), torch.ones(3), ["x"], 1) is not None
    assert compare.difference(torch.ones(()), torch.ones(3), ["x"], 1) is not None
    assert compare.difference(torch.tensor([float("nan")]), torch.tensor([float("nan")]), ["x"], 1) is not None


def _negative(output):
    return tuple(-part for part in output) if isinstance(output, tuple) else -output


def test_a_mask_forgotten_for_one_episode_of_equal_lengths_is_found():
    """Right for square inputs, for a batch of one, for full episodes: not right."""

    def full_only(log_probability, valid):
        if valid.all() or log_probability.shape[0] == log_probability.shape[1] or valid.shape[1] == 1:
            return (log_probability * valid).sum(0)
        return log_probability.sum(0)

    assert judge(find("episode_log_probability"), full_only, 0).status == "failed"


# ----------------------------------------------------------------------------------------------------------------------
# Which task is meant


def test_names_that_are_no_tasks():
    def gausian_score(x):
        return x

    with pytest.raises(LookupError, match=r"'gausian_score'.*Did you mean gaussian_score"):
        check(gausian_score)
    with pytest.raises(TypeError, match="not its name in quotes"):
        check("gaussian_score")
    with pytest.raises(TypeError, match="a function without a name"):
        check(lambda x: x)
    with pytest.raises(TypeError, match="the class Box"):
        check(type("Box", (), {}))
    with pytest.raises(TypeError, match="an object of type int"):
        check(3)
    with pytest.raises(LookupError, match=r"Did you mean .*cartpole_loss"):
        hint("04.cartpole_los")
    with pytest.raises(LookupError, match="No task asks for a function named 'zzz'"):
        solution("zzz")


def test_tasks_lists_everything():
    listed = tasks()
    assert {(task.id, task.title, task.points, task.signature) for task in listed}
    for task in listed:
        assert task.id in repr(listed)
        assert task.signature in repr(listed)


def test_the_package_of_tasks_stays_importable():
    """``grading.tasks`` is a function, and the package of the same name is still there."""
    from pgcourse.grading.tasks import t03_log_derivative_trick

    assert callable(grading.tasks)
    assert t03_log_derivative_trick.TASKS[0] in grading.tasks()


# ----------------------------------------------------------------------------------------------------------------------
# Hints, solutions, progress


def test_hints_come_one_by_one_and_are_remembered(capsys, working_copy):
    task = find("batched_returns")
    for given in task.hints:
        hint("batched_returns")
        assert given in capsys.readouterr().out
    hint(t04.batched_returns)
    said = capsys.readouterr().out
    assert all(given in said for given in task.hints)
    assert json.loads((working_copy / "progress.json").read_text())["tasks"][task.id]["hints"] == len(task.hints)


def test_help_after_passing_does_not_count(capsys, working_copy):
    task = find(episode_log_probability)
    hint(episode_log_probability)
    check(episode_log_probability)
    for given in task.hints[1:]:
        capsys.readouterr()
        hint(episode_log_probability)
        assert given in capsys.readouterr().out
    hint(episode_log_probability)
    assert "You have had all" in capsys.readouterr().out
    solution(episode_log_probability, confirm=True)
    row = next(row for row in progress().rows if row.task is task)
    assert (row.hints, row.solution_seen) == (1, False)


def test_a_progress_file_of_an_earlier_version_is_read(working_copy, capsys):
    entry = {"points": 1, "status": "passed", "hints": 2, "solution_seen": True, "time": ""}
    content = {"format": 1, "tasks": {"04.episode_log_probability": entry}}
    (working_copy / "progress.json").write_text(json.dumps(content))
    row = next(row for row in progress().rows if row.task.name == "episode_log_probability")
    assert (row.points, row.hints, row.solution_seen) == (1, 2, True)
    assert "damaged" not in capsys.readouterr().out


def test_progress_can_be_kept_elsewhere(working_copy, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("PGCOURSE_PROGRESS", str(elsewhere))
    check(episode_log_probability)
    assert progress().points == 1
    assert [path.name for path in elsewhere.iterdir()] == ["progress.json"]
    assert not (working_copy / "progress.json").exists()


def test_solution_asks_once(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    solution("reinforce_update")
    assert len(asked) == 1
    assert "Not shown" in capsys.readouterr().out
    assert not any(row.solution_seen for row in progress().rows)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    solution("reinforce_update")
    assert "return theta + step_size * gradient" in capsys.readouterr().out
    row = next(row for row in progress().rows if row.task.name == "reinforce_update")
    assert row.solution_seen
    assert "solution seen" in capsys.readouterr().out


def test_solution_without_a_keyboard_says_how():
    done = run_python("from pgcourse.grading import solution; solution('gaussian_score')")
    assert "solution(gaussian_score, confirm=True)" in done.stdout
    assert "z / scale" not in done.stdout
    done = run_python("from pgcourse.grading import solution; solution('gaussian_score', confirm=True)")
    assert "return z / scale, (z**2 - 1) / scale" in done.stdout


def run_python(code, **keywords):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **keywords,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


def test_progress_survives_restarts_and_keeps_the_best(working_copy):
    check(episode_log_probability)

    @named("episode_log_probability")
    def worse(log_probability, valid):
        return log_probability.sum(0)

    check(worse)
    overview = progress()
    row = next(row for row in overview.rows if row.task.name == "episode_log_probability")
    assert (row.points, row.status) == (1, "passed")
    assert overview.points == 1
    assert overview.max_points == sum(task.points for task in tasks())
    done = run_python("from pgcourse.grading import progress; progress()")
    assert "04.episode_log_probability" in done.stdout
    assert f"1 of {overview.max_points} points; 1 of {len(tasks())} tasks passed" in done.stdout
    assert (working_copy / "progress.json").exists(), "at the root of the working copy, not beside the notebook"
    assert sorted(path.name for path in working_copy.iterdir()) == [".pgcourse", "exercises", "progress.json"]


def test_progress_of_another_folder_and_outside_any_working_copy(tmp_path, monkeypatch, working_copy):
    check(episode_log_probability)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(store.workspace, "root", lambda path: None)
    monkeypatch.chdir(other)
    assert progress().points == 0
    assert progress(working_copy).points == 1
    check(episode_log_probability)
    assert (other / "progress.json").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"format": 99, "tasks": {}}',
        '{"format": 1, "tasks": []}',
        '{"format": 1, "tasks": {"04.episode_log_probability": 5}}',
        '{"format": 1, "tasks": {"04.episode_log_probability": {"points": "many"}}}',
        '{"format": 1, "tasks": {"x": {"points": true, "status": "", "hints": 0, "solution_seen": false, "time": ""}}}',
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_progress_file_is_put_aside(damaged, working_copy, capsys):
    file = working_copy / "progress.json"
    content = damaged if isinstance(damaged, bytes) else damaged.encode()
    file.write_bytes(content)
    assert check(episode_log_probability).status == "passed"
    said = capsys.readouterr()
    assert "is damaged" in said.out
    assert "progress.damaged.json" in said.out
    assert said.err == ""
    assert (working_copy / "progress.damaged.json").read_bytes() == content
    assert progress().points == 1
    file.write_bytes(b"again")
    progress()
    assert (working_copy / "progress.damaged2.json").read_bytes() == b"again", "nothing is overwritten"


def test_a_folder_that_cannot_be_written_warns_once(working_copy, capsys, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    assert check(episode_log_probability).status == "passed"
    said = capsys.readouterr()
    assert "cannot be written (Permission denied): results are shown" in said.out
    assert "passed, 1 of 1 point" in said.out
    assert said.err == ""
    hint("episode_log_probability")
    assert "cannot be written" not in capsys.readouterr().out
    assert progress().points == 1, "kept in memory"
    assert list(working_copy.glob(".progress*")) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write, such as Linux's /proc")
def test_a_folder_that_nobody_can_write(monkeypatch, capsys):
    monkeypatch.chdir("/proc")
    assert check(episode_log_probability).status == "passed"
    assert "cannot be written" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_not_written_over(working_copy, capsys, monkeypatch):
    file = working_copy / "progress.json"
    file.mkdir()  # the surest way for all users
    assert check(episode_log_probability).status == "passed"
    assert "cannot be read" in capsys.readouterr().out
    assert progress().points == 1
    file.rmdir()
    check(episode_log_probability)
    assert file.is_file()
    content = file.read_bytes()

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "read_text", refuse)
    hint("gaussian_score")
    assert file.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let go of a current folder")
def test_a_current_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert check(episode_log_probability).status == "passed"
    hint("gaussian_score")
    assert progress().points == 1


def test_two_notebooks_lose_nothing(working_copy):
    """Two writers at a time, each changing tasks of its own, many times over."""

    def write(names):
        for _ in range(25):
            for name in names:
                store.update(working_copy, name, lambda record: setattr(record, "hints", record.hints + 1))

    threads = [threading.Thread(target=write, args=(names,)) for names in (("a", "b"), ("c", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = store.read(working_copy)
    assert {name: record.hints for name, record in records.items()} == {"a": 50, "b": 25, "c": 25}
    assert sorted(path.name for path in working_copy.iterdir()) == [".pgcourse", "exercises", "progress.json"]


def test_a_lock_forgotten_by_a_crash_does_not_block(working_copy):
    lock = working_copy / ".progress.json.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    begin = time.monotonic()
    check(episode_log_probability)
    assert time.monotonic() - begin < 2
    assert progress().points == 1


def test_a_task_of_a_later_version_is_kept(working_copy):
    check(episode_log_probability)
    file = working_copy / "progress.json"
    content = json.loads(file.read_text())
    content["tasks"]["21.something_new"] = content["tasks"]["04.episode_log_probability"]
    file.write_text(json.dumps(content))
    hint("gaussian_score")
    assert "21.something_new" in json.loads(file.read_text())["tasks"]
    assert progress().points == 1


# ----------------------------------------------------------------------------------------------------------------------
# In a notebook


def run_cells(*cells):
    """What each cell shows, in an IPython shell like a notebook's."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    shown = []
    try:
        for cell in cells:
            with capture_output() as captured:
                result = shell.run_cell(cell, store_history=True)
            assert result.success, result.error_in_exec
            shown.append(captured.stdout + "".join(str(output) for output in captured.outputs) + captured.stderr)
    finally:
        InteractiveShell.clear_instance()
    return shown


def test_a_cell_that_ends_in_check_says_it_once():
    _, checked, stored, again, graded, listed, overview = run_cells(
        "from pgcourse.grading import check, progress, tasks\n"
        "def episode_log_probability(log_probability, valid):\n    return (log_probability * valid).sum(0)",
        "check(episode_log_probability)",
        "outcome = check(episode_log_probability)",
        "outcome",
        "check(episode_log_probability).points",
        "tasks()",
        "progress()",
    )
    for text in (checked, stored, again, graded):
        assert text.count("04.episode_log_probability: passed") == 1
    assert "Out[5]: 1" in graded
    assert listed.count("03.gaussian_score") == 1
    assert overview.count(f"1 of {len(tasks())} tasks passed") == 1


def test_errors_in_a_cell_show_the_line():
    _, text = run_cells(
        "import torch\nfrom pgcourse.grading import check\n"
        "def gaussian_score(x, mean, scale):\n    y = x - mean\n    return y / sigma",
        "check(gaussian_score)",
    )
    assert "NameError: name 'sigma' is not defined" in text
    assert "line 5, in gaussian_score:  return y / sigma" in text


def test_no_notebook_library_is_imported():
    done = run_python(
        "import sys\n"
        "from pgcourse.grading import check, progress\n"
        "def episode_log_probability(a, b): return (a * b).sum(0)\n"
        "assert check(episode_log_probability).points == 1; progress()\n"
        "found = {'IPython', 'ipywidgets', 'nbformat', 'nbclient', 'matplotlib', 'jupytext'} & set(sys.modules)\n"
        "assert not found, found"
    )
    assert "passed" in done.stdout


def test_a_terminal_without_unicode_is_no_error():
    done = run_python(
        "from pgcourse.grading import check\ndef episode_log_probability(a, b): return (a * b).sum(0)\n"
        "check(episode_log_probability)",
        cwd=os.getcwd(),
    )
    assert "passed" in done.stdout
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", "from pgcourse.grading import progress; progress()"],
        capture_output=True,
        env=environment,
        timeout=120,
        check=True,
    )
    assert b"? 03.gaussian_score" in done.stdout


# ----------------------------------------------------------------------------------------------------------------------
# An answer need not be a function of this process


class Piped(Answer):
    """Forwards every call as bytes, as one that talks to another process does."""

    def __init__(self, function):
        self.local = LocalAnswer(function)
        self.calls = 0

    @staticmethod
    def _through(value):
        if isinstance(value, tuple):
            return tuple(Piped._through(part) for part in value)
        if not isinstance(value, torch.Tensor):
            return value
        content = np.ascontiguousarray(value.detach().numpy())
        return torch.from_numpy(np.frombuffer(content.tobytes(), content.dtype).reshape(value.shape).copy())

    def __call__(self, *inputs):
        self.calls += 1
        return self._through(self.local(*self._through(inputs)))

    def gradient(self, inputs, wrt):
        self.calls += 1
        return self._through(self.local.gradient(self._through(tuple(inputs)), wrt))


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.id)
def test_every_check_works_through_a_pipe(task):
    piped = Piped(task.reference)
    assert judge(task, piped, 3, learning=False).points >= task.points * 3 / 4
    assert piped.calls >= 4
    mistake = task.mistakes[0]
    assert judge(task, Piped(mistake.function), 3, learning=False).mistake == mistake.name


def test_the_training_run_works_through_a_pipe(monkeypatch):
    """Same weights after training as with the function itself: the gradients that come back are used."""
    monkeypatch.setattr(t04.budget, "choose", lambda full, small: (1, 3, 2))
    piped = Piped(t04.cartpole_loss)
    outcome = judge(find("cartpole_loss"), piped, 3)
    assert outcome.points == 4
    direct, through = LocalAnswer(t04.cartpole_loss).lifted(), piped.lifted()
    generator = torch.Generator().manual_seed(0)
    log_probability = -torch.rand(4, 7, 3, generator=generator, dtype=torch.float64)
    valid = torch.rand(4, 7, 3, generator=generator) < 0.7
    gradients = []
    for function in (direct, through):
        x = log_probability.clone().requires_grad_()
        loss = function(x, torch.ones_like(x), valid)
        assert loss.shape == (4,)
        gradients.append(torch.autograd.grad((loss * torch.arange(1, 5)).sum(), x)[0])
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().sum() > 0


def test_losses_that_vmap_cannot_run_cost_speed_not_marks(monkeypatch):
    monkeypatch.setattr(t04.budget, "choose", lambda full, small: (1, 3, 2))
    outcome = judge(find("cartpole_loss"), t04.CARTPOLE_LOSS.alternatives[1], 3)
    assert (outcome.status, outcome.points, outcome.warned) == ("passed", 4, "")


def test_a_loss_that_breaks_during_training_keeps_the_points_of_its_gradient(monkeypatch):
    monkeypatch.setattr(t04.budget, "choose", lambda full, small: (475, 3, 2))

    def breaks(log_probability, reward, valid):
        if len(log_probability) > 5:
            raise ValueError("too long for me")
        return t04.cartpole_loss(log_probability, reward, valid)

    def diverges(log_probability, reward, valid):
        loss = t04.cartpole_loss(log_probability, reward, valid)
        return loss * float("nan") if len(log_probability) > 5 else loss

    outcome = judge(find("cartpole_loss"), breaks, 0)
    assert (outcome.status, outcome.points) == ("error", 3)
    assert "too long for me" in outcome.message
    outcome = judge(find("cartpole_loss"), diverges, 0)
    assert (outcome.status, outcome.points) == ("failed", 3)
    assert "not finite" in outcome.message


def test_received_keeps_nothing_of_the_students():
    mine = torch.ones(3, requires_grad=True)
    got = answers.received((mine, [mine, 2], None, 1.5))
    assert not got[0].requires_grad
    assert got[0].data_ptr() != mine.data_ptr()
    assert got[2:] == (None, 1.5)
    assert isinstance(got[1], Opaque)
    assert answers.received([1.0, 2.0]).kind == "list"
    assert isinstance(answers.received([1.0] * 1000), Opaque)
    assert isinstance(answers.received(object()), Opaque)


def test_complex_numbers_are_compared_whole():
    x = torch.tensor([1 + 1j, 2 - 3j])
    assert compare.same(x, x.clone(), 1e-9)
    assert not compare.same(x, x.conj().resolve_conj(), 1e-9)
