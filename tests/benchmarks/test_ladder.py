"""The ladder: its rungs lead from preset to preset, its cells are resumed, its study has the same rungs."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.experiments.ladder import command, measure, page, returns, rungs
from benchmarks.runner.provenance import ROOT
from benchmarks.runner.study import read_study
from sb3_angc.circuit.settings import PRESETS, make_settings


def test_rungs_lead_from_preset_to_preset() -> None:
    ladder = {label: make_settings(preset, **changes) for label, (preset, changes) in rungs.rungs().items()}
    assert ladder["paper"] == PRESETS["paper"]
    assert ladder[f"+ {list(rungs.TO_NGC)[-1]}"] == PRESETS["ngc"]
    assert ladder[f"+ {list(rungs.TO_SETTLED)[-1]}"] == PRESETS["settled"]
    climbed = [settings.as_dict() for label, settings in ladder.items() if "without" not in label]
    for below, above, change in zip(
        climbed, climbed[1:], [*rungs.TO_NGC.values(), *rungs.TO_SETTLED.values()], strict=False
    ):
        differs = {name for name in below if below[name] != above[name]}
        assert differs == set(change)  # no rung is empty


def test_each_change_is_taken_back_alone() -> None:
    ngc, paper = PRESETS["ngc"].as_dict(), PRESETS["paper"].as_dict()
    for name, change in rungs.TO_NGC.items():
        preset, changes = rungs.rungs()[f"ngc without: {name}"]
        settings = make_settings(preset, **changes).as_dict()
        differs = {setting for setting in ngc if settings[setting] != ngc[setting]}
        assert differs - {"init_scale"} == set(change) - {"init_scale"}
        assert all(settings[setting] == paper[setting] for setting in change)


def test_the_rungs_of_the_study_are_those_of_the_ladder() -> None:
    study = read_study(ROOT / "benchmarks" / "studies" / "ladder.yml")
    policies = {cell.label: cell.hyperparams["policy_kwargs"] for cell in study.cells}
    assert len(policies) == 19
    for label, policy in policies.items():
        preset, changes = rungs.rungs()[label]
        expected = make_settings(preset, **changes)
        assert make_settings(policy["circuit"], **policy["circuit_kwargs"]) == expected, label


def test_committed_cells_count_as_done() -> None:
    """A setting that is added to circuits is added to the records too, with the value that they had."""
    files = sorted(command.FOLDER.glob("*.json"))
    assert len(files) == 5 * len(rungs.circuits())
    for file in files:
        record = json.loads(file.read_text())
        assert record["setup"] == measure.setup(record["label"]), file.name


def test_cells_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "STEPS", 20)
    monkeypatch.setattr(measure, "HIDDEN", [8, 8])
    arguments = ["--seeds", "0", "--output", str(tmp_path)]
    assert command.main(arguments) == 0
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(rungs.circuits())
    assert {path.stem for path in tmp_path.glob("*.svg")} == {"ladder", "activity", "steps"}
    table = (tmp_path / "README.md").read_text()
    assert all(f"| {label} |" in table for label in rungs.circuits())
    kept = next(path for path in files if json.loads(path.read_text())["label"] == "paper")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "test_error": 7.125}))
    capsys.readouterr()
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "done" not in printed
    assert "| paper | 7.125 |" in printed


def test_a_circuit_that_diverged_is_left_out_of_the_figure_of_steps() -> None:
    done = {"test_error": 0.5, "energy_left": 0.5}
    cells: page.Cells = {(label, 0): done for label in rungs.by_steps().values()}
    cells["ngc, steps: 20", 0] = {"test_error": None}
    lines = [panel.lines[0] for panel in page.draw_steps(cells, [0]).axes]
    assert [np.isnan(np.asarray(line.get_ydata())).tolist() for line in lines] == [[False] * 5 + [True]] * 2


def test_returns_are_those_of_the_committed_cells() -> None:
    """Every cell once: its return in the table's mean, and a point of the figure at it."""
    cells = [json.loads(file.read_text()) for file in returns.FOLDER.glob("*--*.json")]
    by_run: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        key = cell["cell"]["label"], cell["cell"]["environment"]
        by_run.setdefault(key, []).append(float(np.mean(cell["last_policy"]["returns"])))
    comparison = returns.measured()
    rows = {line.split(" | ")[0].strip("| "): line for line in returns.table(comparison).splitlines()}
    for (label, task), values in by_run.items():
        assert f"| {np.mean(values):.1f}" in rows[label]
        found = {cell["cell"]["seed"] for cell in cells if cell["cell"]["environment"] == task}
        assert f"{task}, seed{'s' if len(found) > 1 else ''} {str(sorted(found))[1:-1]} |" in rows["circuit"]
    drawn = [
        value
        for panel in returns.draw(comparison).axes
        for line in panel.lines[: len(comparison.labels)]
        for value in np.asarray(line.get_xdata(), dtype=float)
    ]
    assert sorted(drawn) == sorted(value for values in by_run.values() for value in values)


def test_the_lowest_and_the_highest_stand_beside_a_mean_of_several() -> None:
    assert returns.mean_and_ends(np.array([1.0, 3.0, 8.0])) == "4.0 [1.0, 8.0]"
    assert returns.mean_and_ends(np.array([2.5])) == "2.5"
    assert returns.mean_and_ends(np.array([])) == ""


def test_each_number_of_steps_has_its_circuit() -> None:
    by_steps = rungs.by_steps()
    assert list(by_steps) == [1, 2, 3, 5, 10, 20]
    for steps, label in by_steps.items():
        assert rungs.settings_of(label) == make_settings("ngc", inference_steps=steps)
