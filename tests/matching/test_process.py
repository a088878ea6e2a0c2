"""A child that hangs, dies or takes too much memory, and a parent that goes away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.matching.process import Child, PatternTooLarge, PatternTooSlow
from tests.matching.doing import Refused
from tests.processes import children, is_alive, wait_until

ROOT = Path(__file__).parents[2]
PARENT = """
from keyscope.matching.process import Child
child = Child("tests.matching.doing", 1 << 30)
for each in child.answers(["pid", "hang"], ["one", "two"], 0.5, lambda: None):
    print(each, flush=True)
"""


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("tests.matching.doing", 256 << 20) as child:
        yield child


def ask(child: Child, *does: str, seconds: float = 20.0) -> list[object]:
    return list(child.answers(does, [f"the {each}" for each in does], seconds, lambda: None))


def test_one_child_answers_many_requests(child: Child) -> None:
    (first,), (second, third) = ask(child, "pid"), ask(child, "pid", "pid")
    assert first == second == third
    assert first in children(os.getpid())


def test_a_loop_in_c_is_killed_and_named_and_the_next_request_has_a_new_child(child: Child) -> None:
    (before,) = ask(child, "pid")
    with pytest.raises(PatternTooSlow, match=r"the hang took longer than 0\.3 s"):
        ask(child, "pid", "hang", seconds=0.3)
    assert not is_alive(before)
    assert ask(child, "pid") != [before]


@pytest.mark.parametrize("how", ["devour", "abort"])
def test_a_child_without_memory_is_an_error_that_names_the_limit(child: Child, how: str) -> None:
    with pytest.raises(PatternTooLarge, match=f"the {how} needs more than 256 MB"):
        ask(child, "pid", how)
    assert len(ask(child, "pid")) == 1


def test_an_error_for_people_is_raised_here_and_the_child_goes_on(child: Child) -> None:
    (before,) = ask(child, "pid")
    with pytest.raises(Refused, match="not this"):
        ask(child, "pid", "refuse", "pid")
    assert ask(child, "pid") == [before]


def test_a_mistake_of_ours_is_no_error_of_the_pattern(child: Child) -> None:
    with pytest.raises(RuntimeError, match="ended with status 1"):
        ask(child, "fail")


def test_what_pause_raises_ends_the_waiting_and_the_child(child: Child) -> None:
    (before,) = ask(child, "pid")

    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(child.answers(["hang"], ["it"], 60.0, leave))
    assert not is_alive(before)


def test_leaving_before_the_last_answer_ends_the_child(child: Child) -> None:
    answers = child.answers(["pid", "hang"], ["one", "two"], 60.0, lambda: None)
    pid = next(answers)
    answers.close()
    assert not is_alive(pid)


def test_a_child_that_was_killed_between_two_requests_is_replaced(child: Child) -> None:
    (before,) = ask(child, "pid")
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(before))
    assert ask(child, "pid") != [before]


def test_a_child_does_not_outlive_its_parent_even_inside_a_loop_in_c() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(10)
    assert wait_until(lambda: not is_alive(pid), 20)


def test_ctrl_c_in_a_terminal_is_left_to_the_parent(child: Child) -> None:
    (pid,) = ask(child, "pid")
    os.kill(pid, signal.SIGINT)
    assert ask(child, "pid") == [pid]
