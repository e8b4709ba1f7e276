"""What the Zoo's plots are given, and what their titles say."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

from sb3_angc.hyperparams.tasks import TASKS
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.plots import correct, normalized_scores, plot, shown_results

module = pytest.importorskip("rl_zoo3.plots.plot_from_file", reason="plots need the extra 'zoo'")
NAMES = ["CartPole-v1", "Unknown-v0", "Acrobot-v1"]


class Recorder:
    """Stands for rliable: returns what it is given."""

    @staticmethod
    def get_interval_estimates(scores: Any, *more: Any, **settings: Any) -> Any:
        return scores, more, settings

    create_performance_profile = get_interval_estimates


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.pkl"
    path.write_bytes(pickle.dumps({**{name: {} for name in NAMES}, "results_table": {}}))
    return path


def test_scores_are_between_random_and_solved(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rly", Recorder)
    random, solved = (
        [getattr(TASKS[name], kind) for name in ("CartPole-v1", "Acrobot-v1")]
        for kind in ("random_return", "threshold")
    )
    runs = np.array([[random[0], 7.0, solved[1]], [solved[0], 8.0, random[1]]])
    expected = np.array([[0.0, 7.0, 1.0], [1.0, 8.0, 0.0]])
    curves = np.stack([runs, runs + 1], axis=2)
    with normalized_scores(["-i", str(saved)]):
        scores, more, settings = module.rly.get_interval_estimates({"a": runs, "b": runs[:1]}, 3, reps=2)
        np.testing.assert_allclose(scores["a"], expected, atol=1e-12)
        np.testing.assert_allclose(scores["b"], expected[:1], atol=1e-12)
        assert (more, settings) == ((3,), {"reps": 2})
        pairs, *_ = module.rly.get_interval_estimates({"a, b": (runs, runs)})
        np.testing.assert_allclose(pairs["a, b"], [expected, expected], atol=1e-12)
        found, *_ = module.rly.get_interval_estimates({"a": curves})
        np.testing.assert_allclose(found["a"][:, :, 0], expected, atol=1e-12)
        assert found["a"][1, 0, 1] == pytest.approx(1 + 1 / (solved[0] - random[0]))
        with warnings.catch_warnings(record=True) as told:
            for name in NAMES:
                warnings.warn(f"{name} not found for normalizing scores, ...", stacklevel=1)
        assert [str(each.message).split()[0] for each in told] == ["Unknown-v0"]
    assert module.rly is Recorder


def test_profiles_are_of_scores_normalized_once(saved: Path) -> None:
    """
    Where scores are 0 and 1, all runs are above -0.5, half above 0.5 and none above 1.5. (Normalized twice,
    CartPole's are both about 0.)
    """
    pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")
    task = TASKS["CartPole-v1"]
    runs = np.array([[task.random_return], [task.threshold]])
    saved.write_bytes(pickle.dumps({"CartPole-v1": {}, "results_table": {}}))
    with normalized_scores(["-i", str(saved)]):
        profiles, _ = module.rly.create_performance_profile({"a": runs}, np.array([-0.5, 0.5, 1.5]), reps=5)
    np.testing.assert_allclose(profiles["a"], [1.0, 0.5, 0.0])


def test_environments_are_those_that_are_shown(saved: Path, tmp_path: Path) -> None:
    base = ["-i", str(saved.with_suffix("")), "-r", "-iqm"]
    assert list(shown_results(base)) == NAMES
    assert list(shown_results([*base, "--keep-envs", NAMES[2], NAMES[0], "-vs"])) == [NAMES[0], NAMES[2]]
    assert list(shown_results([*base, "-skip", NAMES[0]])) == NAMES[1:]
    assert shown_results(["-i", str(tmp_path / "nothing")]) == {}


def results(runs: dict[str, dict[str, int]]) -> dict[str, Any]:
    """As ``all_plots`` saves them, of so many runs: of one run, the last evaluation is a single number."""
    saved: dict[str, Any] = {"results_table": {"headers": ["score"], "value_matrix": [["1"]]}}
    for env, by_algorithm in runs.items():
        saved[env] = {}
        for name, number in by_algorithm.items():
            scores = 100.0 * np.arange(3)[:, None] + np.arange(number)
            saved[env][name] = {
                "timesteps": np.arange(3),
                "mean": scores.mean(axis=1),
                "std_error": scores.std(axis=1),
                "last_evals": scores[-1] if number > 1 else np.float64(scores[-1, 0]),
                "mean_per_eval": scores,
            }
    return saved


@pytest.mark.parametrize(
    ("runs", "more", "told"),
    [
        ({"A": {"angc": 3, "dqn": 2}, "B": {"angc": 2, "dqn": 4}}, [], None),
        ({"A": {"angc": 2, "dqn": 2}, "B": {"angc": 1, "dqn": 2}}, [], ("angc", "B")),
        ({"A": {"angc": 2, "dqn": 2}, "B": {"dqn": 2}}, [], ("angc", "B")),
        ({"A": {"angc": 2, "dqn": 2}, "B": {"angc": 1, "dqn": 2}}, ["--skip-keys", "angc"], None),
        ({"A": {"angc": 2, "dqn": 2}, "B": {"angc": 1, "dqn": 2}}, ["--keep-keys", "dqn"], None),
        ({"A": {"angc": 2, "dqn": 2}, "B": {"angc": 1, "dqn": 2}}, ["-skip", "B"], None),
        ({"A": {"angc": 2}, "B": {"angc": 2}}, ["--merge", "other.pkl"], ("dqn", "B")),
    ],
)
def test_an_algorithm_with_one_run_on_a_task_is_told(
    runs: dict[str, dict[str, int]],
    more: list[str],
    told: tuple[str, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rliable", reason="rliable is in the extra 'zoo'")
    monkeypatch.chdir(tmp_path)
    Path("saved.pkl").write_bytes(pickle.dumps(results(runs)))
    Path("other.pkl").write_bytes(pickle.dumps(results({"A": {"dqn": 2}, "B": {"dqn": 1}})))
    command = ["plot_from_file", "-i", "saved", "-r", "--skip-timesteps", *more, "--figures", "figures"]
    if told is None:
        assert main(command) == 0
        assert Path("figures/plot_from_file-1.png").exists()
        return
    algorithm, env = told
    with pytest.raises(SystemExit, match=rf"^error: -r .* {algorithm} has not two runs .* on {env}: [^\n]*$"):
        main(command)


def test_figures_of_an_earlier_call_stay(tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    def draw_two() -> None:
        plt.close("all")
        plt.figure("one")
        plt.figure("two")

    for names in ({1, 2}, {1, 2, 3, 4}):
        plot(draw_two, "all_plots", [], tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {f"all_plots-{name}.png" for name in names}
        (tmp_path / "all_plots-1.png").write_text("mine")
    assert (tmp_path / "all_plots-1.png").read_text() == "mine"
    plt.close("all")


def test_titles_name_what_is_shown() -> None:
    from matplotlib.figure import Figure

    for label, title, expected in (
        ("Results MountainCar-v0", "MountainCarContinuous-v0", "MountainCar-v0"),
        ("Sensitivity plot", "PyBullet envs", "Last evaluations"),
        ("Sensitivity box plot", "Sensitivity box plot", "Sensitivity box plot"),
    ):
        figure = Figure()
        figure.set_label(label)
        axes = figure.subplots()
        axes.set_title(title)
        correct(figure)
        assert axes.get_title() == expected


def test_a_label_does_not_lie_on_the_numbers() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(20, 2))
    figure.subplots(1, 2)
    text = figure.text(0.4, 0.02, "Normalized Score")
    correct(figure)
    figure.draw_without_rendering()
    lowest = min(label.get_window_extent().y0 for axes in figure.axes for label in axes.get_xticklabels())
    assert text.get_window_extent().y1 < lowest
