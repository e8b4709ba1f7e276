"""The Zoo's commands that plot runs."""

import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from sb3_angc.zoo.command_line import BadInput, first, make_way, required, run, values


def all_plots(arguments: list[str]) -> None:
    """
    Learning curves and a table of trained agents.

    :param arguments: the Zoo's, ``--figures`` and ``--force``
    """
    from pytablewriter import MarkdownTableWriter
    from rl_zoo3.plots import all_plots as zoo_all_plots

    algos, envs, folders = (
        required(arguments, *flag) for flag in (("-a", "--algos"), ("-e", "--env"), ("-f", "--exp-folders"))
    )
    check_labels(arguments, folders)
    wanted = [(folder, algo, env) for folder in folders for algo in algos for env in envs]
    key = first(arguments, "-k", "--key") or "results"
    gaps = [run for run in wanted if not any(has_curve(folder, key) for folder in run_folders(*run))]
    if gaps == wanted:
        raise BadInput(
            f"no matching runs with two evaluations of {key!r} in {', '.join(folders)}: "
            "train with --eval-freq"
        )
    for folder, algo, env in gaps:
        print(f"missing: {algo} on {env} has no run with two evaluations in {folder}", file=sys.stderr)
    write_table = MarkdownTableWriter.write_table

    def name_gaps(writer: MarkdownTableWriter, *args: Any, **kwargs: Any) -> None:
        # The Zoo prints this for no run at all; results have no decimals.
        for row in writer.value_matrix:
            row[:] = ["missing" if cell == "0.0 +/- 0.0" else cell for cell in row]
        write_table(writer, *args, **kwargs)

    output = [Path(f"{name}.pkl") for name in values(arguments, "-o", "--output")]
    with patch.object(MarkdownTableWriter, "write_table", name_gaps):
        plot(zoo_all_plots, arguments, *output)


def plot_from_file(arguments: list[str]) -> None:
    """
    Plot what ``all_plots -o`` has saved.

    :param arguments: the Zoo's, ``--figures`` and ``--force``
    """
    from rl_zoo3.plots import plot_from_file as zoo_plot_from_file

    [name] = required(arguments, "-i", "--input")
    check_saved_results(Path(name if name.endswith(".pkl") else f"{name}.pkl"), arguments)
    # rliable's bootstrap follows numpy's global state: without a seed, each call has other intervals.
    np.random.seed(0)  # noqa: NPY002
    plot(zoo_plot_from_file, arguments, *map(Path, values(arguments, "-o", "--output")))


def plot_train(arguments: list[str]) -> None:
    """
    Returns, lengths or successes of training episodes.

    :param arguments: the Zoo's, ``--figures`` and ``--force``
    """
    from rl_zoo3.plots import plot_train as zoo_plot_train

    [algo], envs, [folder] = (
        required(arguments, *flag) for flag in (("-a", "--algo"), ("-e", "--env"), ("-f", "--exp-folder"))
    )
    for env in envs:
        if not run_folders(folder, algo, env):
            raise BadInput(
                f"no runs of {algo} on {env} in {folder}: train some, or name their folder with -f"
            )
    plot(zoo_plot_train, arguments)


def run_folders(folder: str, algo: str, env: str) -> list[Path]:
    """
    The runs that the Zoo's plots take.

    :param folder: log folder
    :param algo: algorithm, in any case
    :param env: environment, or a part of its name
    """
    path = Path(folder) / algo.lower()
    return [run for run in path.iterdir() if env in run.name and run.is_dir()] if path.is_dir() else []


def has_curve(run: Path, key: str) -> bool:
    """
    Whether the Zoo can plot a run's evaluations.

    :param run: its folder
    :param key: what of them
    """
    file = run / "evaluations.npz"
    if not file.exists():
        return False
    with np.load(file) as log:
        return key in log and len(log["timesteps"]) > 1


