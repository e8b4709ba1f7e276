"""``package_agent`` writes what the Hub's own library reads, and what ``load_safe`` loads."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")

import huggingface_hub
import yaml
from huggingface_hub import ModelCard

from sb3_angc import ANGC
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
from sb3_angc.zoo.__main__ import main

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
    assert loaded.buffer_size == trained.buffer_size == 100_000
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
    assert config["command"] == (
        f"python -m sb3_angc.zoo train --algo angc --env {ENV} -n 300 --seed 7 --eval-freq -1 "
        "-params batch_size:16 learning_starts:100"
    )
    assert f"```sh\n{config['command']}\n```" in (folder / "README.md").read_text()


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


@pytest.mark.parametrize("more", [[], ["--load-best"]], ids=str)
def test_the_newest_film_of_the_agent_goes_along(more: list[str], logs: Path, tmp_path: Path) -> None:
    """Not one of another checkpoint, nor of another environment beside it."""
    run = tmp_path / "angc" / f"{ENV}_1"
    shutil.copytree(logs / "angc" / run.name, run)
    shutil.copy(run / f"{ENV}.zip", run / "best_model.zip")
    films = run / "videos"
    films.mkdir()
    ours, others = ("best-model", "final-model") if more else ("final-model", "best-model")
    for age, name in enumerate(
        [
            f"checkpoint-200-angc-{ENV}-step-0-to-step-9",
            f"{others}-angc-{ENV}-step-0-to-step-9",
            f"{ours}-angc-Acrobot-v1-step-0-to-step-9",
            f"{ours}-angc-{ENV}-step-0-to-step-9",
            f"{ours}-angc-{ENV}-step-0-to-step-5",
        ]
    ):
        film = films / f"{name}.mp4"
        film.write_text(name)
        os.utime(film, (100 - age, 100 - age))  # the first is the newest
    assert package(tmp_path, tmp_path / "package", *more) == 0
    assert (tmp_path / "package" / "replay.mp4").read_text() == f"{ours}-angc-{ENV}-step-0-to-step-9"
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


def returns_of(folder: Path) -> list[float]:
    returns: list[float] = json.loads((folder / "results.json").read_text())["returns"]
    return returns


@pytest.mark.parametrize(
    ("more", "told", "is_kind"),
    [
        (["env_kwargs:dict(sutton_barto_reward=True)"], True, False),
        (["env_kwargs:{}", "--env-kwargs", "sutton_barto_reward:True"], True, False),
        (
            ["env_kwargs:dict(sutton_barto_reward=True)", "--env-kwargs", "sutton_barto_reward:False"],
            False,
            True,
        ),
    ],
)
def test_arguments_of_the_environment(more: list[str], told: bool, is_kind: bool, tmp_path: Path) -> None:
    """This one of CartPole's takes 1 for the fall instead of giving 1 for each step."""
    logs, folder = tmp_path / "logs", tmp_path / "package"
    assert main(["train", *TRAIN, "-f", str(logs), "-params", "learning_starts:400", *more]) == 0
    assert package(logs, folder) == 0
    returns = returns_of(folder)
    assert min(returns) > 1 if is_kind else set(returns) == {-1.0}
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["env_kwargs"] == {"sutton_barto_reward": told}


def test_hindsight(tmp_path: Path) -> None:
    gym.register("Goals-v0", entry_point="tests.envs:GoalCounter", max_episode_steps=10)
    logs, folder = tmp_path / "logs", tmp_path / "package"
    train = ["train", "--algo", "angc", "--env", "Goals-v0", "-n", "40", "-f", str(logs), "--eval-freq", "-1"]
    try:
        assert main([*train, "-params", "replay_buffer_class:'HerReplayBuffer'", "learning_starts:20"]) == 0
        assert (
            main(["package_agent", "--env", "Goals-v0", "-f", str(logs), "-o", str(folder), "-n", "2"]) == 0
        )
        assert returns_of(folder) == [0.0, 0.0]  # a goal that is never reached
        loaded = ANGC.load_safe(folder, env="Goals-v0", device="cpu")
        assert isinstance(loaded.replay_buffer, HerReplayBuffer)
    finally:
        del gym.registry["Goals-v0"]


def test_the_command_of_the_card_trains_the_agent_again(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(
        f"{ENV}: {{n_timesteps: 300, policy: MlpPolicy, learning_starts: 100, frame_stack: 2}}"
    )
    first, again = tmp_path / "logs", tmp_path / "again"
    env = ["--env", ENV, "--env-kwargs", "sutton_barto_reward:True", "--gym-packages", "tests.envs"]
    changed = "policy_kwargs:dict(net_arch=[8, 8], optimizer_class=th.optim.SGD, circuit='paper')"
    told = ["-conf", str(settings), "-params", changed, "gamma:0.9"]
    assert main(["train", "--algo", "angc", *env, "-f", str(first), *told]) == 0
    assert package(first, tmp_path / "package") == 0
    card = ModelCard.load(tmp_path / "package" / "README.md").text
    [command] = re.findall(r"^```sh\n(python -m sb3_angc\.zoo train .*)\n```$", card, re.MULTILINE)
    assert main([*shlex.split(command)[3:], "-f", str(again)]) == 0
    one, other = (
        ANGC.load(logs / "angc" / f"{ENV}_1" / f"{ENV}.zip", device="cpu") for logs in (first, again)
    )
    for name, value in one.policy.state_dict().items():
        assert value.equal(other.policy.state_dict()[name]), name
    assert one._n_updates == other._n_updates > 0


def test_the_card_loads_what_is_not_of_the_id_alone(tmp_path: Path) -> None:
    """Its code is run, on the folder that it would fetch."""
    logs, folder = tmp_path / "logs", tmp_path / "package"
    assert main(["train", *TRAIN, "-f", str(logs), "-params", "frame_stack:2", "learning_starts:400"]) == 0
    assert package(logs, folder) == 0
    card = ModelCard.load(folder / "README.md").text
    assert "made with `frame_stack`, which `config.json` tells." in card
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code = code.replace('snapshot_download("YOUR_NAME/angc-CartPole-v1")', repr(str(folder)))
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["model"].observation_space.shape == (8,)


def test_nothing_is_overwritten(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text("mine")
    for output in (tmp_path, mine):
        with pytest.raises(SystemExit):
            package(logs, output)
        told = f"--output {output} is not allowed: it must be a new or an empty folder\n"
        assert capsys.readouterr().err.endswith(told)
    with pytest.raises(SystemExit):
        package(logs, mine / "folder")
    assert capsys.readouterr().err.endswith(f"--output {mine / 'folder'} is not allowed: Not a directory\n")
    assert mine.read_text() == "mine"


def test_the_command_that_uploads_is_quoted(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my pack"
    assert package(logs, folder, "--repo-id", "me/agent") == 0
    [command] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  hf upload")]
    assert shlex.split(command) == ["hf", "upload", "me/agent", str(folder), "."]


def test_statistics_of_vec_normalize_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    assert main(["train", *TRAIN, "-f", str(logs), "-params", "normalize:True", "learning_starts:100"]) == 0
    with pytest.raises(SystemExit):
        package(logs, tmp_path / "package")
    assert "VecNormalize's statistics are a pickle" in capsys.readouterr().err


def test_a_folder_without_an_agent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"agent\.safetensors"):
        ANGC.load_safe(tmp_path)
