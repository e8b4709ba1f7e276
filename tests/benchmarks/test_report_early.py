"""Reports of studies that are not far yet, or whose runs differ in length."""

from pathlib import Path

import pytest

pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")

from benchmarks.__main__ import main
from benchmarks.report import drawing, figures
from benchmarks.report.comparison import Comparison
from benchmarks.runner.results import ResultsFolder
from tests.benchmarks.test_report import TASKS, make_results


def shorten(folder: ResultsFolder, seeds: int, evaluations: int) -> None:
    """Fewer evaluations of the first seeds."""
    for cell in folder.planned():
        if cell.seed < seeds:
            result = folder.read()[cell.name]
            curve = {key: values[:evaluations] for key, values in result["curve"].items()}
            folder.write(cell, {**result, "curve": curve})


def report(tmp_path: Path, folders: list[ResultsFolder], *more: str) -> str:
    output = tmp_path / "report"
    assert main(["report", *(str(folder.path) for folder in folders), "-o", str(output), *more]) == 0
    return (output / "report.md").read_text(encoding="utf-8")


def test_many_methods_of_one_seed_have_no_differences_yet(tmp_path: Path) -> None:
    folders = [make_results(tmp_path / label, label, TASKS[:1], 0) for label in "abcdefg"]
    for folder in folders:
        folder.discard(cell.name for cell in folder.planned()[1:])
    assert "differences" not in report(tmp_path, folders, "--partial")
    # Nor has the second seed of one method anything to differ from.
    make_results(folders[2].path, "c", TASKS[:1], 0)
    assert "differences" not in report(tmp_path, folders, "--partial", "--force")
    make_results(folders[0].path, "a", TASKS[:1], 0)
    assert "![differences](differences.svg)" in report(tmp_path, folders, "--partial", "--force")


def test_one_evaluation_is_a_point(tmp_path: Path) -> None:
    folders = [make_results(tmp_path / label, label, TASKS, 0) for label in ("dqn", "good")]
    for folder in folders:
        shorten(folder, 4, evaluations=1)
    assert "![sample efficiency](sample_efficiency.svg)" in report(tmp_path, folders)
    comparison = Comparison([folder.path for folder in folders], None, False)
    with drawing.styled():
        [*panels] = figures.learning_curves(comparison, "dqn").axes
    for axes in panels:
        assert [line.get_marker() for line in axes.get_lines()][:2] == ["o", "o"]


def test_curves_end_with_the_shortest_of_their_seeds(tmp_path: Path) -> None:
    folder = make_results(tmp_path / "good", "good", TASKS, 0)
    shorten(folder, 1, evaluations=3)
    report(tmp_path, [folder])
    comparison = Comparison([folder.path], None, False)
    steps, returns = comparison.curves("good", TASKS[0])
    assert steps.tolist() == [100, 200, 300]
    assert returns.shape == (4, 3)
    shares, scores = comparison.score_curves("good")
    assert shares.tolist() == [0.25, 0.5, 0.75]
    assert scores.shape == (4, 2, 3)


def test_methods_whose_runs_differ_are_told(tmp_path: Path) -> None:
    folders = [make_results(tmp_path / label, label, TASKS, 0) for label in ("dqn", "good", "other")]
    assert "differ" not in report(tmp_path, folders).split("##")[0]
    for cell in folders[1].planned():
        result = folders[1].read()[cell.name]
        if cell.environment == TASKS[0]:
            result |= {"budget": 800, "steps": 800, "cell": {**result["cell"], "evaluations": 40}}
        folders[1].write(cell, {**result, "cell": {**result["cell"], "evaluation_episodes": 5}})
    introduction = report(tmp_path, folders, "--force").split("##")[0].splitlines()
    assert introduction[-2] == (
        f"On {TASKS[0]}, the runs differ in their environment steps: 400 (dqn, other) and 800 (good). "
        f"On {TASKS[0]}, the runs differ in their evaluations of the curve: 4 (dqn, other) and 40 (good). "
        f"On {TASKS[0]}, the runs differ in their episodes of an evaluation: 10 (dqn, other) and 5 (good). "
        f"On {TASKS[1]}, the runs differ in their episodes of an evaluation: 10 (dqn, other) and 5 (good)."
    )


def test_a_caption_tells_of_what_is_drawn(tmp_path: Path) -> None:
    """One method alone wins against none."""
    folders = [make_results(tmp_path / label, label, TASKS, 0) for label in ("dqn", "good")]
    both = "solves the average task (above), and wins against DQN more often than not (below)."
    assert both in report(tmp_path, folders)
    text = report(tmp_path, folders[:1], "--force")
    assert "solves the average task.*" in text
    assert "wins against" not in text
    # So where the baseline is not on every task.
    half = make_results(tmp_path / "half", "half", TASKS[:1], 0)
    text = report(tmp_path, [half, folders[1]], "--force", "--baseline", "half")
    assert "solves the average task.*" in text
