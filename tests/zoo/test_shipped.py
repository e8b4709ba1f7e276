"""``enjoy`` and ``record_video`` show the agent of the package where nothing was trained."""

from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")

from sb3_angc.agents import agent_record
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.shipped import with_shipped_agent

ENV = "MountainCar-v0"
SHOWN = ["--algo", "angc", "--env", ENV]


def test_enjoy_shows_it_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enjoy", *SHOWN, "-f", str(tmp_path), "--no-render", "-n", "400"]) == 0
    printed = capsys.readouterr().out
    record = agent_record(ENV)
    assert f"{tmp_path} has no angc on {ENV}: this is the agent that comes with sb3_angc, " in printed
    assert f"mean return {record['mean_return']:.1f} (seed 0, 100 episodes)" in printed
    [mean] = [line for line in printed.splitlines() if line.startswith("Mean reward: ")]
    assert min(record["returns"]) <= float(mean.split()[2]) <= max(record["returns"])
    assert not list(tmp_path.iterdir())


def test_record_video_films_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record_video", *SHOWN, "-n", "20"]) == 0
    assert main(["record_video", *SHOWN, "-n", "20", "-o", "films"]) == 0
    for folder in ("videos", "films"):
        [film] = (tmp_path / folder).glob("*.mp4")
        assert film.name.startswith(f"final-model-angc-{ENV}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--algo", "dqn", "--env", ENV],
        ["--algo", "dqn", "--env", ENV, "--load-best"],
        [*SHOWN, "-f", "trained", "--exp-id", "3"],
        [*SHOWN, "-f", "trained", "--load-best"],
        [*SHOWN, "-f", "trained", "--load-checkpoint", "100"],
        ["--algo", "angc", "--env", "Taxi-v3", "-f", "trained", "--exp-id", "-1"],
        [*SHOWN, "-f", "trained"],
    ],
    ids=" ".join,
)
def test_what_was_asked_for_is_left_as_it_is(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trained" / "angc" / f"{ENV}_1").mkdir(parents=True)
    folder = tmp_path / "empty"
    folder.mkdir()
    assert with_shipped_agent("enjoy", arguments, folder) == arguments
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "of_a_run",
    [["--exp-id", "1"], ["--exp-id", "-1"], ["--load-best"], ["--load-checkpoint", "100"]],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_a_file_of_a_run_where_there_is_none(
    command: str, of_a_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the agent of the package is shown, nor is the Zoo's hub asked."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=rf"^error: rl-trained-agents has no angc on {ENV}: train one, [^\n]*$"
    ):
        main([command, *SHOWN, *of_a_run, "--no-render"])


@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_what_is_nowhere_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"^error: .* has no angc on Taxi-v3: train one, .* CartPole-v1, [^\n]*$"
    ):
        main([command, "--algo", "angc", "--env", "Taxi-v3", "-f", str(tmp_path), "--no-render"])
