"""The report's tables, in Markdown."""

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.report import statistics
from benchmarks.report.comparison import Comparison
from benchmarks.report.statistics import Estimate
from benchmarks.runner.study import Cell


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """
    A Markdown table, columns of text to the left and those of numbers to the right.

    :param header: names of the columns
    :param rows: cells
    :param text_columns: how many columns, from the first on, hold text
    """
    rule = [":--"] * text_columns + ["--:"] * (len(header) - text_columns)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def interval(estimate: Estimate, digits: int = 2) -> str:
    """
    An estimate in a table's cell.

    :param estimate: the estimate
    :param digits: behind the point
    """
    value, low, high = (f"{number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def share(count: int, done: int, failed: int) -> str:
    """
    How many runs get there, of all that were started: one that failed, as by diverging, does not.

    :param count: of runs that get there
    :param done: runs that ended well
    :param failed: runs that ended with an error
    """
    return f"{count}/{done + failed}" + (f" ({failed} failed)" if failed else "")


def decimals(task: Cell) -> int:
    """
    Digits behind the point of a task's returns: one, and more where acting at random and solving it are
    less than 1 apart.

    :param task: a cell of the task
    """
    return 1 + max(0, -math.floor(math.log10(task.threshold - task.random_return)))


def last_policy(comparison: Comparison) -> str:
    """
    Return of the last policy on each task.

    :param comparison: the results
    """
    rows = []
    for environment in comparison.environments:
        threshold = comparison.tasks[environment].threshold
        digits = decimals(comparison.tasks[environment])
        for label in comparison.labels:
            returns = comparison.returns(label, environment)
            failed = comparison.failed[label, environment]
            solved = share(int(np.sum(returns >= threshold)), len(returns), failed)
            if len(returns) == 0:
                cells = ["missing"] * 3 + [solved if failed else "missing"]
            elif len(returns) == 1:
                cells = ["one seed", f"{returns[0]:.{digits}f}", f"{returns[0]:.{digits}f}", solved]
            else:
                column = returns[:, None]
                estimates = statistics.iqm(column), statistics.mean(column)
                worst = f"{returns.min():.{digits}f} to {returns.max():.{digits}f}"
                cells = [*(interval(estimate, digits) for estimate in estimates), worst, solved]
            rows.append([f"{environment} ({threshold:g})", label, *cells])
    return markdown(["task (threshold)", "method", "IQM", "mean", "lowest to highest", "solved"], rows, 2)


def overall(comparison: Comparison, baseline: str) -> str:
    """
    Normalized scores over all tasks.

    :param comparison: the results
    :param baseline: what the others are compared with
    """
    scores = {label: comparison.scores(label) for label in comparison.complete_labels()}
    improvement = statistics.compare(scores, baseline) if baseline in scores else {}
    header = ["method", "seeds", "IQM", "mean"]
    rows = [
        [label, str(len(values)), interval(statistics.iqm(values)), interval(statistics.mean(values))]
        for label, values in scores.items()
    ]
    if improvement:
        header.append(f"P(better than {baseline})")
        for row in rows:
            row.append(interval(improvement[row[0]]) if row[0] in improvement else "")
    return markdown(header, rows)


def steps_to_threshold(comparison: Comparison) -> str:
    """
    Environment steps to the first evaluation that reaches the task's threshold.

    :param comparison: the results
    """

    def thousands(steps: float) -> str:
        return "not reached" if np.isinf(steps) else f"{steps / 1000:.1f}k"

    rows = []
    for environment in comparison.environments:
        for label in comparison.labels:
            steps = [run["steps_to_threshold"] for run in comparison.results(label, environment)]
            failed = comparison.failed[label, environment]
            if steps or failed:
                median = statistics.median_steps([*steps, *[None] * failed])
                ends = f"[{thousands(median.low)}, {thousands(median.high)}]"
                reached = share(sum(value is not None for value in steps), len(steps), failed)
                rows.append([environment, label, thousands(median.value), ends, reached])
            else:
                rows.append([environment, label, "missing", "", ""])
    return markdown(["task", "method", "median", "95 % interval", "reached"], rows, 2)


def time(comparison: Comparison) -> str:
    """
    Median seconds of a run, one thread: of the clock by what was done, and of the processor.

    :param comparison: the results
    """
    parts = ("collect", "train", "evaluate", "total", "processor")
    rows = []
    for environment in comparison.environments:
        for label in comparison.labels:
            seconds = [run["seconds"] for run in comparison.results(label, environment)]
            if seconds:
                medians = [f"{np.median([each[part] for each in seconds]):.0f}" for part in parts]
                rows.append([environment, label, *medians])
    return markdown(["task", "method", *parts], rows, 2)


def provenance(comparison: Comparison) -> str:
    """
    What the runs were made with.

    :param comparison: the results
    """
    runs = [run for results in comparison.runs.values() for run in results]
    facts = {
        "versions": [
            ", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in runs
        ],
        "hardware": [f"{run['hardware']['processor']}, {run['hardware']['cores']} cores" for run in runs],
        "commit": [commit(run["git"]) for run in runs],
    }
    rows = [
        [name, value, str(values.count(value))]
        for name, values in facts.items()
        for value in dict.fromkeys(values)
    ]
    return markdown(["", "value", "runs"], rows, 2)


def commit(git: dict[str, object] | None) -> str:
    """
    A run's commit, in short.

    :param git: the record, ``None`` outside of a checkout
    """
    if git is None:
        return "unknown"
    return str(git["commit"])[:10] + (" with changes" if git["modified"] else "")


def settings(comparison: Comparison) -> str:
    """
    The hyperparameters of each method on each task, as the Zoo saved them.

    :param comparison: the results
    """
    rows = []
    for environment in comparison.environments:
        for label in comparison.labels:
            runs = comparison.results(label, environment)
            if runs:
                values = ", ".join(f"{key}={value}" for key, value in runs[0]["settings"].items())
                rows.append([environment, label, f"`{values}`"])
    return markdown(["task", "method", "hyperparameters"], rows, 3)
