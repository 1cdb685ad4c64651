"""pgcourse audit, on the task that CONTRIBUTING.md shows, and on one whose check lets a mistake through."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MANUAL = Path(__file__).parent.parent / "CONTRIBUTING.md"
EXAMPLE = re.search(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)


def audit(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pgcourse", "audit", *arguments],
        env={**os.environ, "PGCOURSE_TASKS": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def module(tmp_path):
    (tmp_path / "t70_discounting.py").write_text(EXAMPLE[1], encoding="utf-8")
    return tmp_path / "t70_discounting.py"


def test_the_example_in_the_manual_is_sound(module):
    done = audit(module.parent, "70")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right    2 of 2 accepted" in done.stdout
    assert "wrong    2 of 2 rejected by name" in done.stdout
    assert "0 of 40 checks of right solutions failed: with 95 % confidence fewer than 7.2% do" in done.stdout
    assert "03." not in done.stdout


def test_a_check_that_lets_a_mistake_through_is_found(module):
    """Without a discount other than 1, no case tells the first mistake from the truth."""
    source = module.read_text(encoding="utf-8")
    module.write_text(source.replace("((2, 0.5), (3, 0.9), (7, 1.0), (4, 0.0))", "((2, 1.0), (3, 1.0))"), encoding="utf-8")
    done = audit(module.parent, "discounted_sum")
    assert done.returncode == 1
    assert "WRONGLY JUDGED: no discount (wrong) is passed" in done.stdout


def test_a_wrong_alternative_is_found(module):
    """One that changes its input, which a right solution must not do."""
    source = module.read_text(encoding="utf-8")
    module.write_text(source.replace("    total = reward.new_zeros(())\n", "    reward += 1\n    total = reward.sum() * 0\n"))
    done = audit(module.parent, "70", "--runs", "3")
    assert done.returncode == 1
    assert "WRONGLY JUDGED: backwards (right) is failed" in done.stdout
    assert "_backwards: 3 of 3 failed" in done.stdout


def test_two_tasks_of_one_name_are_refused(module):
    source = module.read_text(encoding="utf-8").replace("discounted_sum", "gaussian_score")
    module.write_text(source, encoding="utf-8")
    done = audit(module.parent)
    assert done.returncode == 2
    assert "03.gaussian_score and 70.gaussian_score both ask for a function named gaussian_score" in done.stderr


def test_an_unknown_task_or_folder_is_named(module):
    done = audit(module.parent, "discounted_some")
    assert done.returncode == 2
    assert "Did you mean discounted_sum" in done.stderr
    done = audit(module.parent / "nowhere")
    assert done.returncode == 2
    assert "nowhere, which is no folder" in done.stderr