def check_labels(arguments: list[str], labelled: list[str]) -> None:
    """
    Refuse labels that are too many or too few.

    :param arguments: the command line
    :param labelled: what each labels
    """
    labels = values(arguments, "-l", "--labels")
    if labels and len(labels) != len(labelled):
        raise BadInput(f"--labels {' '.join(labels)}: give one for each of {', '.join(labelled)}")


def check_saved_results(path: Path, arguments: list[str]) -> None:
    """
    Say what the Zoo would not: what a file of ``all_plots`` lacks for the wanted figures.

    :param path: the file
    :param arguments: of ``plot_from_file``
    """
    try:
        with path.open("rb") as file:
            saved = pickle.load(file)
        if not isinstance(saved, dict):
            raise ValueError(f"it holds a {type(saved).__name__}")
    except Exception as error:  # Of a file that is no pickle, unpickling may raise anything.
        raise BadInput(f"{path}: cannot be read ({error}), make it with: all_plots -o") from error

    def chosen(names: list[str], what: str, *skip: str) -> list[str]:
        keep = values(arguments, f"--keep-{what}")
        return [name for name in names if name not in values(arguments, *skip) and (not keep or name in keep)]

    envs = chosen([name for name in saved if name != "results_table"], "envs", "-skip", "--skip-envs")
    keys = chosen(list(dict.fromkeys(key for env in envs for key in saved[env])), "keys", "--skip-keys")
    if not envs or not keys:
        raise BadInput(f"{path}: nothing is left to plot, see --keep-envs, --keep-keys and their --skip-...")
    check_labels(arguments, keys)
    for env, key in ((env, key) for env in envs for key in keys):
        if key not in saved[env]:
            raise BadInput(
                f"{path}: {key} is missing on {env}, leave one of them out: --skip-envs or --skip-keys"
            )
        if {"-r", "--rliable"} & set(arguments) and np.size(saved[env][key]["last_evals"]) < 2:
            raise BadInput(f"{path}: {key} has one run on {env}, rliable needs two seeds")
        if len({len(saved[other][key]["timesteps"]) for other in envs if key in saved[other]}) > 1:
            raise BadInput(f"{path}: {key} was evaluated more often on some tasks, choose with --keep-envs")


def plot(command: Callable[[], None], arguments: list[str], *outputs: Path) -> None:
    """
    Run a plot command of the Zoo.

    :param command: the Zoo's function
    :param arguments: the Zoo's, ``--figures`` and ``--force``
    :param outputs: files that the Zoo will write
    """
    from matplotlib import pyplot as plt
    from matplotlib.backend_bases import FigureManagerBase

    folder = first(arguments, "--figures")
    old_figures = Path(folder).glob(f"{command.__name__}-*.png") if folder else ()
    arguments = make_way(arguments, *outputs, *old_figures)
    if folder is None:
        run(command, arguments)
        if plt.get_backend().lower() == "agg":
            print("no display: save the figures with --figures FOLDER", file=sys.stderr)
        return
    position = arguments.index("--figures")

    def set_label(manager: FigureManagerBase, title: str) -> None:
        manager.canvas.figure.set_label(title)

    plt.switch_backend("agg")
    with (
        patch.object(plt, "show"),
        # Some figures have a window title alone, which this backend would drop.
        patch.object(FigureManagerBase, "set_window_title", set_label),
    ):
        run(command, arguments[:position] + arguments[position + 2 :])
    figures = [plt.figure(number) for number in plt.get_fignums()]
    for figure in figures:
        if not any(axes.has_data() for axes in figure.axes):
            raise BadInput(f"nothing to show in {figure.get_label()!r}: too short runs? (-w of plot_train)")
    for figure in figures:
        label = str(figure.get_label())
        if len(figure.axes) == 1 and figure.axes[0].get_title():
            # The Zoo's titles say PyBullet and MountainCarContinuous, whatever they show.
            figure.axes[0].set_title(label.removeprefix("Results "))
        name = re.sub(r"[^A-Za-z0-9.]+", "-", label).lower()
        path = Path(folder) / f"{command.__name__}-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, bbox_inches="tight")
        print(f"Saved {path}")
