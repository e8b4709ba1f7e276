"""What to do when a process of an environment dies."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait

from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv


@contextmanager
def watched_workers(env: VecEnv | None) -> Iterator[None]:
    """
    While this lasts, the death of a worker of ``SubprocVecEnv`` raises an error that names it, and
    ends the other workers. Without it SB3 raises ``EOFError``, or waits for ever where the workers
    were forked, since each holds the pipes of others open.

    :param env: Environment; any but a ``SubprocVecEnv``, wrapped or not, is left alone
    :raises RuntimeError: If a worker died
    """
    workers = None if env is None else env.unwrapped
    if not isinstance(workers, SubprocVecEnv) or workers.closed:
        yield
        return
    stop, stopped = mp.Pipe()
    watch = threading.Thread(target=_hang_up_on_the_dead, args=(workers, stopped), daemon=True)
    watch.start()
    try:
        yield
    except (EOFError, ConnectionError) as error:
        # The pipe breaks a moment before the process has gone.
        dead = wait([process.sentinel for process in workers.processes], timeout=10)
        names = []
        for index, process in enumerate(workers.processes):
            if process.sentinel in dead:
                process.join()
                names.append(f"worker {index} of {len(workers.processes)} {_cause(process.exitcode)}")
        if not names:
            raise
        _end(workers)
        raise RuntimeError(f"SubprocVecEnv cannot go on: {', '.join(names)}") from error
    finally:
        stop.close()
        watch.join()
        stopped.close()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}; what it printed above says why"


def _hang_up_on_the_dead(workers: SubprocVecEnv, stopped: mp.connection.Connection) -> None:
    """Break the pipe to a worker that died, so that nobody waits for an answer from it."""
    remotes = {
        process.sentinel: remote for process, remote in zip(workers.processes, workers.remotes, strict=True)
    }
    while remotes:
        ready = wait([stopped, *remotes])
        if stopped in ready:
            return
        for sentinel in ready:
            remote = remotes.pop(sentinel)
            if os.name == "posix":  # elsewhere workers cannot be forked
                with suppress(OSError), socket.socket(fileno=os.dup(remote.fileno())) as pipe:
                    pipe.shutdown(socket.SHUT_RDWR)


def _end(workers: SubprocVecEnv) -> None:
    for process in workers.processes:
        process.terminate()
        process.join()
    for remote in workers.remotes:
        remote.close()
    workers.closed = True
