"""What is said when a process of an environment dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv


@contextmanager
def dead_workers_named(env: VecEnv | None) -> Iterator[None]:
    """
    Where a worker of a ``SubprocVecEnv`` dies, SB3 raises ``EOFError``, and the others live on. Within this
    context the error names the worker and its end, and the others are ended.

    :param env: The environment; any but a ``SubprocVecEnv``, wrapped or not, is left alone
    :raises RuntimeError: If a worker died, or an interrupt left answers of workers unread, which the next
        step would take for its own
    """
    workers = None if env is None else env.unwrapped
    if not isinstance(workers, SubprocVecEnv) or workers.closed:
        yield
        return
    if workers.waiting:
        raise RuntimeError(
            "SubprocVecEnv was interrupted while its workers took a step: make a new one, and give it to "
            "set_env()"
        )
    try:
        yield
    except (EOFError, ConnectionError) as error:
        if workers.closed:  # by a callback, say
            raise
        # The pipe breaks a moment before the process has gone.
        dead = wait([process.sentinel for process in workers.processes], timeout=10)
        ends = [
            f"worker {index} of {len(workers.processes)} {_end(process.exitcode)}"
            for index, process in enumerate(workers.processes)
            if process.sentinel in dead and process.join() is None
        ]
        if not ends:
            raise
        for process in workers.processes:
            process.terminate()
            process.join()
        for remote in workers.remotes:
            remote.close()
        workers.closed = True
        raise RuntimeError(f"SubprocVecEnv cannot go on: {', '.join(ends)}") from error


def _end(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    reason = "Ctrl-C ends workers too" if exit_code == 0 else "what it printed above says why"
    return f"ended with exit code {exit_code}; {reason}"
