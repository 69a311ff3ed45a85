"""Calls side by side in processes of our own, with progress from inside each and no orphans.

Each worker holds private data, so it must not outlive the run: it ends when its parent does,
however that ends, and it is ended when a call fails or the user interrupts. A worker that dies (out
of memory) is an error, never a wait without end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from pegai.errors import DataError, PegaiError

Tell = Callable[[str, float], None]
"""Called with the stage and the share that is done."""

Call = Callable[..., Any]
"""Called with its arguments and, last, a `Tell`."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def in_processes(
    function: Call,
    calls: Sequence[tuple[Any, ...]],
    *,
    jobs: int,
    told: Callable[[int, str, float], None],
) -> Generator[tuple[int, Any]]:
    """Results with their number, as they come; one job or one call runs in this process.

    Args:
        function: A function of a module; gets the arguments of a call and a `Tell`.
        calls: The arguments of each call.
        jobs: Processes; below 1 is one a core.
        told: Gets the number of a call and what the call tells of its progress.

    Raises:
        PegaiError: What a call raised; calls that have not ended are ended.
        DataError: A worker died.
    """
    workers = min((os.cpu_count() or 1) if jobs < 1 else jobs, len(calls))
    if workers <= 1:
        for number, arguments in enumerate(calls):
            yield number, function(*arguments, _numbered(told, number))
        return
    waiting = list(enumerate(calls))[::-1]
    with _started(workers) as team:
        busy = dict(team)
        for pipe in team:
            pipe.send((function, *waiting.pop()))
        while busy:
            for pipe in cast("list[Connection]", wait(list(busy))):
                kind, number, content = _received(pipe, busy)
                if kind == "told":
                    told(number, *content)
                    continue
                if kind == "failed":
                    raise content
                if waiting:
                    pipe.send((function, *waiting.pop()))
                else:
                    busy.pop(pipe)
                yield number, content


def _numbered(told: Callable[[int, str, float], None], number: int) -> Tell:
    return lambda stage, share: told(number, stage, share)


@contextmanager
def _started(count: int) -> Generator[dict[Connection, BaseProcess]]:
    """Workers by the pipe to each; none is left when the block is."""
    # Not forked: the threads of Polars and torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    threads = max((os.cpu_count() or 1) // count, 1)
    team: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
            team[ours] = process
            process.start()
            theirs.close()
        yield team
    finally:
        _end(team)


def _end(team: dict[Connection, BaseProcess]) -> None:
    for pipe, process in team.items():
        pipe.close()
        if process.pid is not None:
            process.kill()
    for process in team.values():
        if process.pid is not None:
            process.join()


def _received(pipe: Connection, busy: dict[Connection, BaseProcess]) -> tuple[str, int, Any]:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process = busy[pipe]
        process.join(5)
        raise DataError(
            f"a worker process ended on its own (exit code {process.exitcode})",
            hint="often it ran out of memory: try jobs = 1. In a Python script, start the run "
            'under `if __name__ == "__main__":`',
        ) from None


def _serve(pipe: Connection, threads: int) -> None:
    """What a worker does: one call after the other, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides about Ctrl-C
    for name in _THREADS:
        os.environ.setdefault(name, str(threads))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, number, arguments = pipe.recv()
            pipe.send(_answer(pipe, function, number, arguments))


def _answer(
    pipe: Connection, function: Call, number: int, arguments: tuple[Any, ...]
) -> tuple[str, int, Any]:
    def tell(stage: str, share: float) -> None:
        pipe.send(("told", number, (stage, share)))

    try:
        return "done", number, function(*arguments, tell)
    except PegaiError as error:
        return "failed", number, error
    except MemoryError:
        return "failed", number, DataError("out of memory", hint="try jobs = 1 in the run file")
    except OSError as error:
        said = error.strerror or type(error).__name__
        return "failed", number, DataError(f"{error.filename or 'a file'}: {said}")
    except Exception as error:
        return "failed", number, _unexpected(error)


def _unexpected(error: Exception) -> PegaiError:
    """Without the error's own message, which may hold cells of the table."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('pegai/')[2]}:{last.lineno}"
    return PegaiError(
        f"a worker failed in a way it should not ({type(error).__name__} at {place}); "
        "please report it",
        hint="jobs = 1 in the run file and PEGAI_TRACEBACK=1 show the whole traceback, which may "
        "hold private values",
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
