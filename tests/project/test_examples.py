"""Each example, with a tiny budget, and what can be known of its result."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> "Run":
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # a window on a machine without a screen
    return Run(monkeypatch, capsys)


class Run:
    """Runs an example in this process and returns what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, name: str, **options: int) -> str:
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        self.monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return self.capsys.readouterr().out


def test_train_and_watch(run: Run) -> None:
    pytest.importorskip("pygame")
    printed = run("train_and_watch", steps=1100, episodes=2)
    (returns,) = re.findall(r"Returns: (.+)", printed)
    assert all(1 <= float(value) <= 500 for value in returns.split())
    assert len(returns.split()) == 2
    assert int(re.findall(r"n_updates +\| (\d+)", printed)[-1]) > 0


def test_compare_with_dqn(run: Run) -> None:
    lines = run("compare_with_dqn", steps=1100, seeds=2, episodes=2).splitlines()
    assert [line.split()[0] for line in lines] == ["ANGC", "DQN"]
    for line in lines:
        median, *means = (float(number) for number in re.findall(r"\d+\.\d", line))
        assert len(means) == 2
        assert median == pytest.approx(sum(means) / 2, abs=0.1)
        assert all(8 <= mean <= 500 for mean in means)  # a pole never falls faster


def test_circuit_regression(run: Run) -> None:
    errors = [float(number) for number in re.findall(r"\d\.\d+", run("circuit_regression", steps=500))]
    assert len(errors) == 3
    circuit, backpropagation, _ = errors
    assert max(errors) < 0.05
    assert circuit == pytest.approx(backpropagation, rel=0.5)  # from the same weights


def test_custom_environment(run: Run) -> None:
    # To the right from everywhere is the only optimal policy.
    assert run("custom_environment", steps=1500) == "best action by cell: >>>>>\n"


def test_images(run: Run) -> None:
    # Chance is 1 of 8 for a paddle that cannot see the ball.
    (caught,) = re.findall(r"caught: (\d+) of 100", run("images", steps=2500))
    assert int(caught) >= 80


def test_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbclient is part of the extra 'dev'")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is part of the extra 'dev'")
    pytest.importorskip("ipykernel", reason="ipykernel is part of the extra 'dev'")
    notebook = nbformat.read(EXAMPLES / "pictures.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "committed as executed"

    parts = ("plot_action_values", "plot_surprise", "plot_settling", "plot_weights")
    assert [cell.source.split("(")[0] for cell in code[3:7]] == [f"plots.{name}" for name in parts]
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    assert parameters.source == "steps = 20_000\nseed = 0"
    parameters.source = "steps = 1200\nseed = 1"
    monkeypatch.delenv("MPLBACKEND", raising=False)  # or figures are not shown in the notebook
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    for cell in code:
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        drawn = cell.source.count("pyplot.subplots(") + cell.source.startswith("plots.plot_")
        assert len(pictures) == drawn, cell.source
