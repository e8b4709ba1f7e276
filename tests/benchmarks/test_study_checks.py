"""What is refused of a study before anything runs, besides what ``test_runner`` has."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("rich", reason="rich is in the extra 'bench'")

from benchmarks.__main__ import main
from benchmarks.runner.run import check_names, check_settings
from benchmarks.runner.study import read_study
from tests.benchmarks.test_runner import ENV, ROOT, study_file


def refusal(file: Path, tmp_path: Path, capsys: Any) -> str:
    """The one line with which a study is refused."""
    assert main(["run", str(file), "-o", str(tmp_path / "results")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert not (tmp_path / "results").exists()
    return str(line)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"environments": [ENV, ENV]}, f"environments: {ENV} is named twice"),
        ({"environments": {1: {"threshold": 1, "random_return": 0}}}, "environments: must be names, not 1"),
        ({"gym_packages": [""]}, "gym_packages: must be a list of names, not ['']"),
        ({"gym_packages": [".nothere"]}, "gym_packages: '.nothere' is no module"),
        *(
            ({"algorithms": [{"algorithm": "dqn", **method}]}, expected)
            for method, expected in (
                ({"label": None}, "label: must be text, not None: write it in quotes"),
                ({"label": False}, "label: must be text, not False: write it in quotes"),
                ({"label": ["a", "b"]}, "label: must be text, not ['a', 'b']"),
                ({"label": "a | b"}, "label: 'a | b' must be one line without '|' and '$'"),
                ({"label": "$a$"}, "label: '$a$' must be one line without '|' and '$'"),
                ({"label": "a\nb"}, r"label: 'a\nb' must be one line"),
                ({"preset": ""}, "preset: must name a settings file or a module, not ''"),
                ({"preset": ".nothere"}, "preset: '.nothere' is no module"),
                ({"preset": "benchmarks.runner"}, "has no attribute 'hyperparams'"),
            )
        ),
    ],
)
def test_a_bad_study_is_refused_in_one_line(
    changes: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refusal(study_file(tmp_path, **changes), tmp_path, capsys)


@pytest.mark.parametrize(
    ("twice", "line"),
    [("seeds: 2", 1), ("algorithms: []", 1), ("extra: {gamma: 0.9, tau: 1, gamma: 0.5}", 13)],
)
def test_a_key_that_stands_twice_is_refused(
    twice: str, line: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(tmp_path)
    file.write_text(file.read_text() + twice + "\n")
    key = "gamma" if "gamma" in twice else twice.partition(":")[0]
    assert f"the mapping in line {line} has the key '{key}' twice" in refusal(file, tmp_path, capsys)


def test_a_key_may_stand_in_what_is_merged_too() -> None:
    """As in this one, whose entries change what they merge."""
    read_study(ROOT / "benchmarks" / "studies" / "ladder.yml")


@pytest.mark.parametrize(
    ("preset", "reason"),
    [
        ("a: [", "ParserError"),
        ("", "AttributeError"),
        (f"{ENV}:", "TypeError"),
        ("Acrobot-v1: {policy: MlpPolicy}", "Hyperparameters not found for dqn-CartPole-v1"),
        (f"{ENV}: {{policy: MlpPolicy}}", "KeyError: 'n_timesteps'"),
    ],
)
def test_a_preset_without_settings_for_a_task_is_refused_in_one_line(
    preset: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "preset.yml"
    path.write_text(preset)
    method = {"algorithm": "dqn", "preset": str(path)}
    line = refusal(study_file(tmp_path, algorithms=[method], n_timesteps=None), tmp_path, capsys)
    assert f"preset: {path} gives no settings to dqn on {ENV}, it must map that name or 'default'" in line
    assert reason in line


def test_a_preset_is_found_from_the_clone_wherever_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    method = {"algorithm": "angc", "preset": "benchmarks/presets/tuned_angc.yml"}
    study = read_study(study_file(tmp_path, algorithms=[method]))
    check_names(study)
    check_settings(study)
