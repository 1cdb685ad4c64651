"""The command line: it starts without torch, does what its help says, and answers bad input with one message and code 2."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgcourse import cli, grading
from pgcourse.history import History

TASK = grading.find("03.score_function_estimate")
TINY = ["--replicas", "2", "--iterations", "2", "--environments", "2", "--hidden", "4"]


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, what was complained about."""
    try:
        code = cli.main(arguments)
    except SystemExit as end:  # tyro's own complaints
        code = end.code
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def refused(capsys, *arguments: str) -> str:
    """The message of a refusal: one paragraph, no traceback, code 2."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in out + err
    return err


# Help


def test_help_loads_nothing_heavy():
    program = (
        "import sys; from pgcourse import cli; assert cli.main(['--help']) == 0; "
        "print('loaded:', *sorted({'torch', 'numpy', 'matplotlib', 'gymnasium', 'IPython', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(re.search(rf"^  {name} +[A-Z]", out, re.MULTILINE) for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(capsys, name):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"usage: pgcourse {name}" in out
    assert cli.COMMANDS[name].split(":")[0].rstrip(".") in " ".join(out.split())


def test_help_on_an_algorithm_lists_its_settings(capsys):
    code, out, _ = run(capsys, "train", "reinforce", "--help")
    assert code == 0
    assert "--discount FLOAT" in out
    assert "gamma" in out


# Refusals


def test_unknown_command(capsys):
    assert "Did you mean start?" in refused(capsys, "strat")
    assert "name a command: start, check" in refused(capsys)


def test_unknown_algorithm_and_environment(capsys):
    assert "no algorithm is named 'Reinforc'. Did you mean reinforce?" in refused(capsys, "train", "Reinforc", "CartPole-v1")
    assert "Did you mean CartPole-v1" in refused(capsys, "train", "reinforce", "Cartpole-v1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--discount", "2"], "discount is 2.0; it must lie in [0, 1]."),
        (["--replicas", "0"], "replicas is 0; it must be at least 1"),
        (["--seed", "-1"], "seed is -1; it must be >= 0."),
        (["--device", "abacus"], "device is 'abacus'; torch"),
        (["--iterations", "many"], "--iterations"),
        (["--iteration", "3"], "--iterations"),
    ],
)
def test_settings_that_cannot_be(capsys, tmp_path, flags, message):
    assert message in refused(capsys, "train", "reinforce", "CartPole-v1", "--out", str(tmp_path / "runs"), *flags)
    assert not (tmp_path / "runs").exists()


def test_an_environment_the_algorithm_cannot_learn_says_so(capsys, tmp_path, monkeypatch):
    from pgcourse import policies

    def unfit(*_):
        raise ValueError("actions of this environment do not fit")

    monkeypatch.setattr(policies, "for_env", unfit)
    assert "do not fit" in refused(capsys, "train", "reinforce", "CartPole-v1", "--out", str(tmp_path), *TINY)


def test_flags_before_the_algorithm(capsys):
    message = refused(capsys, "train", "--replicas", "3", "reinforce", "CartPole-v1")
    assert "pgcourse train reinforce CartPole-v1 --replicas 3" in message


def test_start_where_one_cannot_write(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file; give a folder" in refused(capsys, "start", str(tmp_path / "file"))
    message = refused(capsys, "start", str(tmp_path / "file" / "below"))
    assert "cannot write to" in message
    assert "Choose another folder" in message


def test_train_where_one_cannot_write(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refused(capsys, "train", "reinforce", "CartPole-v1", "--out", str(tmp_path / "file"))
    assert "Choose another folder with --out" in message


def test_check_of_what_cannot_be_checked(capsys, tmp_path):
    assert "there is no file" in refused(capsys, "check", str(tmp_path / "none.ipynb"))
    (tmp_path / "damaged.ipynb").write_text("{")
    assert "not JSON" in refused(capsys, "check", str(tmp_path / "damaged.ipynb"))
    (tmp_path / "other.py").write_text("def nothing_of_ours():\n    pass\n")
    assert TASK.name in refused(capsys, "check", str(tmp_path / "other.py"))


def test_progress_of_what_is_no_folder(capsys, tmp_path):
    assert "is not a folder" in refused(capsys, "progress", str(tmp_path / "none"))


# What the commands do


def test_start_says_what_it_did(capsys, tmp_path, monkeypatch):
    from pgcourse import notebooks

    course = tmp_path / "course"
    (course / "lectures").mkdir(parents=True)
    (course / "lectures/00_start.ipynb").write_text("first")
    monkeypatch.setattr(notebooks, "course_folder", lambda: course)
    copy = str(tmp_path / "mine")
    assert run(capsys, "start", copy)[:2] == (0, f"{copy}: 1 new, 0 updated.\n")
    assert run(capsys, "start", copy)[:2] == (0, f"{copy}: up to date.\n")
    (tmp_path / "mine/lectures/00_start.ipynb").write_text("my notes")
    (course / "lectures/00_start.ipynb").write_text("second")
    assert "lies beside it as 00_start.new.ipynb" in run(capsys, "start", copy)[1]
    assert (tmp_path / "mine/lectures/00_start.ipynb").read_text() == "my notes"


def test_check_judges_the_answers_in_a_file_and_notes_them_in_its_working_copy(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("PGCOURSE_PROGRESS", raising=False)
    (tmp_path / ".pgcourse").write_text('{"offered": {}}')
    (tmp_path / "exercises").mkdir()
    file = tmp_path / "exercises" / "mine.py"
    head = "import torch\nfrom torch import Tensor\nfrom constants import NOTHING\n"
    (tmp_path / "exercises" / "constants.py").write_text("NOTHING = 0\n")

    file.write_text(head + grading.stub_source(TASK))
    code, out, _ = run(capsys, "check", str(file))
    assert code == 1
    assert "not attempted" in out

    file.write_text(head + grading.reference_source(TASK))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "check", "exercises/mine.py")  # seen from another folder, as people type it
    assert code == 0
    assert re.search(rf"^{TASK.id} +{TASK.points}/{TASK.points} +passed$", out, re.MULTILINE)
    assert out.splitlines()[-1].split() == ["total", f"{TASK.points}/{TASK.points}"]

    _, out, _ = run(capsys, "progress", str(tmp_path))
    assert re.search(rf"{TASK.id} +{TASK.points}/{TASK.points} +passed", out)
    assert str(file.parent) not in sys.path


def test_train_keeps_config_history_and_picture_and_every_earlier_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        code, out, _ = run(capsys, "train", "reinforce", "CartPole-v1", "--seed", "5", *TINY)
        folder = Path(f"runs/reinforce-CartPole-v1/{number:03d}")
        assert code == 0
        assert out == f"{folder}: config.json, history.npz, return.png\n"
    record = json.loads((folder / "config.json").read_text())
    assert record["config"]["iterations"] == 2
    assert record["seeds"] == [5, 6]
    assert History.load(folder / "history.npz").metrics["return"].shape == (2, 2)
    assert (folder / "return.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_in_which_every_replica_diverged_keeps_what_it_has(capsys, tmp_path, monkeypatch):
    import torch

    from pgcourse.algorithms import reinforce

    def train(env, config, rng, *, progress):
        history = History(rng.seeds)
        for iteration in history.iterate(config.iterations, progress):
            if iteration == 1:
                raise FloatingPointError("no replica is left")
            history.append({"return": torch.ones(len(rng))}, torch.ones(len(rng)))

    monkeypatch.setattr(reinforce, "train", train)
    code, _, err = run(capsys, "train", "reinforce", "CartPole-v1", "--out", str(tmp_path), *TINY)
    assert code == 1
    assert "no replica is left" in err
    assert History.load(tmp_path / "001" / "history.npz").iteration == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to another process")
def test_ctrl_c_keeps_what_was_learned(tmp_path):
    command = [sys.executable, "-m", "pgcourse", "train", "reinforce", "CartPole-v1", "--out", str(tmp_path), *TINY]
    command += ["--iterations", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen = b""
        while b"mean return" not in seen:
            chunk = process.stderr.read1()
            assert chunk, seen.decode()
            seen += chunk
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert b"return.png" in out
    assert 1 <= History.load(tmp_path / "001" / "history.npz").iteration < 100000


def test_notebooks_check_tells_what_is_wrong(capsys, monkeypatch):
    from pgcourse import notebooks

    monkeypatch.setattr(notebooks, "check", lambda: ["lectures/03.ipynb is missing."])
    assert run(capsys, "notebooks", "check")[:2] == (1, "lectures/03.ipynb is missing.\n")
    monkeypatch.setattr(notebooks, "check", lambda: [])
    assert run(capsys, "notebooks", "check")[0] == 0


def test_doctor_fails_only_for_what_is_essential(capsys, monkeypatch):
    from pgcourse import doctor

    browser = doctor.Finding("browser", False, "none", "install one")
    monkeypatch.setattr(doctor, "examine", lambda: iter([browser]))
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "install one" in out
    torch = doctor.Finding("torch", False, "cannot be imported", "run make lab", essential=True)
    monkeypatch.setattr(doctor, "examine", lambda: iter([browser, torch]))
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "MISSING" in out


def test_the_traceback_is_there_for_who_asks():
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-m", "pgcourse", "strat"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
