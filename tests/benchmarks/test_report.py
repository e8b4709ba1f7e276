"""The report from raw results made for the purpose."""

import itertools
import re
import shutil
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")

from matplotlib.colors import to_rgb
from matplotlib.image import imread

from benchmarks.__main__ import main
from benchmarks.report import drawing, figures
from benchmarks.report.comparison import Comparison
from benchmarks.report.report import draw
from benchmarks.runner.results import ResultsFolder
from benchmarks.runner.study import Study, parse_study

RETURNS = {("good", "CartPole-v1"): 480.0, ("good", "Acrobot-v1"): -80.0}
SEEDS = 4


def make_study(label: str, environments: list[str]) -> Study:
    return parse_study(
        {
            "name": label,
            "algorithms": [{"algorithm": "dqn", "label": label}],
            "environments": environments,
            "seeds": SEEDS,
            "evaluations": 4,
        }
    )


def make_results(path: Path, label: str, environments: list[str], offset: float) -> ResultsFolder:
    """Seeds differ by 1, the label by its offset, so that every figure in the report is known."""
    folder = ResultsFolder(path)
    study = make_study(label, environments)
    folder.open_for(study)
    for cell in study.cells:
        last = RETURNS["good", cell.environment] + offset + cell.seed
        result: dict[str, Any] = {
            "format": 1,
            "cell": cell.as_dict(),
            "status": "done",
            "settings": {"gamma": 0.99},
            "budget": 400,
            "steps": 400,
            "steps_to_threshold": 200 if cell.seed else None,
            "seconds": {
                "collect": 1.0,
                "train": 2.0 + cell.seed,
                "evaluate": 1.0,
                "total": 5.0,
                "processor": 3.0,
            },
            "last_policy": {"seed": 0, "returns": [last - 1, last + 1]},
            "curve": {
                "steps": [100, 200, 300, 400],
                "returns": [[last - 50, last - 40]] * 3 + [[last, last]],
            },
            "versions": {"python": "3"},
            "hardware": {"processor": "abacus", "cores": 2, "system": "Linux"},
            "git": {"commit": "c" * 40, "modified": False},
        }
        folder.write(cell, result)
    return folder


TASKS = ["CartPole-v1", "Acrobot-v1"]


@pytest.fixture
def results(tmp_path: Path) -> list[str]:
    make_results(tmp_path / "dqn", "dqn", TASKS, offset=-30)
    make_results(tmp_path / "good", "good", TASKS, offset=0)
    return [str(tmp_path / "dqn"), str(tmp_path / "good")]


def rows(report: Path) -> list[list[str]]:
    lines = report.read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]


def test_report_holds_the_known_numbers(results: list[str], tmp_path: Path) -> None:
    output = tmp_path / "report"
    assert main(["report", *results, "-o", str(output)]) == 0
    table = rows(output / "report.md")
    # Seeds 0 to 3: the IQM of 480..483 is the mean of 481 and 482.
    [good] = [row for row in table if row[0] == "CartPole-v1 (475)" and row[1] == "good"]
    assert good[2].startswith("481.5 [")
    assert good[4:] == ["480.0 to 483.0", "4/4"]
    [dqn] = [row for row in table if row[0] == "Acrobot-v1 (-100)" and row[1] == "dqn"]
    assert dqn[2].startswith("-108.5 [")
    assert dqn[5] == "0/4"
    [good] = [row for row in table if row[0] == "good" and row[1] == "4"]
    assert good[4] == "1.00 [1.00, 1.00]"
    cart_pole = (480 + np.arange(4) - 22.2) / (475 - 22.2)
    acrobot = (-80 + np.arange(4) + 499.1) / (-100 + 499.1)
    assert good[3].startswith(f"{np.mean([cart_pole, acrobot]):.2f} [")
    assert ["CartPole-v1", "good", "0.2k", "[0.2k, not reached]", "3/4"] in table
    assert ["Acrobot-v1", "dqn", "1", "4", "1", "5", "3"] in table  # 3.5 s of training, rounded to even
    assert ["commit", "cccccccccc", "16"] in table
    text = (output / "report.md").read_text()
    for name in re.findall(r"\((\w+)\.svg\)", text):
        assert ElementTree.parse(output / f"{name}.svg").getroot().tag.endswith("svg")
        image = imread(output / f"{name}.png")
        assert image[0, 0, 3] == 0  # transparent, for light and dark pages
        assert len(np.unique(image.reshape(-1, 4), axis=0)) > 50
    assert len(list(output.glob("*.png"))) == len(list(output.glob("*.svg"))) == 5
    assert main(["report", *results, "-o", str(output)]) == 2
    assert main(["report", *results, "-o", str(output), "--force"]) == 0
    # A figure without its report is not overwritten, either.
    (output / "report.md").unlink()
    assert main(["report", *results, "-o", str(output)]) == 2
    assert not (output / "report.md").exists()


