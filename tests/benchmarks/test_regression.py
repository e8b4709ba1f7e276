"""The regression check: its decay is the circuit's, its cells are resumed, its learners start alike."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch as th

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.experiments import regression
from benchmarks.runner.errors import BenchmarkError
from sb3_angc.circuit import NGCCircuit, learn


def test_decay_is_the_one_of_the_circuit() -> None:
    """A circuit stepped without updates only decays: its weights and the network's stay equal."""
    circuit = NGCCircuit([3, 8, 6, 2], **regression.DECAY)
    network = regression._twin(circuit)
    decay = regression.AlignmentDecay(network)
    optimizer = th.optim.SGD(circuit.parameters(), lr=0.1)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 20)
    start = [bundle.weight.clone() for bundle in circuit.bundles]
    nothing = {name: th.zeros_like(value) for name, value in circuit.named_parameters()}
    for _ in range(10):
        learn({circuit: nothing}, optimizer)
        decay.step(optimizer.param_groups[0]["lr"])
        schedule.step()
    for index, bundle in enumerate(circuit.bundles):
        th.testing.assert_close(bundle.weight, network[2 * index].weight.detach())  # type: ignore[operator]
    assert th.equal(circuit.bundles[0].weight, start[0])
    assert circuit.bundles[1].weight.norm() < 0.5 * start[1].norm()


def test_twin_computes_what_the_circuit_projects() -> None:
    circuit = NGCCircuit([3, 8, 6, 2], preset="released")
    x = th.randn(5, 3)
    th.testing.assert_close(regression._twin(circuit)(x).detach(), circuit.project(x))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps on one data set."""
    monkeypatch.setattr(regression, "STEPS", 4)
    monkeypatch.setattr(regression, "CHECKPOINTS", (0, 4))
    monkeypatch.setattr(regression, "DATASETS", {"digits": regression.digits})


@pytest.mark.usefixtures("short")
def test_cells_are_kept_and_those_of_another_setup_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--seeds", "0", "1", "--output", str(tmp_path)]
    assert regression.main(arguments) == 0
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 2 * len(regression.LEARNERS)
    table = (tmp_path / "README.md").read_text()
    assert all(f"| {learner} |" in table for learner in regression.LEARNERS)
    capsys.readouterr()

    # A kept cell is believed, one of another setup is not.
    kept, other = (tmp_path / f"digits--{name}--0.json" for name in ("backprop", "settled"))
    contents: dict[str, Any] = json.loads(kept.read_text())
    kept.write_text(json.dumps({**contents, "test_error": 7.0}))
    contents = json.loads(other.read_text())
    error = contents["test_error"]
    contents["setup"]["circuit"]["inference_steps"] = 99
    other.write_text(json.dumps({**contents, "test_error": 7.0}))
    assert regression.main(arguments) == 0
    assert capsys.readouterr().out.count(": done") == 1
    assert json.loads(kept.read_text())["test_error"] == 7.0
    assert json.loads(other.read_text())["test_error"] == error


@pytest.mark.parametrize("dataset", regression.DATASETS)
def test_sets_are_scaled_by_their_training_part(dataset: str) -> None:
    x, y, x_test, y_test = regression.DATASETS[dataset](0)
    varying = x.std(0) > 0
    th.testing.assert_close(x[:, varying].mean(0), th.zeros(int(varying.sum())), atol=1e-4, rtol=0)
    th.testing.assert_close(
        x[:, varying].std(0, correction=0), th.ones(int(varying.sum())), atol=1e-3, rtol=0
    )
    th.testing.assert_close(y.std(correction=0), th.tensor(1.0), atol=0.5, rtol=0)
    assert len(x_test) == len(y_test) > 200
    rows = {tuple(row) for row in x.tolist()}
    assert not any(tuple(row) in rows for row in x_test.tolist()[:200])


def test_released_learns_what_backpropagation_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal gradients from equal weights: equal test errors, and cosines of 1."""
    monkeypatch.setattr(regression, "STEPS", 30)
    monkeypatch.setattr(regression, "CHECKPOINTS", (0, 30))
    results = [regression.run_cell("digits", learner, 3) for learner in ("backprop", "released")]
    assert results[0]["test_error"] == pytest.approx(results[1]["test_error"], rel=1e-4)
    for cosines in results[1]["cosines"].values():
        assert cosines == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)
    decayed = regression.run_cell("digits", "backprop, same decay", 3)["test_error"]
    assert abs(decayed - results[0]["test_error"]) > 1e-4


def test_checkpoints_fit_the_steps() -> None:
    assert all(first < second for first, second in pairwise(regression.CHECKPOINTS))
    assert regression.CHECKPOINTS[-1] == regression.STEPS


def test_committed_cells_count_as_done() -> None:
    """A setting that is added to circuits is added to the records too, with the value that they had."""
    files = sorted(regression.FOLDER.glob("*.json"))
    assert len(files) == 5 * len(regression.DATASETS) * len(regression.LEARNERS)
    for file in files:
        record = json.loads(file.read_text())
        assert record["setup"] == regression.setup(record["learner"]), file.name


@pytest.mark.usefixtures("short")
def test_seeds_count_once_and_one_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchmarkError, match="--seeds: 0 is named twice"):
        regression.main(["--seeds", "0", "0", "1", "--output", str(tmp_path)])
    assert regression.main(["--seeds", "0", "--output", str(tmp_path)]) == 0
    table = (tmp_path / "README.md").read_text()
    assert table.startswith("One seed [0];")
    assert "nan" not in table
    assert "+/-" not in table
