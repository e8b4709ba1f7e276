"""``python -m sb3_angc.zoo COMMAND``: a command of the Zoo that knows ``angc``."""

import argparse
import contextlib
import importlib
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from huggingface_sb3 import EnvironmentName
from rl_zoo3 import utils

from sb3_angc.common.environments import register_minatar
from sb3_angc.zoo import SBX_DQN, register

# The module of each command that is a function of the Zoo; others are modules only
PLOTS = {name: f"rl_zoo3.plots.{name}" for name in ("all_plots", "plot_train", "plot_from_file")}
FUNCTIONS = {"train": "rl_zoo3.train", "enjoy": "rl_zoo3.enjoy", **PLOTS}
COMMANDS = ("train", "enjoy", "record_video", "benchmark", "package_agent", *PLOTS)
# What the Zoo's table says of its own hub
CARDS = """
You can view each model card (it includes video and hyperparameters)
on our Huggingface page: https://huggingface.co/sb3
"""


def main(arguments: list[str]) -> int:
    """
    Run a command.

    :param arguments: The command and the Zoo's arguments for it
    :return: Exit status
    """
    command, arguments = next(iter(arguments), ""), arguments[1:]
    if command not in COMMANDS:
        print(f"usage: python -m sb3_angc.zoo {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        return 2
    register()
    if SBX_DQN in arguments and SBX_DQN not in utils.ALGOS:
        print(f"error: {SBX_DQN} is an extra, pip install 'sb3_angc[sbx]'", file=sys.stderr)
        return 2
    packages: list[str] = []
    if command not in PLOTS:
        try:
            packages, others = import_environments(arguments)
        except ImportError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        if command in ("record_video", "benchmark"):  # in which the Zoo does not know the flag
            arguments = others
    if command == "package_agent":
        status: int = importlib.import_module("sb3_angc.zoo.package").package_agent(arguments)
        return status
    if command in PLOTS:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--figures", type=Path)
        ours, arguments = parser.parse_known_args(arguments)
        plot = importlib.import_module("sb3_angc.zoo.plots").plot
        plot(lambda: run(command, arguments), command, arguments, ours.figures)
    elif command == "benchmark":
        return benchmark(arguments, packages)
    elif command == "train":
        run(command, arguments)
    else:
        with_shipped_agent = importlib.import_module("sb3_angc.zoo.shipped").with_shipped_agent
        with tempfile.TemporaryDirectory() as folder:
            run(command, with_shipped_agent(command, arguments, Path(folder)))
    return 0


def import_environments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """
    Import what registers environments: the modules of ``--gym-packages``, and MinAtar for its games.

    :param arguments: Of a command
    :return: The modules, and the arguments without them
    :raises ImportError: If one of them is not installed
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gym-packages", nargs="+", default=[])
    ours, others = parser.parse_known_args(arguments)
    try:
        for package in ours.gym_packages:
            importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"--gym-packages {package} is not allowed: it must be a module that can be imported ({error})"
        ) from error
    if any(word.removeprefix("--env=").startswith("MinAtar/") for word in arguments):
        register_minatar()
    return ours.gym_packages, others


def run(command: str, arguments: list[str]) -> None:
    """
    Run the Zoo's function or module of a command.

    :param command: One of ``COMMANDS``
    :param arguments: The Zoo's
    """
    with mock.patch.object(sys, "argv", [command, *arguments]):  # which the Zoo parses
        if command in FUNCTIONS:
            getattr(importlib.import_module(FUNCTIONS[command]), command)()
        else:
            runpy.run_module(f"rl_zoo3.{command}", run_name="__main__")


class TableWritten(Exception):
    """The Zoo's ``benchmark`` has written its table, and would copy it into the current folder."""


def benchmark(arguments: list[str], packages: list[str]) -> int:
    """
    Evaluate trained agents and write the Zoo's ``benchmark.md``, in which ids have dashes for slashes. The
    Zoo starts ``python enjoy.py``, and copies its table into the current folder: here it starts our ``enjoy``
    and copies nothing. Its hub has no agents of ours.

    :param arguments: The Zoo's
    :param packages: Modules that register environments, for ``enjoy``
    :return: Exit status: 1 if an agent could not be evaluated, which the table leaves out
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--benchmark-dir", type=Path, default=Path("logs/benchmark"))
    folder = parser.parse_known_args(arguments)[0].benchmark_dir
    find, call = utils.get_trained_models, subprocess.call
    statuses = []

    def trained_models(log_dir: str) -> dict[str, tuple[str, Any]]:
        """As the Zoo's, with environments named as the Zoo names their folders: such a name knows its id."""
        folder.mkdir(parents=True, exist_ok=True)  # not before the Zoo has read its arguments
        return {name: (algo, EnvironmentName(env_id)) for name, (algo, env_id) in find(log_dir).items()}

    def enjoy(command: list[str]) -> int:
        words = [getattr(word, "gym_id", word) for word in command[2:]]
        if packages:
            words += ["--gym-packages", *packages]
        statuses.append(call([sys.executable, "-m", "sb3_angc.zoo", "enjoy", *words]))
        return statuses[-1]

    with (
        contextlib.suppress(TableWritten),
        mock.patch.object(utils, "get_trained_models", trained_models),
        mock.patch("subprocess.call", enjoy),
        mock.patch("shutil.copy", side_effect=TableWritten),
    ):
        run("benchmark", ["--no-hub", *arguments])
    table = folder / "benchmark.md"  # of these agents there are no such cards
    table.write_text(table.read_text(encoding="utf-8").replace(CARDS, ""), encoding="utf-8")
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
