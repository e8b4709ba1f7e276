"""The results of some studies, checked and laid out for comparing methods."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.report.statistics import Array
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.results import Result, ResultsFolder
from benchmarks.runner.study import Cell
from sb3_angc.hyperparams.tasks import Task

# So many missing cells are named in an error.
NAMED = 5
# What the studies must agree on, or numbers of one task could not stand side by side.
JUDGED_BY = ("threshold", "random_return", "last_policy_episodes")
# What they may differ in, but what a reader must then be told.
RUN_FOR = {
    "budget": "environment steps",
    "evaluations": "evaluations of the curve",
    "evaluation_episodes": "episodes of an evaluation",
}
# Evaluations that are closer, as shares of the budget, are at one place of a figure.
SAME_SHARE = 0.01


class Comparison:
    """
    Methods (labels) on tasks (environments), with one result for each seed.

    :param folders: results folders
    :param environments: take these only, ``None`` for all
    :param partial: whether cells may be missing, which ``missing`` then names
    """

    def __init__(self, folders: Sequence[Path], environments: Sequence[str] | None, partial: bool) -> None:
        self.runs: dict[tuple[str, str], list[Result]] = {}
        self.missing: list[str] = []
        # How many runs of a method on a task ended with an error
        self.failed: Counter[tuple[str, str]] = Counter()
        self.labels: list[str] = []
        # By environment, the first cell planned for it: a task may have no result yet.
        self.tasks: dict[str, Cell] = {}
        planned = [cell.environment for path in folders for cell in ResultsFolder(path).planned()]
        for environment in environments or ():
            if environment not in planned:
                known = ", ".join(dict.fromkeys(planned))
                raise BenchmarkError(f"{environment}: no study has it, there are {known}")
        for path in folders:
            self._add(ResultsFolder(path), environments)
        if self.missing and not partial:
            more = len(self.missing) - NAMED
            listed = "; ".join(self.missing[:NAMED]) + (f"; and {more} more" if more > 0 else "")
            raise BenchmarkError(
                f"missing cells: {listed}: run the study to its end, "
                "--retry-failed for what failed, or use --partial"
            )
        if not any(self.runs.values()):
            if not self.failed:
                raise BenchmarkError("no results yet: run the study first")
            errors = [line for line in self.missing if " failed: " in line]
            raise BenchmarkError(f"no results, {len(errors)} cells failed, the first of them: {errors[0]}")
        for label, environment in self.runs:
            self._check_settings(label, environment)

    def _add(self, folder: ResultsFolder, environments: Sequence[str] | None) -> None:
        results = folder.read()
        cells = [cell for cell in folder.planned() if not environments or cell.environment in environments]
        labels = list(dict.fromkeys(cell.label for cell in cells))
        for label in labels:
            if label in self.labels:
                raise BenchmarkError(
                    f"{folder.path}: the label {label!r} is in another of the studies, too: "
                    "name a folder once, and give the methods of two studies different labels"
                )
        self.labels += labels
        for cell in cells:
            self._check_task(cell, self.tasks.setdefault(cell.environment, cell))
            runs = self.runs.setdefault((cell.label, cell.environment), [])
            result = results.get(cell.name)
            if result is None:
                self.missing.append(f"{cell.name} has not been run")
            elif result["status"] == "failed":
                self.missing.append(f"{cell.name} failed: {result['error']}")
                self.failed[cell.label, cell.environment] += 1
            else:
                runs.append(result)

    @staticmethod
    def _check_task(cell: Cell, first: Cell) -> None:
        for key in JUDGED_BY:
            values = getattr(first, key), getattr(cell, key)
            if values[0] != values[1]:
                raise BenchmarkError(
                    f"{cell.environment}: the studies differ in its {key}: {values[0]} and {values[1]}"
                )

    def _check_settings(self, label: str, environment: str) -> None:
        runs = self.runs[label, environment]
        for run in runs[1:]:
            for key in ("budget", "settings"):
                if run[key] != runs[0][key]:
                    names = " and ".join(Cell(**other["cell"]).name for other in (runs[0], run))
                    raise BenchmarkError(
                        f"{names} differ in their {key}: delete the file of one, and run its study again"
                    )

    def unequal(self) -> list[str]:
        """What methods do not have in common of the runs on a task, a sentence for each."""
        sentences = []
        for environment in self.environments:
            for key, words in RUN_FOR.items():
                methods: dict[int, list[str]] = {}
                for label in self.labels:
                    runs = self.results(label, environment)
                    for value in dict.fromkeys({**run["cell"], **run}[key] for run in runs):
                        methods.setdefault(value, []).append(label)
                if len(methods) > 1:
                    values = " and ".join(f"{value} ({', '.join(names)})" for value, names in methods.items())
                    sentences.append(f"On {environment}, the runs differ in their {words}: {values}.")
        return sentences

    def cut_short(self) -> list[str]:
        """Runs that made fewer steps than they were given, with both numbers."""
        return [
            f"{Cell(**run['cell']).name} ({run['steps']} of {run['budget']})"
            for runs in self.runs.values()
            for run in runs
            if run["steps"] < run["budget"]
        ]

    @property
    def environments(self) -> list[str]:
        """The tasks, in the order of the studies."""
        return list(self.tasks)

    def results(self, label: str, environment: str) -> list[Result]:
        """
        The runs of one method on one task, by seed.

        :param label: the method
        :param environment: the task
        """
        runs = self.runs.get((label, environment), [])
        return sorted(runs, key=lambda run: int(run["cell"]["seed"]))

    def returns(self, label: str, environment: str) -> Array:
        """
        Mean return of each run's last policy.

        :param label: the method
        :param environment: the task
        """
        return np.array([np.mean(run["last_policy"]["returns"]) for run in self.results(label, environment)])

    def normalize(self, returns: Array, environment: str) -> Array:
        """
        0 for acting at random, 1 for the threshold at which the task counts as solved.

        :param returns: returns
        :param environment: the task
        """
        task = self.tasks[environment]
        scores: Array = Task(task.threshold, task.random_return).normalize(returns)
        return scores

    def complete_seeds(self, label: str) -> list[int]:
        """
        Seeds with which a method has been run on every task.

        :param label: the method
        """
        seeds = [{run["cell"]["seed"] for run in self.results(label, task)} for task in self.environments]
        return sorted(set.intersection(*seeds))

    def complete_labels(self) -> list[str]:
        """Methods with the same two seeds or more on every task, which can be compared over all tasks."""
        return [label for label in self.labels if len(self.complete_seeds(label)) > 1]

    def left_out(self) -> list[str]:
        """Runs of these methods that are not compared so: their seed has no result on another task."""
        return [
            Cell(**run["cell"]).name
            for label in self.complete_labels()
            for task in self.environments
            for run in self.results(label, task)
            if run["cell"]["seed"] not in self.complete_seeds(label)
        ]

    def scores(self, label: str) -> Array:
        """
        Normalized last-policy scores of a method, seeds x tasks.

        :param label: one of ``complete_labels``
        """
        seeds = self.complete_seeds(label)
        columns = []
        for task in self.environments:
            chosen = [run["cell"]["seed"] in seeds for run in self.results(label, task)]
            columns.append(self.normalize(self.returns(label, task)[chosen], task))
        return np.stack(columns, axis=1)

    def curves(self, label: str, environment: str) -> tuple[Array, Array]:
        """
        Evaluation curves.

        :param label: the method
        :param environment: the task
        :return: environment steps, and seeds x evaluations of mean returns, as many as the shortest curve has
        """
        runs = self.results(label, environment)
        length = min(len(run["curve"]["steps"]) for run in runs)
        steps = np.array(runs[0]["curve"]["steps"][:length], dtype=float)
        return steps, np.array([np.mean(run["curve"]["returns"][:length], axis=1) for run in runs])

    def shares(self, label: str) -> Array:
        """
        When a method was evaluated, as shares of each task's budget.

        :param label: one of ``complete_labels``
        :return: tasks x evaluations, as many as the shortest curve has
        """
        shares = [
            self.curves(label, task)[0] / self.results(label, task)[0]["budget"] for task in self.environments
        ]
        length = min(map(len, shares))
        return np.array([share[:length] for share in shares])

    def uneven(self) -> list[str]:
        """Methods whose evaluations are at other shares of the budget on one task than on another."""
        return [
            label for label in self.complete_labels() if np.ptp(self.shares(label), axis=0).max() > SAME_SHARE
        ]

    def score_curves(self, label: str) -> tuple[Array, Array]:
        """
        Normalized curves over the share of each task's budget.

        :param label: one of ``complete_labels`` that is not among ``uneven``
        :return: shares, and seeds x tasks x evaluations
        """
        seeds = self.complete_seeds(label)
        [shares, *_] = self.shares(label)
        columns = []
        for task in self.environments:
            _, returns = self.curves(label, task)
            chosen = [run["cell"]["seed"] in seeds for run in self.results(label, task)]
            columns.append(self.normalize(returns[chosen], task)[:, : len(shares)])
        return shares, np.stack(columns, axis=1)
