"""``python -m sb3_angc.zoo COMMAND``: a command of the Zoo that knows ``angc``."""

import argparse
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from rl_zoo3.utils import ALGOS

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
# What the Zoo's benchmark starts for each agent, from the current folder
ENJOY_SCRIPT = """
import sys
from sb3_angc.zoo.__main__ import main
sys.exit(main(["enjoy", *sys.argv[1:]]))
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
    if command == "benchmark":
        return benchmark(arguments)
    register()
    if SBX_DQN in arguments and SBX_DQN not in ALGOS:
        print(f"error: {SBX_DQN} is an extra, pip install 'sb3_angc[sbx]'", file=sys.stderr)
        return 2
    if command not in PLOTS and any(word.removeprefix("--env=").startswith("MinAtar/") for word in arguments):
        try:
            register_minatar()
        except ImportError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if command == "package_agent":
        status: int = importlib.import_module("sb3_angc.zoo.package").package_agent(arguments)
        return status
    if command in PLOTS:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--figures", type=Path)
        ours, arguments = parser.parse_known_args(arguments)
        plot = importlib.import_module("sb3_angc.zoo.plots").plot
        plot(lambda: run(command, arguments), command, arguments, ours.figures)
    elif command == "train":
        run(command, arguments)
    else:
        with_shipped_agent = importlib.import_module("sb3_angc.zoo.shipped").with_shipped_agent
        with tempfile.TemporaryDirectory() as folder:
            run(command, with_shipped_agent(command, arguments, Path(folder)))
    return 0


def run(command: str, arguments: list[str]) -> None:
    """
    Run the Zoo's function or module of a command.

    :param command: One of ``COMMANDS``
    :param arguments: The Zoo's
    """
    before = sys.argv
    sys.argv = [command, *arguments]  # which the Zoo parses
    try:
        if command in FUNCTIONS:
            getattr(importlib.import_module(FUNCTIONS[command]), command)()
        else:
            runpy.run_module(f"rl_zoo3.{command}", run_name="__main__")
    finally:
        sys.argv = before


def benchmark(arguments: list[str]) -> int:
    """
    Evaluate trained agents and write the Zoo's ``benchmark.md``. The Zoo starts ``python enjoy.py`` in the
    current folder and leaves a copy of its table there: it gets a folder of its own, with a script of that
    name. Its hub has no agents of ours.

    :param arguments: The Zoo's
    :return: The Zoo's exit status
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--log-dir", type=Path, default=Path("rl-trained-agents"))
    parser.add_argument("--benchmark-dir", type=Path, default=Path("logs/benchmark"))
    folders, others = parser.parse_known_args(arguments)
    folders.benchmark_dir.mkdir(parents=True, exist_ok=True)
    paths = ["--log-dir", folders.log_dir.resolve(), "--benchmark-dir", folders.benchmark_dir.resolve()]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as current:
        Path(current, "enjoy.py").write_text(ENJOY_SCRIPT, encoding="utf-8")
        command = [sys.executable, "-m", "rl_zoo3.benchmark", "--no-hub", *map(str, paths), *others]
        status = subprocess.run(command, cwd=current, env={**os.environ, "PATH": path}).returncode
    table = folders.benchmark_dir / "benchmark.md"
    if table.exists():  # of these agents there are no such cards
        table.write_text(table.read_text(encoding="utf-8").replace(CARDS, ""), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
