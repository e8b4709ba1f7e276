"""``package_agent`` writes what the Hub's own library reads, and what ``load_safe`` loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")

import huggingface_hub
import yaml
from huggingface_hub import ModelCard

from sb3_angc import ANGC
from sb3_angc.zoo.__main__ import main
from sb3_angc.zoo.package import EVALUATION_SEED_OFFSET

ENV = "CartPole-v1"
TRAIN = ["--algo", "angc", "--env", ENV, "-n", "300", "--seed", "7", "--eval-freq", "-1"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "logs"
    assert main(["train", *TRAIN, "-f", str(folder), "-params", "learning_starts:100", "batch_size:16"]) == 0
    return folder


def package(logs: Path, output: Path, *more: str) -> int:
    return main(["package_agent", "--env", ENV, "-f", str(logs), "-o", str(output), "-n", "5", *more])


def test_the_folder_is_the_agent(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", no_network)
    folder = tmp_path / "package"
    assert package(logs, folder, "--repo-id", "someone/angc-CartPole-v1") == 0
    assert f"hf upload someone/angc-CartPole-v1 {folder} .\n" in capsys.readouterr().out
    names = {"README.md", "agent.safetensors", "config.json", "results.json"}
    assert {path.name for path in folder.iterdir()} == names

    trained = ANGC.load(logs / "angc" / f"{ENV}_1" / f"{ENV}.zip", device="cpu")
    loaded = ANGC.load_safe(folder, env=ENV, device="cpu")
    for name, value in trained.policy.state_dict().items():
        assert value.equal(loaded.policy.state_dict()[name]), name
    # The scores are those of the agent that is loaded, in the Zoo's environments of that seed.
    results = json.loads((folder / "results.json").read_text())
    env = DummyVecEnv([lambda: Monitor(gym.make(ENV))])
    env.seed(7 + EVALUATION_SEED_OFFSET)
    returns, _ = evaluate_policy(loaded, env, 5, return_episode_rewards=True)
    assert results["returns"] == returns
    assert results["mean_reward"] == pytest.approx(np.mean(returns))
    config = json.loads((folder / "config.json").read_text())
    assert (config["env_id"], config["seed"], config["timesteps"]) == (ENV, 7, 300)
    assert config["settings"]["batch_size"] == 16
    assert config["command"] == f"python -m sb3_angc.zoo train --algo angc --env {ENV} -n 300 --seed 7"


def test_the_hub_reads_the_card(logs: Path, tmp_path: Path) -> None:
    """As its library parses a card: the scores of the page are those that were measured."""
    folder = tmp_path / "package"
    assert package(logs, folder, "--repo-id", "someone/agent") == 0
    card = ModelCard.load(folder / "README.md")  # raises where metadata is not what the Hub takes
    results = json.loads((folder / "results.json").read_text())
    [result] = card.data.eval_results
    assert card.data.model_name == "ANGC"
    assert (result.dataset_name, result.task_type) == (ENV, "reinforcement-learning")
    assert result.metric_value == f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}"
    assert card.data.library_name == "stable-baselines3"
    assert {"angc", ENV, "reinforcement-learning"} <= set(card.data.tags)
    # What the Hub indexes of it is what its format says.
    index = yaml.safe_load(card.content.split("---")[1])["model-index"]
    assert huggingface_hub.repocard_data.model_index_to_eval_results(index) == ("ANGC", [result])
    assert f"{results['mean_reward']:.2f}" in card.text
    for part in ('ANGC.load_safe(snapshot_download("someone/agent"), env="CartPole-v1")', "--seed 7"):
        assert part in card.text
    assert "{" not in card.text


def test_a_film_goes_along(logs: Path, tmp_path: Path) -> None:
    films = logs / "angc" / f"{ENV}_1" / "videos"
    films.mkdir()
    try:
        (films / "final-model.mp4").write_bytes(b"a film")
        assert package(logs, tmp_path / "package") == 0
    finally:
        shutil.rmtree(films)
    assert (tmp_path / "package" / "replay.mp4").read_bytes() == b"a film"
    assert "replay.mp4" in (tmp_path / "package" / "README.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--exp-id", "9"], f"{ENV}_9 folder was not found"),
        (["--load-best"], "No model found"),
        (["-n", "0"], "--episodes 0 is not allowed: it must be at least 1"),
        (["--env", "NoSuchTask-v0"], "--env NoSuchTask-v0 is not allowed"),
    ],
)
def test_what_cannot_be_packaged_is_told(
    more: list[str], message: str, logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        package(logs, tmp_path / "package", *more)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "package").exists()


def test_nothing_is_overwritten(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        package(logs, tmp_path)
    assert "it must be a new or an empty folder" in capsys.readouterr().err


def test_statistics_of_vec_normalize_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    assert main(["train", *TRAIN, "-f", str(logs), "-params", "normalize:True", "learning_starts:100"]) == 0
    with pytest.raises(SystemExit):
        package(logs, tmp_path / "package")
    assert "VecNormalize's statistics are a pickle" in capsys.readouterr().err


def test_a_folder_without_an_agent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"agent\.safetensors"):
        ANGC.load_safe(tmp_path)
