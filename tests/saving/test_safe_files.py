"""Files that execute nothing: complete round trips, and malice in every part."""

import base64
import json
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.her import GoalSelectionStrategy
from torch import nn

from sb3_angc import ANGC, ANGCPolicy
from sb3_angc.angc.replay import SuccessorReplayBuffer
from sb3_angc.circuit import Activation
from sb3_angc.saving.safe_files import COUNTERS
from sb3_angc.saving.spaces import decode_space, encode_space
from tests.agents import TINY
from tests.envs import Parts, counter

pytest.importorskip("safetensors")


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:end]), data[end:]


def write(path: Path, header: Any, body: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    ANGC("CartPole-v1", **TINY).learn(100).save_safe(tmp_path / "agent")
    return tmp_path / "agent.safetensors"


def test_round_trip(tmp_path: Path) -> None:
    model = ANGC(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=LinearSchedule(2e-3, 1e-4, 0.7),
        train_freq=(3, "step"),
        n_steps=2,
        stats_window_size=7,
        learning_starts=50,
        policy_kwargs={
            "net_arch": {"controller": [16, 8], "generator": [12]},
            "activation_fn": nn.Tanh,
            "optimizer_class": th.optim.SGD,
            "optimizer_kwargs": {"momentum": 0.5},
            "circuit_kwargs": {"inference_steps": 3},
        },
        seed=3,
        device="cpu",
    ).learn(200)
    model.save_safe(tmp_path / "agent")
    loaded = ANGC.load_safe(tmp_path / "agent", env="CartPole-v1", device="cpu")
    for name, value in model.policy.state_dict().items():
        assert th.equal(value, loaded.policy.state_dict()[name]), name
    assert isinstance(loaded.policy.optimizer, th.optim.SGD)
    assert loaded.policy.optimizer.param_groups[0]["momentum"] == 0.5
    assert [loaded.lr_schedule(p) for p in (1, 0.5, 0)] == [model.lr_schedule(p) for p in (1, 0.5, 0)]
    assert (loaded.train_freq, loaded.n_steps, loaded._stats_window_size) == (model.train_freq, 2, 7)
    assert isinstance(loaded.replay_buffer, SuccessorReplayBuffer)
    for name in COUNTERS:
        assert getattr(loaded, name) == getattr(model, name)
    loaded.learn(100, reset_num_timesteps=False)
    assert loaded.num_timesteps == 201 + 102  # whole rollouts of 3 steps


def test_no_environment_and_other_arguments(saved: Path) -> None:
    loaded = ANGC.load_safe(saved, device="cpu", buffer_size=1, verbose=1)
    assert (loaded.buffer_size, loaded.verbose, loaded.env) == (1, 1, None)
    assert loaded.predict(np.zeros((5, 4), np.float32), deterministic=True)[0].shape == (5,)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        ANGC.load_safe(saved, env=gym.make("Acrobot-v1"), device="cpu")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"batch_size": -1},
            ValueError,
            r"batch_size=-1 is not allowed: it must be an integer of at least 1",
        ),
        ({"buffer_size": -1}, ValueError, r"buffer_size=-1 is not allowed"),
        ({"tau": 2, "buffer_size": 10}, ValueError, r"tau=2 is not allowed"),
        ({"env": "CartPole-v1"}, ValueError, r"Observation spaces do not match: Box"),
        ({"env": 5}, ValueError, r"env=5 is not allowed: it must be an environment"),
        ({"device": "foo"}, RuntimeError, r"device string: foo"),
        ({"bogus": 1}, TypeError, r".*unexpected keyword argument 'bogus'"),
        ({"policy": "MlpPolicy"}, TypeError, r".*multiple values for argument 'policy'"),
        ({"policy_kwargs": {"bogus": 1}}, ValueError, r"policy_kwargs=\{'bogus': 1\} is not allowed: got an"),
        (
            {"policy_kwargs": {"net_arch": [8]}},
            ValueError,
            r"its tensors are not those of the policy that policy_kwargs=\{'net_arch': \[8\]\} describes: ",
        ),
    ],
    ids=str,
)
def test_mistakes_of_the_caller_are_not_the_files(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Each is told as the constructor tells it."""
    ANGC("Acrobot-v1", **TINY).save_safe(tmp_path / "agent")
    with pytest.raises(error, match=message) as caught:
        ANGC.load_safe(tmp_path / "agent", **{"device": "cpu", **arguments})
    assert "safe file" not in str(caught.value)


def test_a_fault_of_the_file_stays_one_whatever_was_asked_for(saved: Path) -> None:
    header, body = header_of(saved)
    content = json.loads(header["__metadata__"]["sb3_angc"])
    content["settings"]["gamma"] = 7
    write(saved, {**header, "__metadata__": {"sb3_angc": json.dumps(content)}}, body)
    for arguments in ({}, {"device": "foo"}, {"batch_size": -1}, {"env": "CartPole-v1"}, {"buffer_size": 5}):
        with pytest.raises(
            ValueError, match=r"is not a safe file of ANGC that can be loaded: .*gamma=7 is not"
        ):
            ANGC.load_safe(saved, **arguments)


def test_schedule_of_a_function_is_stored_at_its_present_value(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", learning_rate=lambda progress: 1e-3 * (1 + progress), **TINY).learn(100)
    model._current_progress_remaining = 0.25
    model.save_safe(tmp_path / "agent")
    assert ANGC.load_safe(tmp_path / "agent", device="cpu").learning_rate == pytest.approx(1.25e-3)
    model.learning_rate = lambda progress: 1e-3 * progress
    model._current_progress_remaining = 0.0
    with pytest.warns(UserWarning, match="learning_rate=.* is stored at its present value, 0, with which"):
        model.save_safe(tmp_path / "agent")
    assert ANGC.load_safe(tmp_path / "agent", learning_rate=1e-3, device="cpu").lr_schedule(0) == 1e-3


@pytest.mark.parametrize("strategy", ["final", GoalSelectionStrategy.FINAL])
def test_her_and_dict_observations(strategy: str | GoalSelectionStrategy, tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=4)
    kwargs = {"n_sampled_goal": 2, "goal_selection_strategy": strategy}
    her: dict[str, Any] = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": kwargs}
    ANGC("MultiInputPolicy", env, **her, **TINY).learn(80).save_safe(tmp_path / "her")
    loaded = ANGC.load_safe(tmp_path / "her", env=env, device="cpu")
    assert isinstance(loaded.replay_buffer, HerReplayBuffer)
    assert loaded.replay_buffer.n_sampled_goal == 2
    assert loaded.replay_buffer.goal_selection_strategy is GoalSelectionStrategy.FINAL
    with pytest.raises(
        ValueError, match=r"env=None is not allowed: it must be given: the HerReplayBuffer of"
    ):
        ANGC.load_safe(tmp_path / "her", device="cpu")
    with pytest.raises(ValueError, match=r"^n_steps=0 is not allowed"):
        ANGC.load_safe(tmp_path / "her", env=env, n_steps=0, device="cpu")
    ANGC("MultiInputPolicy", Parts(), **TINY).save_safe(tmp_path / "parts")
    observation = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    assert ANGC.load_safe(tmp_path / "parts", device="cpu").predict(observation)[0] in (0, 1)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(np.array([-1.0, -np.inf]), np.array([0.5, 2.0]), dtype=np.float64),
        spaces.Box(0, 255, (4, 6, 3), np.uint8),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiDiscrete([2, 5], start=[3, -1]),
        spaces.MultiBinary(4),
        spaces.MultiBinary([2, 3]),
        spaces.Dict({"a": spaces.Box(0, 1, (2,)), "b": spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_spaces(space: spaces.Space[Any]) -> None:
    assert decode_space(json.loads(json.dumps(encode_space(space)))) == space


def test_parts_of_an_observation_keep_their_order(tmp_path: Path) -> None:
    """Gymnasium keeps the order of keyword arguments, and sorts that of a dict."""

    class Reversed(Parts):
        observation_space = spaces.Dict(b=spaces.Box(0, 1, (1,)), a=spaces.Box(0, 1, (1,)))

    model = ANGC(Reversed(), **TINY).learn(100)
    model.save_safe(tmp_path / "agent")
    loaded = ANGC.load_safe(tmp_path / "agent", env=Reversed())
    assert isinstance(loaded.observation_space, spaces.Dict)
    assert list(loaded.observation_space.spaces) == ["b", "a"]
    seen = {"a": np.full(1, 0.2, np.float32), "b": np.full(1, 0.7, np.float32)}
    assert th.equal(loaded.policy.q_values(seen), model.policy.q_values(seen))


def test_a_folder_of_the_files_name_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    ANGC("CartPole-v1", **TINY).save_safe(tmp_path / "agent")
    assert ANGC.load_safe(tmp_path / "agent").gamma == 0.99
    with pytest.raises(FileNotFoundError, match=r"other, .*other\.safetensors, .*agent\.safetensors"):
        ANGC.load_safe(tmp_path / "other")


def test_the_number_of_steps_is_kept(tmp_path: Path, saved: Path) -> None:
    ANGC.tuned("MountainCar-v0").save_safe(tmp_path / "tuned")
    assert ANGC.load_safe(tmp_path / "tuned").budget == 120_000
    header, body = header_of(saved)
    content = json.loads(header["__metadata__"]["sb3_angc"])
    del content["counters"]["budget"]  # as earlier files
    header["__metadata__"]["sb3_angc"] = json.dumps(content)
    write(saved, header, body)
    assert ANGC.load_safe(saved).budget == 50_000


class Own(ANGCPolicy):
    pass


class OwnBuffer(ReplayBuffer):
    pass


def test_what_is_no_plain_value(tmp_path: Path) -> None:
    sine = Activation("sine", th.sin, th.cos)
    for arguments, message in (
        (
            {"policy_kwargs": {"activation_fn": sine}},
            r"\['activation_fn'\]=the Activation 'sine'",
        ),
        ({"policy": Own}, "policy=Own cannot be saved safely"),
    ):
        arguments = {"policy": "MlpPolicy", "env": counter(5), **TINY, **arguments}
        with pytest.raises(ValueError, match=message):
            ANGC(**arguments).save_safe(tmp_path / "agent")
    assert list(tmp_path.iterdir()) == []
    ANGC("MlpPolicy", counter(5), replay_buffer_class=OwnBuffer, **TINY).save_safe(tmp_path / "agent")
    assert ANGC.load_safe(tmp_path / "agent", device="cpu").replay_buffer_class is ReplayBuffer


class Malicious:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.trace,)


def test_malicious_pickle_in_every_part(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    pickled = pickle.dumps(Malicious(trace))
    pickle.loads(pickled)  # it works, where pickles are loaded
    assert trace.exists()
    trace.rmdir()
    text = pickled.decode("latin1")
    encoded = {":type:": "x", ":serialized:": base64.b64encode(pickled).decode()}
    header, body = header_of(saved)
    content = json.loads(header["__metadata__"]["sb3_angc"])

    parts: list[tuple[Any, bytes]] = [(text.encode("latin1"), body), (header, pickled)]
    parts += [(header, body[:k] + pickled + body[k + len(pickled) :]) for k in (0, 1000)]
    for evil in (text, encoded):
        evil_text = evil if isinstance(evil, str) else json.dumps(evil)
        parts.append(({**header, "__metadata__": {"sb3_angc": evil_text}}, body))
        parts += [({**header, name: evil}, body) for name in header]
        for place in [(name,) for name in content] + [
            (group, name)
            for group in ("settings", "counters", "observation_space")
            for name in content[group]
        ]:
            changed = json.loads(json.dumps(content))
            target = changed if len(place) == 1 else changed[place[0]]
            target[place[-1]] = evil
            parts.append(({**header, "__metadata__": {"sb3_angc": json.dumps(changed)}}, body))
    path = tmp_path / "evil.safetensors"
    refused = 0
    for evil_header, evil_body in parts:
        write(path, evil_header, evil_body)
        try:
            ANGC.load_safe(path, device="cpu")
        except ValueError:
            refused += 1
    path.write_bytes(pickled)
    with pytest.raises(ValueError, match="is not a safe file of ANGC"):
        ANGC.load_safe(path)
    assert not trace.exists()
    # Some are only odd values: bytes of weights, or the name of a class that is never looked up.
    assert refused > 0.8 * len(parts)


def test_zip_of_sb3_is_refused_unread(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    model = ANGC("CartPole-v1", **TINY)
    model.evil = Malicious(trace)  # type: ignore[attr-defined]
    model.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="is not a safe file of ANGC"):
        ANGC.load_safe(tmp_path / "agent.zip")
    assert not trace.exists()
    ANGC.load(tmp_path / "agent.zip", device="cpu")
    assert trace.exists()  # which is why there are safe files


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format"], 5, "its format is 5, and this version of sb3_angc reads up to 4"),
        (["policy"], "os.system", "os.system"),
        (["settings", "policy_kwargs", "optimizer_class"], {"class": "os.system"}, "not among those allowed"),
        (["settings", "policy_kwargs", "net_arch"], [10**9], "not those of the policy it describes"),
        (["settings", "policy_kwargs", "net_arch"], [10**12, 10**12], "overflow"),
        (["settings", "tensorboard_log"], "/etc", "settings that ANGC does not have: tensorboard_log"),
        (["settings", "buffer_size"], 10**17, "MemoryError"),
        (["settings", "gamma"], 7, "gamma=7 is not allowed"),
        (["settings", "learning_rate"], {"schedule": {"kind": "evil"}}, "evil"),
        (["observation_space"], {"kind": "Box", "shape": [10**12], "low": 0, "high": 1}, "its space has"),
        (["observation_space"], {"kind": "Tuple"}, "not among those allowed"),
        (["action_space"], {"kind": "MultiBinary", "n": 3}, "not those of the policy it describes"),
        (["action_space"], {"kind": "MultiBinary", "n": 2**18}, "at most 262144 are allowed"),
        (["settings", "policy_kwargs", "action_bins"], 1, "action_bins=1 is not allowed"),
        (["counters", "num_timesteps"], "many", "its counter num_timesteps is 'many'"),
    ],
    ids=str,
)
def test_values_that_are_refused(saved: Path, place: list[str], value: Any, message: str) -> None:
    header, body = header_of(saved)
    content = json.loads(header["__metadata__"]["sb3_angc"])
    target = content
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value
    write(saved, {**header, "__metadata__": {"sb3_angc": json.dumps(content)}}, body)
    with pytest.raises(ValueError, match=message):
        ANGC.load_safe(saved, device="cpu")


def test_a_file_of_version_0_1_means_what_it_meant(tmp_path: Path) -> None:
    """One is made of a file of today, by leaving out what was the default then, and what there was not."""
    from safetensors.torch import load_file, save

    small = TINY["policy_kwargs"]
    then = {
        "normalize_values": False,
        "epistemic_scale": "maximum",
        "circuit_kwargs": {"output_precision": 0.1},
    }
    model = ANGC("CartPole-v1", max_grad_norm=50.0, **{**TINY, "policy_kwargs": {**small, **then}}).learn(100)
    path = tmp_path / "agent.safetensors"
    model.save_safe(path)
    header, _ = header_of(path)
    content = json.loads(header["__metadata__"]["sb3_angc"])
    content["format"] = 2
    content["settings"]["max_grad_norm"] = 5.0  # of updates that carried the output's precision
    content["settings"]["policy_kwargs"] = small
    tensors = {name: value for name, value in load_file(path).items() if not name.endswith("is_binary")}
    path.write_bytes(save(tensors, {"sb3_angc": json.dumps(content)}))
    loaded = ANGC.load_safe(path, device="cpu")
    assert loaded.policy_kwargs == {**small, **then}
    assert loaded.max_grad_norm == pytest.approx(50.0)
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    assert th.equal(*(agent.policy.q_values(observations) for agent in (model, loaded)))


def test_no_memory_is_taken_on_the_files_word_alone(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of 32 kB names a layer size; two layers of it would take 256 MiB, the replay aside."""
    from safetensors.torch import load_file, save_file

    header, _ = header_of(saved)
    tensors = {**load_file(saved), "generator.synapses.0.bias": th.zeros(8192)}
    content = json.loads(header["__metadata__"]["sb3_angc"])
    content["settings"]["policy_kwargs"]["net_arch"] = [8192, 8192]
    save_file(tensors, saved, {"sb3_angc": json.dumps(content)})

    def refuse(model: ANGC) -> None:
        raise AssertionError("memory is taken")

    monkeypatch.setattr(ANGC, "_setup_model", refuse)
    with pytest.raises(ValueError, match="not those of the policy it describes"):
        ANGC.load_safe(saved, device="cpu")


def test_convolutions_that_the_tensors_do_not_have(tmp_path: Path) -> None:
    class Images(gym.Env[Any, Any]):
        observation_space = spaces.Box(0, 255, (1, 8, 8), np.uint8)
        action_space = spaces.Discrete(2)

    path = tmp_path / "agent.safetensors"
    ANGC(Images(), buffer_size=16, **TINY).save_safe(path)
    assert ANGC.load_safe(path, device="cpu").policy.controller.layer_sizes[0] == 64
    header, body = header_of(path)
    content = json.loads(header["__metadata__"]["sb3_angc"])
    for cnn_arch, message in (
        ([[10**9, 3]], "not those of the policy"),
        ([[1, 30]], "at most the image's sides"),
    ):
        content["settings"]["policy_kwargs"]["cnn_arch"] = cnn_arch
        write(path, {**header, "__metadata__": {"sb3_angc": json.dumps(content)}}, body)
        with pytest.raises(ValueError, match=message):
            ANGC.load_safe(path, device="cpu")


def test_weights_that_do_not_fit(saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    header, _ = header_of(saved)
    tensors = load_file(saved)
    changes: list[dict[str, th.Tensor]] = [
        {name: value for name, value in tensors.items() if name != "controller.synapses.0.weight"},
        {**tensors, "extra": th.zeros(2)},
        {**tensors, "generator.synapses.0.weight": th.zeros(3, 3)},
        {**tensors, "generator.synapses.0.bias": th.full((16,), th.nan)},
    ]
    for changed in changes:
        save_file(changed, tmp_path / "changed.safetensors", header["__metadata__"])
        with pytest.raises(ValueError, match="is not a safe file of ANGC"):
            ANGC.load_safe(tmp_path / "changed")
    content = saved.read_bytes()
    for share in (0, 0.001, 0.1, 0.9, 0.9999):
        saved.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="is not a safe file of ANGC"):
            ANGC.load_safe(saved)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'sb3_angc\[safe\]'"):
        ANGC("CartPole-v1", **TINY).save_safe(tmp_path / "agent")
    with pytest.raises(ImportError, match=r"pip install 'sb3_angc\[safe\]'"):
        ANGC.load_safe(tmp_path / "agent")


def test_settings_given_as_numbers_of_numpy(tmp_path: Path) -> None:
    """As a search over settings hands them in; they come back as plain numbers of the same value."""
    given: Any = {"gamma": np.float64(0.9), "learning_starts": np.int64(60), "double_q": np.bool_(False)}
    ANGC("CartPole-v1", **{**TINY, **given}).save_safe(tmp_path / "agent")
    model = ANGC.load_safe(tmp_path / "agent")
    for name, value in given.items():
        assert getattr(model, name) == value
        assert type(getattr(model, name)) in (float, int, bool)


def test_steps_given_as_a_number_of_numpy(tmp_path: Path) -> None:
    model = ANGC("CartPole-v1", **TINY).learn(np.int64(60))  # type: ignore[arg-type]
    model.save_safe(tmp_path / "safe")
    assert ANGC.load_safe(tmp_path / "safe")._total_timesteps == 60


def test_space_that_cannot_be_described() -> None:
    with pytest.raises(ValueError, match=r"The space .*Text.* cannot be saved safely"):
        encode_space(spaces.Dict({"name": spaces.Text(3)}))