def test_a_missing_cell_is_an_error_or_named(results: list[str], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "good" / "good--Acrobot-v1--2.json").unlink()
    command = ["report", *results, "-o", str(tmp_path / "report")]
    assert main(command) == 2
    assert "missing cells: good--Acrobot-v1--2 has not been run" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
    assert main([*command, "--partial"]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "- good--Acrobot-v1--2 has not been run" in text
    table = rows(tmp_path / "report" / "report.md")
    [good] = [row for row in table if row[:2] == ["Acrobot-v1 (-100)", "good"]]
    assert good[5] == "3/3"
    # Over all tasks, the seeds that are there on every task.
    assert [row[1] for row in table if row[0] == "good" and len(row) == 5] == ["3"]


def test_a_task_without_any_result_is_named(results: list[str], tmp_path: Path) -> None:
    """As early in a study, whose seeds are run one after the other."""
    for file in tmp_path.glob("*/*--Acrobot-v1--*.json"):
        file.unlink()
    assert main(["report", *results, "-o", str(tmp_path / "report"), "--partial"]) == 0
    table = rows(tmp_path / "report" / "report.md")
    for label in ("dqn", "good"):
        assert ["Acrobot-v1 (-100)", label, *["missing"] * 4] in table
    assert [row[5] for row in table if row[0] == "CartPole-v1 (475)"] == ["0/4", "4/4"]


def test_studies_that_judge_a_task_differently_are_refused(
    results: list[str], tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "good" / "study.json"
    path.write_text(path.read_text().replace('"threshold": 475.0', '"threshold": 195.0'))
    assert main(["report", *results, "-o", str(tmp_path / "report")]) == 2
    assert "CartPole-v1: the studies differ in its threshold: 475.0 and 195.0" in capsys.readouterr().err


def names(axes: Any) -> list[str]:
    """Direct labels of a panel's curves."""
    return [text.get_text() for text in axes.texts]


def test_every_curve_that_is_drawn_has_its_name(results: list[str], tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / "good" / f"good--CartPole-v1--{seed}.json").unlink()
    comparison = Comparison([Path(path) for path in results], None, True)
    first, second = figures.learning_curves(comparison, "dqn").axes
    assert (names(first), names(second)) == (["DQN"], ["DQN", "good"])
    for text, label in zip(second.texts, ("dqn", "good"), strict=True):
        assert text.get_color() == figures.color(comparison.labels, label)
    # Last policies have a row for what was run, and no other.
    rows = [
        [text.get_text() for text in axes.get_yticklabels()]
        for axes in figures.last_policies(comparison).axes
    ]
    assert rows == [["DQN"], ["DQN", "good"]]
    # One seed is no curve: then there is no name, and no warning.
    for folder in results:
        for path in Path(folder).glob("*--[123].json"):
            path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.learning_curves(Comparison([Path(path) for path in results], None, True), "dqn")
    assert names(figure.axes[0]) == []


def test_nothing_is_cut(results: list[str]) -> None:
    comparison = Comparison([Path(path) for path in results], None, False)
    drawn = draw(comparison, "dqn") | {"differences": figures.differences(comparison, "dqn")}
    for name, figure in drawn.items():
        figure.draw_without_rendering()
        for axes in figure.axes:
            extent = axes.get_tightbbox()
            assert extent is not None
            assert min(extent.x0, extent.y0) >= -1, name
            assert extent.x1 <= figure.bbox.width + 1, name
            assert extent.y1 <= figure.bbox.height + 1, name


@pytest.mark.parametrize("places", [[0.5, 0.5, 0.5], [1.0, 1.0, 0.99, 0.0], [0.0, 0.01], [0.3], []])
def test_labels_are_set_apart_near_their_curves(places: list[float]) -> None:
    heights = [0.1 + 0.05 * index for index in range(len(places))]
    found = drawing.spread(places, heights)
    order = np.argsort(places, kind="stable")
    assert sorted(found) == [found[index] for index in order]  # as the curves end
    for one, other in itertools.pairwise(order):
        assert found[other] - found[one] >= (heights[one] + heights[other]) / 2 - 1e-5
    for place, height in zip(found, heights, strict=True):
        assert height / 2 - 1e-9 <= place <= 1 - height / 2 + 1e-9
    if len(places) == 1:
        assert found == places


def test_points_do_not_hide_each_other() -> None:
    values = np.array([5.0, 5.0, 1.0, 5.05, 3.0, 5.0])
    rows = drawing.swarm(values, 0.1)
    for one, other in itertools.combinations(range(len(values)), 2):
        assert abs(values[one] - values[other]) >= 0.1 or rows[one] != rows[other]
    assert rows[2] == rows[4] == 0  # alone


def test_without_dqn_others_are_compared_with_the_first(tmp_path: Path) -> None:
    folders = [str(make_results(tmp_path / label, label, TASKS, 0).path) for label in ("first", "second")]
    output = tmp_path / "report"
    assert main(["report", *folders, "-o", str(output)]) == 0
    assert "P(better than first)" in (output / "report.md").read_text()
    assert main(["report", folders[0], "-o", str(tmp_path / "alone")]) == 0


def test_differences_are_those_of_the_means_and_sorted(tmp_path: Path) -> None:
    for label, offset in (("dqn", 0), ("worse", -50), ("best", 10), ("same", 0)):
        make_results(tmp_path / label, label, TASKS, offset)
    comparison = Comparison([tmp_path / label for label in ("dqn", "worse", "best", "same")], None, False)
    for axes in figures.differences(comparison, "dqn").axes:
        assert [text.get_text() for text in axes.get_yticklabels()] == ["best", "same", "worse"]
        points = [line for line in axes.get_lines() if line.get_marker() == "o"]
        found = [float(np.asarray(line.get_xdata())[0]) for line in points]
        np.testing.assert_allclose(found, [10, 0, -50])
        assert [line.get_color() for line in points] == [drawing.COLORS[0], drawing.TEXT, drawing.COLORS[1]]


def test_a_failed_cell_is_named_with_its_error(results: list[str], tmp_path: Path, capsys: Any) -> None:
    folder = ResultsFolder(tmp_path / "good")
    cell = folder.planned()[0]
    folder.write(cell, {"format": 1, "cell": cell.as_dict(), "status": "failed", "error": "out of luck"})
    assert main(["report", *results, "-o", str(tmp_path / "report")]) == 2
    assert f"{cell.name} failed: out of luck" in capsys.readouterr().err


def test_a_run_that_failed_neither_solves_nor_reaches(results: list[str], tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "good")
    for cell in folder.planned():
        if cell.environment == "Acrobot-v1" or cell.seed > 1:
            record = {"format": 1, "cell": cell.as_dict(), "status": "failed", "error": "diverged"}
            folder.write(cell, record)
    assert main(["report", *results, "-o", str(tmp_path / "report"), "--partial"]) == 0
    table = rows(tmp_path / "report" / "report.md")
    [good] = [row for row in table if row[:2] == ["CartPole-v1 (475)", "good"]]
    assert good[5] == "2/4 (2 failed)"
    # Seed 1 reaches it, seed 0 does not.
    assert ["CartPole-v1", "good", "not reached", "[0.2k, not reached]", "1/4 (2 failed)"] in table
    assert ["Acrobot-v1 (-100)", "good", *["missing"] * 3, "0/4 (4 failed)"] in table
    assert ["Acrobot-v1", "good", "not reached", "[not reached, not reached]", "0/4 (4 failed)"] in table


def test_a_method_without_all_tasks_is_not_compared_over_all(results: list[str], tmp_path: Path) -> None:
    make_results(tmp_path / "half", "half", TASKS[:1], offset=-5)
    output = tmp_path / "report"
    assert main(["report", *results, str(tmp_path / "half"), "-o", str(output)]) == 0
    assert (
        "Not compared, for want of the same two seeds on every task: half."
        in (output / "report.md").read_text()
    )
    table = rows(output / "report.md")
    assert ["Acrobot-v1 (-100)", "half", *["missing"] * 4] in table
    assert (
        main(
            [
                "report",
                *results,
                str(tmp_path / "half"),
                "-o",
                str(output),
                "--force",
                "--environments",
                TASKS[0],
            ]
        )
        == 0
    )
    assert [row[1] for row in rows(output / "report.md") if row[0] == "half" and len(row) == 5] == ["4"]


def test_seeds_of_different_settings_are_refused(results: list[str], tmp_path: Path, capsys: Any) -> None:
    folder = ResultsFolder(tmp_path / "good")
    [cell, *_] = folder.planned()
    result = folder.read()[cell.name]
    folder.write(cell, {**result, "settings": {"gamma": 0.9}})
    assert main(["report", *results, "-o", str(tmp_path / "report")]) == 2
    assert "differ in their settings" in capsys.readouterr().err


def test_what_a_result_holds_of_the_budget_is_what_was_run(results: list[str], tmp_path: Path) -> None:
    """Earlier results hold the preset's steps where the study had its own: later seeds go on with them."""
    folder = ResultsFolder(tmp_path / "good")
    [cell, *_] = folder.planned()
    result = folder.read()[cell.name]
    folder.write(cell, {**result, "settings": {**result["settings"], "n_timesteps": 100}})
    assert main(["report", *results, "-o", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "n_timesteps=400" in text
    assert "n_timesteps=100" not in text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--baseline", "ppo"], "baseline 'ppo': choose from dqn, good"),
        (["--environments", "Pong"], "Pong: no study has it, there are CartPole-v1, Acrobot-v1"),
        (
            ["--environments", "CartPole-v1", "Pong"],
            "Pong: no study has it, there are CartPole-v1, Acrobot-v1",
        ),
        (["--color"], "unrecognized arguments: --color"),
    ],
)
def test_bad_input(more: list[str], expected: str, results: list[str], tmp_path: Path, capsys: Any) -> None:
    assert main(["report", *results, "-o", str(tmp_path / "report"), *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line


def test_folders_that_do_not_fit_are_refused(results: list[str], tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(tmp_path / "good", tmp_path / "copy")
    output = ["-o", str(tmp_path / "report")]
    assert main(["report", *results, str(tmp_path / "copy"), *output]) == 2
    assert "the label 'good' is in another of the studies, too: name a folder once" in capsys.readouterr().err
    assert main(["report", *results, str(tmp_path / "nowhere"), *output]) == 2
    assert "no results of a study here" in capsys.readouterr().err
    (tmp_path / "good" / "good--Acrobot-v1--0.json").write_text('{"format": 1, "ce')
    assert main(["report", *results, *output]) == 2
    assert "not a result of this runner" in capsys.readouterr().err


def test_of_many_methods_those_furthest_from_the_baseline_are_named(tmp_path: Path) -> None:
    labels = ["dqn", *(f"variant-{number}" for number in range(11))]
    offsets = [0, *range(0, -110, -10)]
    folders = [
        str(make_results(tmp_path / label, label, TASKS[:1], offset).path)
        for label, offset in zip(labels, offsets, strict=True)
    ]
    comparison = Comparison([Path(folder) for folder in folders], None, True)
    [axes] = figures.learning_curves(comparison, "dqn").axes
    expected = ["dqn", *labels[-5:]]
    assert figures.most_different(comparison, "dqn") == expected
    assert {name.replace("\n", "") for name in names(axes)} == {drawing.shown(label) for label in expected}
    assert len({text.get_color() for text in axes.texts}) == len(expected)
    assert main(["report", *folders, "--output", str(tmp_path / "report")]) == 0
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# 12 methods on CartPole-v1\n")
    assert {path.stem for path in (tmp_path / "report").glob("*.svg")} == {"differences", "learning_curves"}
    command = ["report", *folders, "--output", str(tmp_path / "titled"), "--title", "Variants"]
    assert main(command) == 0
    assert (tmp_path / "titled" / "report.md").read_text(encoding="utf-8").startswith("# Variants\n")


@pytest.mark.parametrize("tone", [*drawing.COLORS, drawing.TEXT])
@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_tones_stand_out_from_light_and_dark_pages(tone: str, page: str) -> None:
    def luminance(color: str) -> float:
        channels = np.array(to_rgb(color))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(tone), luminance(page)])
    # WCAG: 3 to 1 for graphics, 4 to 1 for our text.
    assert (high + 0.05) / (low + 0.05) >= (4 if tone == drawing.TEXT else 3)
