"""Calls side by side by joblib, with progress from inside each and no worker that is left behind.

Each worker holds private data, so it must not outlive its parent. joblib's own workers do: after a
`kill -9` of the parent they finish their call, and then wait for minutes. Here each holds the end
of a pipe of which the parent alone holds the other; when that closes, the worker ends at once,
whatever it is doing. So the parent ends its workers by closing it, and the operating system closes
it for a parent that was killed. A second pipe carries progress the other way.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from pegai.errors import DataError, PegaiError

Tell = Callable[[str, float], None]
"""Called with the stage and the share that is done."""

Call = Callable[..., Any]
"""A function of a module: called with its arguments and, last, a `Tell`."""

_IDLE_SECONDS = 60
"""A worker without a call ends after this; a later call starts another."""

_STAGE_LENGTH = 36
"""Of a stage that is told: a short message is written to a pipe in one piece, without a lock."""

_TRACEBACK = "PEGAI_TRACEBACK"
"""Where set, the user asked for tracebacks."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class _Event(NamedTuple):
    """What the main thread hears: `told`, `done`, `failed`, or `over`: nothing comes after."""

    kind: str
    number: int = -1
    content: Any = None


def in_workers(
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
    with _running(function, calls, workers) as events:
        while True:
            event = events.get()
            if event.kind == "told":
                told(event.number, *event.content)
            elif event.kind == "done":
                yield event.number, event.content
            elif event.kind == "over":
                return
            else:
                raise event.content


def on_backend(
    function: Call,
    calls: Sequence[tuple[Any, ...]],
    *,
    jobs: int | None,
    stop: Callable[[], None],
) -> Generator[tuple[int, Any]]:
    """As `in_workers`, or where `joblib.parallel_config` says: on threads, on Dask, on Ray.

    Only for calls that hold nothing private: another backend's workers are not ended with their
    parent, and may be on other machines.

    Args:
        function: A function of a module; gets the arguments of a call and a `Tell`.
        calls: The arguments of each call.
        jobs: Workers; None is 1, or what the backend was set to; below 1 is one a core.
        stop: Called when a call failed on another backend. Calls that have not begun can't be taken
            back everywhere, so they run, and have to end at once after this.

    Raises:
        PegaiError: What a call raised.
        DataError: A worker died.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import BACKENDS, get_active_backend

    backend, set_to = get_active_backend()
    if isinstance(backend, BACKENDS["loky"]):
        workers = jobs if jobs is not None else set_to if isinstance(set_to, int) else 1
        yield from in_workers(function, calls, jobs=workers, told=lambda *_: None)
        return
    streams = getattr(backend, "supports_return_generator", False)
    team = Parallel(
        n_jobs=jobs if jobs is None or jobs > 0 else -1,
        return_as="generator_unordered" if streams else "list",
        batch_size=1,  # pyright: ignore[reportArgumentType]
    )
    tasks = (delayed(_answer)(function, number, call) for number, call in enumerate(calls))
    failure: PegaiError | None = None
    for event in _found_dead(team(tasks)):
        if event.kind == "done" and failure is None:
            yield event.number, event.content
        elif event.kind == "failed" and failure is None:
            failure = event.content
            stop()
    if failure is not None:
        raise failure


def _found_dead(events: Iterable[Any]) -> Iterator[_Event]:
    """What workers answer, up to an error that is not of a call but of a worker."""
    try:
        for event in events:
            if event is not None:
                yield event
    except Exception as error:
        raise _died(error) from None


def _numbered(told: Callable[[int, str, float], None], number: int) -> Tell:
    return lambda stage, share: told(number, stage, share)


@contextmanager
def _running(
    function: Call, calls: Sequence[tuple[Any, ...]], workers: int
) -> Generator[queue.SimpleQueue[_Event]]:
    """The calls under way, and what is heard of them; no worker is left when the block is."""
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    parent_alive, held = Pipe(duplex=False)
    heard, progress = Pipe(duplex=False)
    tasks = [(function, number, arguments) for number, arguments in enumerate(calls)]
    # joblib blocks until the next result, so it gets a thread of its own: the main thread hears of
    # progress as well, and of Ctrl-C.
    threads = [
        threading.Thread(target=_listen, args=(heard, events), daemon=True),
        threading.Thread(
            target=_dispatch, args=(tasks, workers, (parent_alive, progress), events), daemon=True
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        yield events
    finally:
        held.close()
        threads[1].join()
        _end_workers()
        progress.close()
        threads[0].join()
        for pipe in (parent_alive, heard):
            pipe.close()


def _dispatch(
    tasks: Sequence[tuple[Call, int, tuple[Any, ...]]],
    workers: int,
    pipes: tuple[Connection, Connection],
    events: queue.SimpleQueue[_Event],
) -> None:
    """Let joblib do the tasks; what comes back goes to the main thread."""
    from joblib import Parallel, delayed

    threads = max((os.cpu_count() or 1) // workers, 1)
    try:
        # Arrays go through pipes: joblib would put large ones, and so patients, into a file.
        team = Parallel(
            n_jobs=workers,
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,  # pyright: ignore[reportArgumentType]
            pre_dispatch="n_jobs",
            max_nbytes=None,
            idle_worker_timeout=_IDLE_SECONDS,
            initializer=_start,
            initargs=(*pipes, threads),
        )
        for event in team(delayed(_answer)(*task) for task in tasks):
            if event is not None:
                events.put(event)
        events.put(_Event("over"))
    except BaseException as error:
        # Also after the workers were ended, when nobody listens any more.
        events.put(_Event("failed", content=_died(error)))


def _listen(heard: Connection, events: queue.SimpleQueue[_Event]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, stage, share = json.loads(heard.recv_bytes())
            events.put(_Event("told", number, (stage, share)))


def _end_workers() -> None:
    """End joblib's workers, which it would keep for the next call."""
    from joblib.externals.loky import get_reusable_executor

    with contextlib.suppress(Exception):
        executor = get_reusable_executor(reuse=True)  # pyright: ignore[reportArgumentType]
        executor.shutdown(wait=True, kill_workers=True)


def _died(error: BaseException) -> DataError:
    return DataError(
        f"a worker process ended on its own ({type(error).__name__})",
        hint="often it ran out of memory: try one job",
    )


# ---------------------------------------------------------------- in a worker

_progress: Connection | None = None


def _start(parent_alive: Connection, progress: Connection, threads: int) -> None:
    """The first thing that a worker does."""
    global _progress  # noqa: PLW0603 - a worker has one parent
    _progress = progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides about Ctrl-C
    for name in _THREADS:
        os.environ.setdefault(name, str(threads))
    threading.Thread(target=_end_with_parent, args=(parent_alive,), daemon=True).start()


def _end_with_parent(parent_alive: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        parent_alive.recv_bytes()
    os._exit(1)


def _answer(function: Call, number: int, arguments: tuple[Any, ...]) -> _Event:
    def tell(stage: str, share: float) -> None:
        if _progress is not None:
            message = json.dumps([number, stage[:_STAGE_LENGTH], share])
            _progress.send_bytes(message.encode())

    try:
        return _Event("done", number, function(*arguments, tell))
    except Exception as error:
        return _Event("failed", number, as_told(error))


def as_told(error: Exception) -> PegaiError:
    """An error of a call as one for users; one of theirs stays as it is."""
    if isinstance(error, PegaiError):
        return error
    if isinstance(error, MemoryError):
        return DataError("out of memory", hint="try one job")
    if isinstance(error, OSError):
        said = error.strerror or type(error).__name__
        return DataError(f"{error.filename or 'a file'}: {said}")
    return _unexpected(error)


def _unexpected(error: Exception) -> PegaiError:
    """Without the error's own message, which may hold cells of the table."""
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('pegai/')[2]}:{last.lineno}"
    return PegaiError(
        f"a worker failed in a way it should not ({type(error).__name__} at {place}); "
        "please report it",
        hint=f"{_TRACEBACK}=1 shows the whole traceback, which may hold private values",
    )
