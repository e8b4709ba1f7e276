"""RL Zoo's plots: what they draw, saved; and scores that mean the same on every task."""

from __future__ import annotations

import argparse
import importlib
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from sb3_angc.hyperparams.tasks import TASKS

# The Zoo's title of a figure of any task
WRONG_TITLE = "PyBullet envs"


def plot(run: Callable[[], None], command: str, arguments: Sequence[str], folder: Path | None) -> None:
    """
    Run a plot command, and save what it draws.

    :param run: Runs it
    :param command: Its name
    :param arguments: The Zoo's
    :param folder: For the figures; ``None`` shows them on the screen
    """
    from matplotlib import pyplot as plt

    if folder is not None:
        plt.switch_backend("agg")  # which shows nothing
    with normalized_scores(arguments) if command == "plot_from_file" else nullcontext():
        run()
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in plt.get_fignums():
        figure = plt.figure(number)
        correct(figure)
        path = folder / f"{command}-{number}.png"
        figure.savefig(path, dpi=150, bbox_inches="tight")
        print(f"Saved {path}")


def correct(figure: Any) -> None:
    """
    :param figure: A figure of the Zoo's, whose title may name tasks that it does not show, or whose label may
        lie on other text
    """
    label = str(figure.get_label())
    for axes in figure.axes:
        title = axes.get_title()
        if title == WRONG_TITLE:
            axes.set_title("Last evaluations")
        elif title and label.startswith("Results "):
            axes.set_title(label.removeprefix("Results "))
    if len(figure.axes) > 1 and figure.texts:  # rliable's intervals: a label on the numbers
        figure.set_size_inches(14, 1.5 + 0.5 * len(figure.axes[0].get_yticklabels()))
        for text in figure.texts:
            text.set_y(-0.12)


@contextmanager
def normalized_scores(arguments: Sequence[str]) -> Iterator[None]:
    """
    While it is open, ``plot_from_file`` gives rliable scores that are 0 for acting at random and 1 where a
    task counts as solved, on the tasks of ``sb3_angc.hyperparams.tasks``; the Zoo knows other tasks.

    :param arguments: The Zoo's
    """
    module = importlib.import_module("rl_zoo3.plots.plot_from_file")
    tasks = [TASKS.get(name) for name in shown_environments(arguments)]

    def normalize(scores: Any) -> Any:
        """Runs x tasks (x evaluations), or a tuple of such arrays."""
        if isinstance(scores, tuple):
            return tuple(map(normalize, scores))
        columns = np.moveaxis(np.asarray(scores, dtype=float), 1, 0)
        pairs = zip(columns, tasks, strict=True)
        return np.stack(
            [column if task is None else task.normalize(column) for column, task in pairs], axis=1
        )

    class Library:
        """rliable's functions, for scores that are normalized first."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            function: Callable[..., Any] = getattr(library, name)

            def of_normalized(scores: Mapping[str, Any], *more: Any, **settings: Any) -> Any:
                return function({label: normalize(each) for label, each in scores.items()}, *more, **settings)

            return of_normalized

    library = module.rly
    with warnings.catch_warnings(), mock.patch.object(module, "rly", library and Library()):
        for name in TASKS:
            warnings.filterwarnings("ignore", f"{name} not found for normalizing scores")
        yield


def shown_environments(arguments: Sequence[str]) -> list[str]:
    """
    :param arguments: Of ``plot_from_file``
    :return: The environments of its file that it shows, in its order
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-i", "--input", default="")
    parser.add_argument("-skip", "--skip-envs", nargs="+", default=[])
    parser.add_argument("--keep-envs", nargs="+", default=[])
    parser.add_argument("-iqm", "--iqm", action="store_true")  # or it would be taken for `-i qm`
    known, _ = parser.parse_known_args(arguments)
    path = Path(known.input if known.input.endswith(".pkl") else f"{known.input}.pkl")
    if not path.is_file():  # the Zoo says so
        return []
    with path.open("rb") as file:
        names = [name for name in pickle.load(file) if name != "results_table"]
    kept = known.keep_envs or names
    return [name for name in names if name in kept and name not in known.skip_envs]
