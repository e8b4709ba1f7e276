"""Saved runs go on exactly; files are whole, or refused with a reason."""

import errno
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_angc import ANGC
from sb3_angc.angc.policies import ANGCPolicy
from tests.agents import TINY
from tests.processes import in_a_fork

TOTAL = 400
SETTINGS: dict[str, Any] = {
    **TINY,
    "learning_rate": 1e-3,
    "exploration_fraction": 0.8,
    "target_update_interval": 10,
    "buffer_size": 300,
}


def make_env() -> DummyVecEnv:
    return DummyVecEnv([lambda: gym.make("CartPole-v1")])


class SaveEverything(BaseCallback):
    """Saves model, replay buffer and environment as `docs/resuming.md` shows it."""

    def __init__(self, folder: Path, at: int, and_die: bool = False) -> None:
        super().__init__()
        self.folder, self.at, self.and_die = folder, at, and_die

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == self.at:
            self.model.save(self.folder / "model")
            assert isinstance(self.model, ANGC)
            self.model.save_replay_buffer(self.folder / "buffer")
            (self.folder / "env.pkl").write_bytes(pickle.dumps(self.training_env))

    def _on_step(self) -> bool:
        if self.and_die and self.num_timesteps == self.at + 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return True


def resume(folder: str) -> None:
    """Goes on with a run that was killed; called in a process of its own."""
    env = pickle.loads((Path(folder) / "env.pkl").read_bytes())
    model = ANGC.load(Path(folder) / "model", env=env, force_reset=False, device="cpu")
    model.load_replay_buffer(Path(folder) / "buffer", truncate_last_traj=False)
    model.learn(TOTAL - model.num_timesteps, reset_num_timesteps=False)
    th.save((model.get_parameters(), model.exploration_rate, model._n_calls), Path(folder) / "result.pt")


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, th.Tensor):
        return th.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    died = in_a_fork(
        lambda: ANGC("MlpPolicy", make_env(), **SETTINGS).learn(
            TOTAL, SaveEverything(tmp_path, at=200, and_die=True)
        )
    )
    assert os.WTERMSIG(died) == signal.SIGKILL
    command = (
        "import torch; torch.set_num_threads(1);"
        f"from tests.saving.test_resuming import resume; resume({str(tmp_path)!r})"
    )
    subprocess.run([sys.executable, "-c", command], check=True, timeout=900)
    uninterrupted = ANGC("MlpPolicy", make_env(), **SETTINGS).learn(TOTAL)
    parameters, exploration_rate, n_calls = th.load(tmp_path / "result.pt")
    assert uninterrupted._n_updates > 50
    # Circuits, target, feedback, normalisation, epistemic maximum and the optimizers' moments
    assert equal(parameters, uninterrupted.get_parameters())
    assert (exploration_rate, n_calls) == (uninterrupted.exploration_rate, TOTAL)


def test_normalized_rewards_go_on_exactly(tmp_path: Path) -> None:
    """With the three parts of `VecNormalize` that `docs/resuming.md` names."""

    class SaveNormalized(SaveEverything):
        def _on_rollout_start(self) -> None:
            super()._on_rollout_start()
            env = self.training_env
            if self.num_timesteps == self.at and isinstance(env, VecNormalize):
                (self.folder / "env.pkl").write_bytes(pickle.dumps((env, env.venv, env.returns)))

    uninterrupted = ANGC("MlpPolicy", VecNormalize(make_env()), **SETTINGS)
    uninterrupted.learn(TOTAL, SaveNormalized(tmp_path, at=200))
    env, venv, returns = pickle.loads((tmp_path / "env.pkl").read_bytes())
    env.set_venv(venv)
    env.returns = returns
    model = ANGC.load(tmp_path / "model", env=env, force_reset=False, device="cpu")
    model.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    model.learn(TOTAL - model.num_timesteps, reset_num_timesteps=False)
    assert equal(model.get_parameters(), uninterrupted.get_parameters())


