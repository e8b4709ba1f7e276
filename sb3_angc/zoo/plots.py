"""RL Zoo's plots: what they draw, saved; and scores that mean the same on every task."""

from __future__ import annotations

import argparse
import importlib
import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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
        paths = (folder / f"{command}-{free}.png" for free in itertools.count(1))
        path = next(path for path in paths if not path.exists())  # those of an earlier call stay
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
    :raises SystemExit: If rliable is to compare algorithms of which one has no two runs on a task
    """
    module = importlib.import_module("rl_zoo3.plots.plot_from_file")
    shown = shown_results(arguments)
    if {"-r", "--rliable"} & {*arguments}:
        check_runs(shown)
    tasks = [TASKS.get(name) for name in shown]

    def normalize(scores: Any) -> Any:
        """Runs x tasks (x evaluations), or a tuple of such arrays."""
        if isinstance(scores, tuple):
            return tuple(map(normalize, scores))
        columns = np.moveaxis(np.asarray(scores, dtype=float), 1, 0)
        pairs = zip(columns, tasks, strict=True)
        return np.stack(
            [column if task is None else task.normalize(column) for column, task in pairs], axis=1
        )

    def of_normalized(
        function: Callable[..., Any], scores: Mapping[str, Any], *more: Any, **settings: Any
    ) -> Any:
        return function({label: normalize(each) for label, each in scores.items()}, *more, **settings)

    library = module.rly
    # What the Zoo calls. In the library itself, profiles call intervals, which would normalize once more.
    normalizing = library and SimpleNamespace(
        get_interval_estimates=partial(of_normalized, library.get_interval_estimates),
        create_performance_profile=partial(of_normalized, library.create_performance_profile),
    )
    with warnings.catch_warnings(), mock.patch.object(module, "rly", normalizing):
        for name in TASKS:
            warnings.filterwarnings("ignore", f"{name} not found for normalizing scores")
        yield


def check_runs(shown: Mapping[str, Mapping[str, Any]]) -> None:
    """
    The Zoo leaves a task out of an algorithm's scores where it has one run alone: the scores that are left
    would be taken for those of other tasks.

    :param shown: Of :func:`shown_results`
    :raises SystemExit: If there is such a task
    """
    for env, results in shown.items():
        for algorithm, result in results.items():
            if not result or np.ndim(result["last_evals"]) == 0:
                raise SystemExit(
                    f"error: -r compares algorithms over the same tasks, and {algorithm} has not two runs "
                    f"with evaluations of two episodes on {env}: train more of them, or leave one out with "
                    f"--skip-envs {env} or --skip-keys {algorithm}"
                )


def shown_results(arguments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """
    :param arguments: Of ``plot_from_file``
    :return: What it shows of its file, by environment, in its order, and by algorithm; ``None`` where an
        algorithm has nothing
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-i", "--input", default="")
    parser.add_argument("-iqm", "--iqm", action="store_true")  # or it would be taken for `-i qm`
    parser.add_argument("-skip", "--skip-envs", nargs="+", default=[])
    for name in ("--keep-envs", "--skip-keys", "--keep-keys", "--merge"):
        parser.add_argument(name, nargs="+", default=[])
    known, _ = parser.parse_known_args(arguments)
    path = Path(known.input if known.input.endswith(".pkl") else f"{known.input}.pkl")
    if not path.is_file():  # the Zoo says so
        return {}
    results = _results(path)
    for more in map(_results, known.merge):
        for env in results:
            results[env] = {**results[env], **more.get(env, {})}
    keys = [key for key in next(iter(results.values()), {}) if key not in known.skip_keys]
    keys = [key for key in keys if not known.keep_keys or key in known.keep_keys]
    kept = known.keep_envs or results
    return {
        env: {key: found.get(key) for key in keys}
        for env, found in results.items()
        if env in kept and env not in known.skip_envs
    }


def _results(path: str | Path) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = pickle.loads(Path(path).read_bytes())
    del results["results_table"]
    return results
