"""The Zoo's commands that train, watch and evaluate agents."""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

from rl_zoo3.utils import get_trained_models
from sqlalchemy.exc import SQLAlchemyError
from stable_baselines3.common.vec_env import VecVideoRecorder

from sb3_angc import ANGC
from sb3_angc.zoo.command_line import BadInput, first, make_way, run, run_module
from sb3_angc.zoo.manager import SETTINGS


def train(arguments: list[str]) -> None:
    """
    Train or tune an agent.

    :param arguments: the Zoo's
    """
    from rl_zoo3.train import train as zoo_train

    try:
        run(zoo_train, arguments)
    except ValueError as error:
        # The Zoo's advice where no name is like it.
        name, unknown, _ = str(error).partition(" not found in gym registry, you maybe meant 'no close match")
        if not unknown:
            raise
        raise BadInput(
            f"{name} is not registered: correct its name, or name its package with --gym-packages"
        ) from error
    except SQLAlchemyError as error:
        storage, reason = first(arguments, "--storage"), str(error).splitlines()[0]
        raise BadInput(
            f"--storage {storage}: {reason}, give a journal file (.log) or a database URL"
        ) from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise BadInput(f"{error}: see -params and -conf") from error


def enjoy(arguments: list[str]) -> None:
    """
    Watch a trained agent.

    :param arguments: the Zoo's
    """
    from rl_zoo3.enjoy import enjoy as zoo_enjoy

    algo = first(arguments, "--algo")
    if algo in SETTINGS and first(arguments, "-f", "--folder") is None:
        raise BadInput(f"name the log folder with -f: without it the Zoo asks its hub, which has no {algo}")
    with watching():
        run(zoo_enjoy, arguments)


def record_video(arguments: list[str]) -> None:
    """
    Record a trained agent.

    :param arguments: the Zoo's, and ``--force``
    """
    start_recording = VecVideoRecorder._start_recording
    remaining = [argument for argument in arguments if argument != "--force"]

    def start(recorder: VecVideoRecorder) -> None:
        make_way(arguments, Path(recorder.video_path))
        start_recording(recorder)

    with watching(), patch.object(VecVideoRecorder, "_start_recording", start):
        run_module("rl_zoo3.record_video", remaining)


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Load ANGC without memory for replay, as the Zoo does for the algorithms on a list of its own."""
    # A batch must fit into the memory.
    load = partial(ANGC.load, buffer_size=1, batch_size=1, optimize_memory_usage=False)
    with patch.object(ANGC, "load", load):
        try:
            yield
        except (AssertionError, ValueError) as error:
            if not re.search("folder was not found|No model found", str(error)):
                raise
            raise BadInput(
                f"{error}: train the agent first, or name its folder with -f and its run with --exp-id"
            ) from error


class TableWritten(Exception):
    """Ends the Zoo's benchmark."""


def benchmark(arguments: list[str]) -> None:
    """
    Evaluate trained agents and write the Zoo's ``benchmark.md`` into its ``--benchmark-dir``.

    :param arguments: the Zoo's, and ``--force``
    """
    logs = Path(first(arguments, "--log-dir") or "rl-trained-agents/")
    folder = Path(first(arguments, "--benchmark-dir") or "logs/benchmark/")
    agents = get_trained_models(str(logs)) if logs.is_dir() else {}
    if not agents:
        raise BadInput(f"no trained agents in {logs}: train some first, or name their folder with --log-dir")
    # The Zoo would reuse old results, whatever was trained since.
    arguments = make_way(arguments, folder / "benchmark.md", *(folder / name for name in agents))
    folder.mkdir(parents=True, exist_ok=True)

    def evaluate(command: list[str]) -> int:
        # The Zoo starts "python enjoy.py" in the current directory.
        return subprocess.run([sys.executable, "-m", "sb3_angc.zoo", "enjoy", *command[2:]]).returncode

    with (
        patch.object(subprocess, "call", evaluate),
        # The Zoo's last act is to copy the table over ./benchmark.md.
        patch.object(shutil, "copy", side_effect=TableWritten),
        contextlib.suppress(TableWritten),
    ):
        # The Zoo's hub has no agents of ours, and there may be no network.
        run_module("rl_zoo3.benchmark", ["--no-hub", *arguments])
    # An agent that could not be evaluated only lacks its row.
    rows = (folder / "benchmark.md").read_text().splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:3]] for row in rows]
    lacking = [f"{algo} on {env}" for algo, env in agents.values() if [algo, env] not in cells]
    if lacking and "--test-mode" not in arguments:
        raise BadInput(f"benchmark.md has no row for {', '.join(lacking)}: see above, or raise -n")
