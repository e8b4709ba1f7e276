"""The trained agents that come with the package are what their records say."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
pytest.importorskip("yaml", reason="pyyaml is in the extra 'extra'")

from sb3_angc import ANGC
from sb3_angc.agents import FOLDER, RECORD, agent_folder, agent_record, shipped_agents
from sb3_angc.angc.tuned import make_tuned_env

SHIPPED = shipped_agents()
EPISODES = 5
LARGEST = 1_000_000  # bytes
SMALLER = {"MinAtar/Breakout-v1": 48}  # with the tuned layers the file has 2.3 MB
# Arguments that are no tuned settings, and a limit that acts on neither
OTHERS = (
    *("self", "policy", "env", "seed", "device", "compile_updates", "_init_setup_model", "max_grad_norm"),
    *("stats_window_size", "tensorboard_log", "verbose"),
)
PACKAGES = {"LunarLander-v3": "Box2D", "MinAtar/Breakout-v1": "minatar"}


def test_each_folder_is_an_agent() -> None:
    folders = [path for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(folders) == sorted(agent_folder(name) for name in SHIPPED)
    assert {"CartPole-v1", "MountainCar-v0"} <= set(SHIPPED)
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"agent.safetensors", RECORD}
        assert (folder / "agent.safetensors").stat().st_size < LARGEST


@pytest.mark.parametrize("name", SHIPPED)
def test_reaches_the_recorded_score(name: str) -> None:
    """On other episodes than those of the record, within four standard errors of both."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"{name} needs an extra")
    record = agent_record(name)
    agent = ANGC.load_safe(agent_folder(name), device="cpu", buffer_size=1)
    env = Monitor(make_tuned_env(name))
    env.reset(seed=77)
    returns, _ = evaluate_policy(agent, env, EPISODES, deterministic=True, return_episode_rewards=True)
    error = record["std_return"] * np.sqrt(1 / EPISODES + 1 / record["episodes"])
    allowed = 4 * error + 0.01 * abs(record["mean_return"])
    assert abs(float(np.mean(returns)) - record["mean_return"]) <= allowed


@pytest.mark.parametrize("name", SHIPPED)
def test_record_says_how_the_agent_was_made(name: str) -> None:
    record = agent_record(name)
    assert record["env_id"] == name
    command = f"python -m tools.make_agent --env {name} --seed {record['seed']}"
    assert record["command"] == command + (f" --net-arch {SMALLER[name]}" if name in SMALLER else "")
    assert record["steps"] == record["settings"]["n_timesteps"]
    assert record["seed"] in range(10)  # a reporting seed
    assert re.fullmatch("[0-9a-f]{40}", record["commit"]["commit"])
    assert record["commit"]["modified"] is False
    assert {"sb3_angc", "torch", "stable_baselines3", "gymnasium"} <= set(record["versions"])
    assert len(record["returns"]) == record["episodes"] == 100
    assert record["mean_return"] == pytest.approx(np.mean(record["returns"]), abs=0.01)
    assert record["std_return"] == pytest.approx(np.std(record["returns"]), abs=0.01)


@pytest.mark.parametrize("name", SHIPPED)
def test_has_the_tuned_settings(name: str) -> None:
    """Of the file itself: a record of before some defaults changed says less than ``angc.yml`` does now."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"{name} needs an extra")
    agent = ANGC.load_safe(agent_folder(name), device="cpu", buffer_size=1)
    tuned = ANGC.tuned(name, device="cpu", buffer_size=1)
    if name in SMALLER:
        tuned.policy_kwargs["net_arch"] = [SMALLER[name]]
    for argument in inspect.signature(ANGC.__init__).parameters:
        if argument not in OTHERS:
            ours, theirs = (getattr(model, argument) for model in (agent, tuned))
            if argument == "replay_buffer_kwargs" and "cut_at_random_choices" not in ours:
                assert not theirs.pop("cut_at_random_choices", False)  # made when none were cut
            assert ours == theirs or repr(ours) == repr(theirs), argument


def test_no_agent_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"env_id='Taxi-v3' has no trained agent .*: choose one of .*CartPole"
    ):
        agent_folder("Taxi-v3")


def test_the_command_makes_an_agent_and_its_record(tmp_path: Path, capsys: Any) -> None:
    """Too short to learn anything: the file is the agent, and the returns are its own."""
    pytest.importorskip("rl_zoo3", reason="the versions of a record are those of the extra 'zoo', too")
    from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
    from tools.make_agent import main

    command = ["--env", "MountainCar-v0", "--seed", "3", "--steps", "32", "--net-arch", "8", "4"]
    assert main([*command, "--episodes", "2", "--output", str(tmp_path)]) == 0
    folder = tmp_path / "MountainCar-v0"
    record = json.loads((folder / RECORD).read_text())
    assert "mean return -200.0 +/- 0.0 over 2 episodes" in capsys.readouterr().out
    assert record["command"] == "python -m tools.make_agent " + " ".join(command)
    assert (record["seed"], record["steps"], record["returns"]) == (3, 32, [-200.0, -200.0])
    agent = ANGC.load_safe(folder, device="cpu")
    assert (agent.seed, agent.num_timesteps) == (3, 32)
    assert agent.policy.net_arch == record["settings"]["policy_kwargs"]["net_arch"] == [8, 4]
    assert EVALUATION_SEED_OFFSET > 100_000