def recipe(total: int, every: int) -> str:
    """The script of `docs/resuming.md`, for a shorter run."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "resuming.md").read_text(encoding="utf-8")
    [script] = [
        part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "SaveEverything" in part
    ]
    return str(script).replace("50_000", str(total)).replace("10_000", str(every))


def test_the_script_of_the_page_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = recipe(total=1600, every=400)
    ends = []
    for name in ("uninterrupted", "killed"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "killed":
            killed = script.replace("return True", "return self.num_timesteps < 1500 or exit(7)")
            ran = subprocess.run([sys.executable, "-c", killed], timeout=900)
            assert ran.returncode == 7
        known: dict[str, Any] = {"__name__": "recipe"}
        exec(script, known)
        assert known["model"].num_timesteps == 1600
        ends.append(known["model"].get_parameters())
    assert (known["model"]._n_updates, ("env" in known)) == (150, True)  # that it went on from 1200
    assert equal(*ends)


def test_resuming_needs_the_random_states(tmp_path: Path) -> None:
    """The test above can fail: with a seed of its own a loaded run draws other numbers."""
    ANGC("MlpPolicy", make_env(), **SETTINGS).learn(100, SaveEverything(tmp_path, at=60))
    ends = []
    choices: list[dict[str, Any]] = [{}, {}, {"seed": 0}]
    for arguments in choices:
        env = pickle.loads((tmp_path / "env.pkl").read_bytes())
        loaded = ANGC.load(tmp_path / "model", env=env, force_reset=False, device="cpu", **arguments)
        loaded.load_replay_buffer(tmp_path / "buffer")
        np.random.rand(3)  # noqa: NPY002 -- whatever happens before training goes on
        loaded.learn(40, reset_num_timesteps=False)
        ends.append(loaded.policy.state_dict())
    assert equal(ends[0], ends[1])
    assert not equal(ends[0], ends[2])


def test_the_environment_of_a_loaded_agent_may_be_an_id(saved: tuple[ANGC, Path]) -> None:
    model, path = saved
    loaded = ANGC.load(path, env="CartPole-v1", device="cpu")
    assert loaded.get_env().envs[0].spec.id == "CartPole-v1"  # type: ignore[union-attr]
    assert loaded.learn(50, reset_num_timesteps=False).num_timesteps > model.num_timesteps
    with pytest.raises(ValueError, match=r"env='CartPol-v1' is not a registered environment: .*`CartPole`"):
        ANGC.load(path, env="CartPol-v1")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        ANGC.load(path, env="Acrobot-v1")


def test_saving_does_not_disturb_training(tmp_path: Path) -> None:
    ends = [
        ANGC("MlpPolicy", make_env(), **SETTINGS).learn(150, callback).policy.state_dict()
        for callback in (None, SaveEverything(tmp_path, at=100))
    ]
    assert equal(*ends)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[ANGC, Path]:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    path = tmp_path_factory.mktemp("saved") / "angc.zip"
    model.save(path)
    return model, path


def test_killed_while_saving_at_many_points(tmp_path: Path) -> None:
    models = [ANGC("CartPole-v1", **TINY) for _ in range(2)]
    path = tmp_path / "angc.zip"
    for number, model in enumerate(models):
        model.num_timesteps = number
        for parameter in model.policy.parameters():
            parameter.fill_(number)
    models[0].save(path)
    draws = np.random.default_rng(0)

    def save_for_ever() -> None:
        while True:
            for model in models:
                model.save(path)

    seen = set()
    for _ in range(25):
        child = os.fork()
        if child == 0:
            save_for_ever()
        time.sleep(draws.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = ANGC.load(path, device="cpu")
        assert all((parameter == loaded.num_timesteps).all() for parameter in loaded.policy.parameters())
        seen.add(loaded.num_timesteps)
    assert seen <= {0, 1}


@pytest.mark.parametrize("call", ["os.fsync", "shutil.copymode", "pathlib.Path.replace"])
def test_killed_at_each_stage_of_saving(call: str, saved: tuple[ANGC, Path], tmp_path: Path) -> None:
    model, path = saved
    path = tmp_path / "angc.zip"
    model.save(path)
    before = path.read_bytes()

    def save() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(call, lambda *args: os.kill(os.getpid(), signal.SIGKILL))
            model.save(path)

    assert os.WTERMSIG(in_a_fork(save)) == signal.SIGKILL
    assert path.read_bytes() == before
    model.save(path)  # what the dead process left is in nobody's way
    ANGC.load(path, device="cpu")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_file_cut_short(share: float, saved: tuple[ANGC, Path], tmp_path: Path) -> None:
    content = saved[1].read_bytes()
    path = tmp_path / "short.zip"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"short\.zip is not a complete file of SB3: it may have been cut"):
        ANGC.load(path)


def test_damaged_file(saved: tuple[ANGC, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(saved[1]) as archive:
        where = archive.getinfo("policy.pth").header_offset + 200
    content = bytearray(saved[1].read_bytes())
    content[where] ^= 1
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged: its checksum of 'policy\.pth' is wrong"):
        ANGC.load(path)


def test_file_of_another_algorithm(tmp_path: Path) -> None:
    DQN("MlpPolicy", "CartPole-v1", buffer_size=10, device="cpu").save(tmp_path / "dqn")
    with pytest.raises(ValueError, match="was not saved by ANGC: it has no alpha_epistemic"):
        ANGC.load(tmp_path / "dqn")


def test_file_of_a_newer_version(
    saved: tuple[ANGC, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sb3_angc.saving.resuming.FILE_FORMAT", 2)
    saved[0].save(tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="saved by a newer version of sb3_angc: its format is 2"):
        ANGC.load(tmp_path / "new")


def test_a_device_that_is_none_is_not_the_files_fault(saved: tuple[ANGC, Path]) -> None:
    with pytest.raises(RuntimeError, match=r"^Expected one of cpu, .* device string: foo"):
        ANGC.load(saved[1], device="foo")


def test_missing_file() -> None:
    with pytest.raises(FileNotFoundError):
        ANGC.load("nowhere/at_all")


@pytest.mark.parametrize("fault", ["other sizes", "not finite", "part missing", "cut short"])
def test_parameters_that_do_not_fit_leave_the_model_as_it_was(
    fault: str, saved: tuple[ANGC, Path], tmp_path: Path
) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(100)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    other = ANGC("CartPole-v1", **{**TINY, "seed": 1})
    parameters: Any = other.get_parameters()
    if fault == "other sizes":
        parameters = ANGC("CartPole-v1", **{**TINY, "policy_kwargs": {"net_arch": [16, 8]}}).get_parameters()
    elif fault == "not finite":
        other.policy.generator.bundles[-1].weight[0, 0] = th.nan
    elif fault == "part missing":
        del parameters["policy.optimizer"]
    else:
        parameters = str(tmp_path / "short.zip")
        Path(parameters).write_bytes(saved[1].read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"parameters|complete"):
        model.set_parameters(parameters)
    assert equal(before, model.policy.state_dict())
    model.learn(60, reset_num_timesteps=False)


def test_replay_buffer_that_does_not_fit_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(60)
    buffer = model.replay_buffer
    ANGC("Acrobot-v1", **TINY).save_replay_buffer(tmp_path / "other")
    model.save_replay_buffer(tmp_path / "short")
    (tmp_path / "short.pkl").write_bytes((tmp_path / "short.pkl").read_bytes()[:1000])
    (tmp_path / "text.pkl").write_bytes(pickle.dumps("text"))
    for name, message in (
        ("other", "its observation_space is"),
        ("short", "truncated"),
        ("text", "must inherit"),
    ):
        with pytest.raises(ValueError, match=message):
            model.load_replay_buffer(tmp_path / f"{name}.pkl")
        assert model.replay_buffer is buffer


@pytest.mark.filterwarnings("ignore:.*is ignored")
def test_replay_buffer_of_one_step_beside_n_steps(tmp_path: Path) -> None:
    """SB3 warns that ``n_steps`` is ignored there: what was saved then is loaded, as by DQN."""
    model = ANGC("CartPole-v1", replay_buffer_class=ReplayBuffer, **{**TINY, "n_steps": 3}).learn(60)
    model.save_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    assert model.replay_buffer is not None
    assert model.replay_buffer.size() == 60
    several = ANGC("CartPole-v1", **{**TINY, "n_steps": 3})
    with pytest.raises(ValueError, match="of returns of one step, and n_steps=3"):
        several.load_replay_buffer(tmp_path / "buffer")


def test_open_files_and_names_as_in_sb3(saved: tuple[ANGC, Path], tmp_path: Path) -> None:
    model = saved[0]
    memory = io.BytesIO()
    model.save(memory)
    memory.seek(0)
    assert equal(ANGC.load(memory, device="cpu").policy.state_dict(), model.policy.state_dict())
    model.save(tmp_path / "name")
    model.save(str(tmp_path / "name.v2"))
    (tmp_path / "folder.zip").mkdir()
    with pytest.warns(UserWarning, match=r"is a folder. Will save instead to .*folder\.zip_2"):
        model.save(tmp_path / "folder")
    with pytest.warns(UserWarning, match="does not exist. Will create it"):
        model.save(tmp_path / "new" / "name")
    (tmp_path / "link.zip").symlink_to(tmp_path / "new" / "name.zip")
    model.save(tmp_path / "link")
    assert (tmp_path / "link.zip").is_symlink()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"name.zip", "name.v2", "folder.zip", "folder.zip_2", "new", "link.zip"}


def test_loaded_error_weights_are_those_saved_and_not_mirrored_anew(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = ANGC("CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=100, device="cpu")
    model.save(tmp_path / "model")
    model.save_safe(tmp_path / "model")
    model.policy.save(str(tmp_path / "policy"))
    expected = model.policy.state_dict()
    policies = [
        ANGC.load(tmp_path / "model", device="cpu").policy,
        ANGC.load_safe(tmp_path / "model", device="cpu").policy,
        ANGCPolicy.load(str(tmp_path / "policy"), device="cpu"),
    ]
    for policy in policies:
        th.testing.assert_close(policy.state_dict(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy.optimizer.pth": None}, r"was not saved by ANGC: it has no policy\.optimizer\.pth"),
        ({"data": {"_file_format": "one"}}, "is damaged: it does not tell its format"),
        ({"data": {"gamma": "high"}}, "cannot be loaded|gamma"),
        ({"policy.pth": b"no tensors"}, "cannot be loaded"),
    ],
    ids=["member missing", "no format", "no number", "no tensors"],
)
def test_file_with_a_wrong_part(
    change: dict[str, Any], message: str, saved: tuple[ANGC, Path], tmp_path: Path
) -> None:
    path = tmp_path / "changed.zip"
    with zipfile.ZipFile(saved[1]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if isinstance(content, dict):
                content = json.dumps({**json.loads(old.read(name)), **content})
            if content is not None:
                new.writestr(name, content)
    with pytest.raises(ValueError, match=message):
        ANGC.load(path)


def test_disk_that_fails_while_saving(
    saved: tuple[ANGC, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        saved[0].save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_while_loading_a_replay_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no fault of the file keeps its kind; the model has the buffer that it had."""
    model = ANGC("CartPole-v1", **TINY).learn(60)
    model.save_replay_buffer(tmp_path / "buffer")
    buffer = model.replay_buffer

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stable_baselines3.common.off_policy_algorithm.load_from_pkl", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.load_replay_buffer(tmp_path / "buffer.pkl")
    assert model.replay_buffer is buffer
