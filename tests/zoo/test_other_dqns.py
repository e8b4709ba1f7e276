"""SBX's DQN and sb3-contrib's QR-DQN in the Zoo's commands and in a study."""

import json
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import optuna
import yaml
from rl_zoo3 import exp_manager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.utils import ALGOS

from benchmarks.__main__ import main as benchmarks
from sb3_angc.zoo import register
from sb3_angc.zoo.__main__ import main

ENV = "CartPole-v1"
STUDY = """
name: tiny
algorithms: [{algorithm: qrdqn}, {algorithm: sbx_dqn, label: sbx dqn}]
environments: [CartPole-v1]
seeds: 1
n_timesteps: 1300
evaluations: 2
evaluation_episodes: 2
last_policy_episodes: 2
"""


def test_they_train_and_play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sbx", reason="SBX is the extra 'sbx'")
    where = ["--env", ENV, "-f", str(tmp_path)]
    assert main(["train", "--algo", "sbx_dqn", *where, "-n", "300", "--eval-freq", "-1"]) == 0
    run = tmp_path / "sbx_dqn" / f"{ENV}_1"
    settings = yaml.load((run / ENV / "config.yml").read_text(), Loader=yaml.UnsafeLoader)
    path = Path(exp_manager.__file__).parent / "hyperparams" / "dqn.yml"
    assert dict(settings) == yaml.safe_load(path.read_text())[ENV]
    assert main(["enjoy", "--algo", "sbx_dqn", *where, "-n", "100", "--no-render"]) == 0
    assert "Mean reward: " in capsys.readouterr().out


def test_they_join_a_study(tmp_path: Path) -> None:
    pytest.importorskip("sbx", reason="SBX is the extra 'sbx'")
    study = tmp_path / "tiny.yml"
    study.write_text(STUDY)
    assert benchmarks(["run", str(study), "--output", str(tmp_path / "out"), "--jobs", "1"]) == 0
    for label in ("qrdqn", "sbx-dqn"):
        result = json.loads((tmp_path / "out" / f"{label}--{ENV}--0.json").read_text())
        assert result["status"] == "done"
        assert len(result["last_policy"]["returns"]) == 2
        assert result["seconds"]["train"] > 0
        assert ("jax" in result["versions"]) == (label == "sbx-dqn")


def test_their_trials_are_sampled_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DQN's, whether SBX is installed or not: it is imported where an agent is made."""
    for known in (ALGOS, HYPERPARAMS_SAMPLER, HYPERPARAMS_CONVERTER):
        monkeypatch.setitem(known, "sbx_dqn", None)  # to be put back
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: True)
    register()
    trial = optuna.create_study().ask()
    sampled = HYPERPARAMS_SAMPLER["sbx_dqn"](trial, 0, 1, {"using_her_replay_buffer": False})
    stored = HYPERPARAMS_CONVERTER["sbx_dqn"](trial.params)
    assert stored == HYPERPARAMS_CONVERTER["dqn"](trial.params)
    assert stored["learning_rate"] == sampled["learning_rate"] == trial.params["learning_rate"]


def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(ALGOS, "sbx_dqn", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert main(["train", "--algo", "sbx_dqn", "--env", ENV]) == 2
    assert capsys.readouterr().err == "error: sbx_dqn is an extra, pip install 'sb3_angc[sbx]'\n"
