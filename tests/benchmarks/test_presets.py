"""The settings of the studies that compare methods: what is compared with what."""

import importlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("minigrid", reason="MiniGrid is in the extra 'bench'")

from benchmarks.runner.cell import make_manager
from benchmarks.runner.study import read_study
from sb3_angc.zoo import register

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"


def settings_of(study: str, environment: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Settings by label, as RL Zoo reads them."""
    register()
    cells = [cell for cell in read_study(STUDIES / study).cells if cell.environment == environment]
    for package in cells[0].gym_packages:
        importlib.import_module(package)
    return {
        cell.label: make_manager(cell, str(folder)).read_hyperparameters()[0]
        for cell in cells
        if cell.seed == cells[0].seed
    }


def test_both_methods_of_the_sparse_study_share_their_settings(tmp_path: Path) -> None:
    for environment in ("DeepSea-v0", "FourRooms-v0"):
        settings = settings_of("sparse.yml", environment, tmp_path)
        shared = set(settings["dqn"]) - {"policy_kwargs"}
        assert {"gamma", "learning_rate", "exploration_final_eps", "n_timesteps"} < shared
        for name in shared:
            assert settings["angc"][name] == settings["dqn"][name] == settings["instrumental only"][name]
        net_arch = {label: each["policy_kwargs"]["net_arch"] for label, each in settings.items()}
        assert net_arch["angc"]["controller"] == net_arch["dqn"]


@pytest.mark.parametrize("environment", ["CartPole-v1", "MountainCar-v0", "LunarLander-v3", "Acrobot-v1"])
def test_dqn_of_the_same_settings_lacks_what_is_not_dqn(environment: str, tmp_path: Path) -> None:
    [angc] = settings_of("control.yml", environment, tmp_path).values()
    [dqn] = settings_of("dqn_same_settings.yml", environment, tmp_path).values()
    angc_net = angc.pop("policy_kwargs")["net_arch"]
    [(key, dqn_net)] = dqn.pop("policy_kwargs").items()
    assert (key, dqn_net) == ("net_arch", angc_net["controller"] if isinstance(angc_net, dict) else angc_net)
    only_angc = {"alpha_epistemic", "epistemic_fraction", "double_q", "compile_updates", "max_grad_norm"}
    assert angc.pop("replay_buffer_kwargs", {"cut_at_random_choices": False}) == {
        "cut_at_random_choices": False
    }
    assert {name: value for name, value in angc.items() if name not in only_angc} == dqn


def test_nothing_is_set_in_the_study_of_defaults_but_the_buffer_of_hindsight(tmp_path: Path) -> None:
    pytest.importorskip("minatar", reason="MinAtar is the extra 'minatar'")
    budgets = {}
    for environment in {cell.environment for cell in read_study(STUDIES / "defaults.yml").cells}:
        settings = settings_of("defaults.yml", environment, tmp_path)
        assert set(settings) == {"angc defaults", "dqn defaults", "dqn practice"}
        needed = {"n_timesteps", "policy"}
        if environment.startswith("BitFlipping"):
            needed.add("replay_buffer_class")
        assert set(settings["angc defaults"]) == {*needed, "compile_updates"}
        assert set(settings["dqn defaults"]) == needed
        [budgets[environment]] = {float(each["n_timesteps"]) for each in settings.values()}
    assert len(budgets) == 12
    assert sum(budgets.values()) == 1.06e6
