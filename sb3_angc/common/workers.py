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

from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv


def environments_of(callback: MaybeCallback) -> Iterator[VecEnv]:
    """
    :param callback: What ``learn()`` may be given as a callback
    :return: The environments that callbacks evaluate on, as ``EvalCallback`` does
    """
    if isinstance(callback, CallbackList):
        callback = callback.callbacks
    if isinstance(callback, list):
        for part in callback:
            yield from environments_of(part)
    elif isinstance(callback, BaseCallback):
        if isinstance(env := getattr(callback, "eval_env", None), VecEnv):
            yield env
        if isinstance(callback, EventCallback):
            yield from environments_of(callback.callback)


@contextmanager
def watched_workers(*envs: VecEnv | None) -> Iterator[None]:
    """
    While this lasts, the death of a worker of a ``SubprocVecEnv`` raises an error that names it, and
    ends the other workers. Without it SB3 raises ``EOFError``, or waits for ever where the workers
    were forked, since each holds the pipes of others open.

    Answers that nobody has read, since Ctrl-C came first, are read before anything else.

    :param envs: Environments; any but a ``SubprocVecEnv``, wrapped or not, is left alone
    :raises RuntimeError: If a worker died
    """
    unwrapped = dict.fromkeys(env.unwrapped for env in envs if env is not None)
    watched = [env for env in unwrapped if isinstance(env, SubprocVecEnv) and not env.closed]
    if not watched:
        yield
        return
    stop, stopped = mp.Pipe()
    watch = threading.Thread(target=_hang_up_on_the_dead, args=(watched, stopped), daemon=True)
    watch.start()
    try:
        for env in watched:
            _catch_up(env)
        yield
    except (EOFError, ConnectionError) as error:
        watched = [env for env in watched if not env.closed]  # a callback may have closed some
        # The pipe breaks a moment before the process has gone.
        dead = wait([process.sentinel for env in watched for process in env.processes], timeout=10)
        names = []
        for env in watched:
            died = [index for index, process in enumerate(env.processes) if process.sentinel in dead]
            for index in died:
                env.processes[index].join()
                cause = _cause(env.processes[index].exitcode)
                names.append(f"worker {index} of {len(env.processes)} {cause}")
            if died:
                _end(env)
        if not names:
            raise
        raise RuntimeError(f"SubprocVecEnv cannot go on: {', '.join(names)}") from error
    finally:
        stop.send_bytes(b"stop")  # closing is not enough: processes forked meanwhile hold a copy
        stop.close()
        watch.join()
        stopped.close()


def _catch_up(workers: SubprocVecEnv) -> None:
    """Read what the workers have still to say, so that the next answer is the next question's."""
    # Kept with the environment: Ctrl-C may come before these are answered.
    open_questions: list[int] = workers.__dict__.setdefault("_open_questions", [0] * len(workers.remotes))
    for index, remote in enumerate(workers.remotes):
        remote.send(("get_spaces", None))
        open_questions[index] += 1
    for index, remote in enumerate(workers.remotes):
        while open_questions[index] > 0:
            answer = remote.recv()
            # Of all answers this one alone begins with a space.
            if isinstance(answer, tuple) and answer and isinstance(answer[0], spaces.Space):
                open_questions[index] -= 1
    workers.waiting = False


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    reason = "Ctrl-C ends workers too" if exit_code == 0 else "what it printed above says why"
    return f"ended with exit code {exit_code}; {reason}"


def _hang_up_on_the_dead(watched: list[SubprocVecEnv], stopped: mp.connection.Connection) -> None:
    """Break the pipe to a worker that died, so that nobody waits for an answer from it."""
    remotes = {
        process.sentinel: remote
        for workers in watched
        for process, remote in zip(workers.processes, workers.remotes, strict=True)
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
