"""What a report says where runs, tasks or evaluations do not match."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")

from benchmarks.__main__ import main
from benchmarks.report import figures, tables
from benchmarks.report.comparison import Comparison
from benchmarks.runner.engines import failure
from benchmarks.runner.results import Result, ResultsFolder, read_json, write_json
from tests.benchmarks.test_report import TASKS, make_results, make_study
from tests.benchmarks.test_report_early import report


def change(folder: ResultsFolder, environment: str, how: Callable[[Result], Result]) -> None:
    """Results of a task as they might have been."""
    for cell in folder.planned():
        if cell.environment == environment:
            folder.write(cell, how(folder.read()[cell.name]))


def test_runs_that_ended_before_their_budget_are_named(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    assert "Ended before" not in report(tmp_path, [folder])
    [cell, *_] = folder.planned()
    folder.write(cell, {**folder.read()[cell.name], "steps": 30})
    expected = (
        "Ended before their budget, as by a callback or an interrupt: good--CartPole-v1--0 (30 of 400)."
    )
    assert expected in report(tmp_path, [folder], "--force").split("##")[0]


def test_runs_that_are_left_out_over_all_tasks_are_named(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    assert "left out" not in report(tmp_path, [folder])
    folder.discard(["good--Acrobot-v1--2"])
    text = report(tmp_path, [folder], "--force", "--partial")
    assert "Runs left out, as their seed has no result on another task: good--CartPole-v1--2." in text
    # Two seeds on every task, but not the same ones
    folder.discard([f"good--Acrobot-v1--{seed}" for seed in (3,)])
    folder.discard([f"good--CartPole-v1--{seed}" for seed in (0, 1)])
    text = report(tmp_path, [folder], "--force", "--partial")
    assert "Not compared, for want of the same two seeds on every task: good." in text
    assert "left out" not in text


def test_curves_of_other_grids_have_no_figure_over_all_tasks(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    assert Comparison([folder.path], None, False).uneven() == []
    change(folder, TASKS[1], lambda result: {**result, "budget": 402, "steps": 402})
    assert "![sample efficiency]" in report(tmp_path, [folder])
    change(folder, TASKS[1], lambda result: {**result, "budget": 800, "steps": 800})
    text = report(tmp_path, [folder], "--force")
    assert "![sample efficiency]" not in text
    assert "No figure of the score on all tasks: these were evaluated at other shares of the budget" in text
    assert text.count("task than on another: good.") == 1


def test_the_episodes_of_each_task_are_told_where_they_differ(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    assert "\n100 deterministic episodes for each seed" in report(tmp_path, [folder])
    plan = read_json(folder.path / "study.json")
    for cell in plan["cells"]:
        if cell["environment"] == TASKS[1]:
            cell["last_policy_episodes"] = 10
    write_json(folder.path / "study.json", plan)
    text = report(tmp_path, [folder], "--force")
    assert "\n100 (CartPole-v1) and 10 (Acrobot-v1) deterministic episodes for each seed" in text


def test_cells_that_all_failed_are_told_with_an_error(tmp_path: Path, capsys: Any) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    folder.discard(folder.read())
    command = ["report", str(folder.path), "-o", str(tmp_path / "report"), "--partial"]
    assert main(command) == 2
    assert "no results yet: run the study first" in capsys.readouterr().err
    for cell in folder.planned()[1:]:
        folder.write(cell, failure(cell, "out of luck"))
    assert main(command) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "no results, 7 cells failed, the first of them: good--Acrobot-v1--0 failed: out of luck"
    )


def test_the_named_of_many_curves_have_a_color_each(tmp_path: Path) -> None:
    labels = [f"method-{number}" for number in range(20)]
    # In the order of the study, every eighth would have the same color.
    far = labels[1], labels[9], labels[17]
    folders = [make_results(tmp_path / label, label, TASKS[:1], -50 * (label in far)) for label in labels]
    comparison = Comparison([folder.path for folder in folders], None, False)
    [axes] = figures.learning_curves(comparison, labels[0]).axes
    tones = [text.get_color() for text in axes.texts]
    assert len(tones) == len(set(tones)) == figures.MOST_METHODS


@pytest.mark.parametrize(
    ("threshold", "random_return", "digits"),
    [(475.0, 22.2, 1), (1.0, 0.0, 1), (0.9, -0.005, 2), (0.05, 0.0, 3), (0.002, 0.001, 4)],
)
def test_small_scores_have_digits(threshold: float, random_return: float, digits: int) -> None:
    [cell, *_] = make_study("good", TASKS[:1]).cells
    assert tables.decimals(replace(cell, threshold=threshold, random_return=random_return)) == digits


def test_tables_show_small_scores(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS[:1], 0)
    plan = read_json(folder.path / "study.json")
    for cell in plan["cells"]:
        cell |= {"threshold": 0.05, "random_return": 0.0}
    write_json(folder.path / "study.json", plan)
    change(folder, TASKS[0], lambda result: {**result, "last_policy": {"returns": [0.0421]}})
    assert "| good | 0.042 [0.042, 0.042] | 0.042 [0.042, 0.042] | 0.042 to 0.042 |" in report(
        tmp_path, [folder]
    )


def test_a_run_exactly_at_its_threshold_is_not_among_those_of_the_caption(tmp_path: Path) -> None:
    """It is solved, and not above: profiles are those of rliable."""
    folder = make_results(tmp_path / "good", "good", TASKS[:1], 0)
    change(folder, TASKS[0], lambda result: {**result, "last_policy": {"returns": [475.0]}})
    [axes] = figures.profiles(Comparison([folder.path], None, False)).axes
    assert np.asarray(axes.get_lines()[0].get_ydata())[-1] == 0
    text = report(tmp_path, [folder])
    assert "Its right end is the share of runs above their task's threshold; one exactly at it solves" in text
    assert "475.0 to 475.0 | 4/4 |" in text
