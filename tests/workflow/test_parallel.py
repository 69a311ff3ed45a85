"""Calls side by side: results, progress, errors that keep their code, and no process left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pegai.errors import BudgetExceededError, DataError, PegaiError
from pegai.workflow.parallel import Tell, in_workers


def square(value: int, tell: Tell) -> tuple[int, int]:
    tell("squaring", 0.5)
    return value * value, os.getpid()


def refuse(value: int, tell: Tell) -> int:
    if value:
        raise BudgetExceededError("over budget", hint="ask for less")
    time.sleep(60)
    return value


def fail(value: int, tell: Tell) -> int:
    raise ValueError("a cell said 'Mrs Secret'")


def full_disk(value: int, tell: Tell) -> int:
    raise OSError(28, "No space left on device", "x.csv")


def die(value: int, tell: Tell) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def wait_long(value: int, tell: Tell) -> int:
    tell("waiting", 0.1)
    time.sleep(60)
    return value


def collected(function, values, jobs):
    told: list[tuple[int, str, float]] = []
    calls = [(value,) for value in values]
    found = in_workers(function, calls, jobs=jobs, told=lambda *what: told.append(what))
    with closing(found):
        return dict(found), told


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_and_progress(jobs):
    results, told = collected(square, [3, 4, 5], jobs)
    assert {i: value for i, (value, _) in results.items()} == {0: 9, 1: 16, 2: 25}
    assert sorted(told) == [(i, "squaring", 0.5) for i in range(3)]
    processes = {process for _, process in results.values()}
    assert (os.getpid() in processes) == (jobs == 1)
    assert len(processes) <= jobs
    assert multiprocessing.active_children() == []


def test_one_call_stays_here():
    results, _ = collected(square, [3], jobs=8)
    assert results[0] == (9, os.getpid())


def test_no_calls():
    assert collected(square, [], jobs=2) == ({}, [])


def test_a_refusal_keeps_its_code_and_ends_the_others():
    start = time.monotonic()
    with pytest.raises(BudgetExceededError, match="over budget") as caught:
        collected(refuse, [0, 1], jobs=2)
    assert caught.value.exit_code == 3
    assert caught.value.hint == "ask for less"
    assert time.monotonic() - start < 30
    assert multiprocessing.active_children() == []


def test_an_unexpected_failure_shows_no_value():
    with pytest.raises(PegaiError, match=r"ValueError at .*test_parallel") as caught:
        collected(fail, [1, 2], jobs=2)
    assert "Secret" not in str(caught.value)


def test_the_system_s_refusal_is_a_data_error():
    with pytest.raises(DataError, match="No space left"):
        collected(full_disk, [1, 2], jobs=2)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_worker_is_an_error_not_a_wait():
    with pytest.raises(DataError, match="ended on its own"):
        collected(die, [1, 2], jobs=2)
    assert multiprocessing.active_children() == []


def test_leaving_early_ends_the_workers():
    told: list[int] = []

    def stop(number: int, stage: str, share: float) -> None:
        told.append(number)
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        closing(in_workers(wait_long, [(1,), (2,)], jobs=2, told=stop)) as found,
    ):
        next(found)
    assert told
    assert multiprocessing.active_children() == []


def add_up(values: np.ndarray, tell: Tell) -> tuple[float, bool]:
    return float(values.sum()), isinstance(values, np.memmap)


def test_large_arrays_are_not_put_into_a_file():
    arrays = [np.full(1_000_000, i, dtype=float) for i in (1, 2)]
    found = in_workers(add_up, [(a,) for a in arrays], jobs=2, told=lambda *_: None)
    assert sorted(value for _, value in found) == [(1e6, False), (2e6, False)]


SCRIPT = """
import time

from pegai.workflow.parallel import in_workers


def said(number, stage, share):
    print(stage, flush=True)


for _ in in_workers(time.sleep, [], jobs=2, told=said):
    pass
from tests_parallel_calls import wait_long

list(in_workers(wait_long, [(1,), (2,)], jobs=2, told=said))
"""
CALLS = """
import time


def wait_long(value, tell):
    tell("waiting", 0.1)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: int):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "tests_parallel_calls.py").write_text(CALLS)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["waiting\n"] * 2
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    for _ in range(100):
        if not alive(process.pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"left running: {alive(process.pid)}")


def alive(session: int) -> list[str]:
    listed = subprocess.run(
        ["ps", "-eo", "sess,stat,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    parts = [line.split(None, 2) for line in listed[1:]]
    return [p[2] for p in parts if p[0] == str(session) and not p[1].startswith("Z")]
