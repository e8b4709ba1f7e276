"""The command line that experiments share."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch as th

from benchmarks.runner.errors import Parser
from benchmarks.runner.provenance import RUNS
from benchmarks.runner.study import check_distinct


def read(command: str, arguments: list[str], seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> Namespace:
    """
    Read ``--seeds`` and ``--output``, and set torch to one thread, as all that is measured here has.

    :param command: the name of the experiment and of its module, whose docstring is the help
    :param arguments: the command's
    :param seeds: where none are given
    :return: ``seeds``, and the folder ``output``
    """
    module = importlib.import_module(f"benchmarks.experiments.{command}")
    parser = Parser(prog=f"python -m benchmarks {command}", description=module.__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument(
        "--output",
        type=Path,
        default=RUNS / command,
        help=f"folder of raw results and tables (default: runs/{command})",
    )
    options = parser.parse_args(arguments)
    check_distinct(options.seeds, "--seeds")
    th.set_num_threads(1)
    return options
