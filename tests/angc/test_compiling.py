"""CompiledIfPossible updates: the same results, and a way back where compiling does not work."""

import copy
import itertools
import pickle
import shutil
import sysconfig
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.utils import set_random_seed

from sb3_angc import ANGC
from sb3_angc.angc.compiled import CompiledOutputs, CompiledUpdate
from sb3_angc.circuit import PRESETS
from sb3_angc.common.compiling import MOST_KEYS, CompiledIfPossible
from tests.agents import TINY
from tests.envs import ScriptedEnv

HAS_COMPILER = shutil.which("g++") is not None and (Path(sysconfig.get_path("include")) / "Python.h").exists()


@pytest.fixture(autouse=True)
def no_compiled_code_of_other_tests() -> None:
    th.compiler.reset()


def compiled(model: ANGC, backend: str = "aot_eager") -> ANGC:
    """The model, its updates traced and made functional, but left to torch instead of a compiler."""
    model.compile_updates = True
    model._compiled_update = CompiledUpdate(backend=backend)
    return model


def assert_alike(one: ANGC, other: ANGC, tolerance: float) -> None:
    assert one._n_updates == other._n_updates > 20
    th.testing.assert_close(
        dict(one.policy.state_dict()), dict(other.policy.state_dict()), rtol=tolerance, atol=tolerance
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "no generator, one step, one estimate": {"alpha_epistemic": 0.0, "n_steps": 1, "double_q": False},
    "all actions clamped, mean, clipping, three sweeps": {
        "clamp_all_actions": True,
        "policy_kwargs": {
            "net_arch": [16, 16],
            "epistemic_scale": "mean",
            "circuit_kwargs": {"max_discrepancy": 1.0, "inference_steps": 3},
        },
    },
    "actions as inputs": {"policy_kwargs": {"net_arch": [16, 16], "action_input": True}},
    "leak, decay, tanh, RMSprop": {
        "policy_kwargs": {
            "net_arch": [16, 16],
            "circuit_kwargs": {"leak": 0.1, "alignment_decay": 1e-3, "activation": "tanh"},
            "optimizer_class": th.optim.RMSprop,
        }
    },
    **{name: {"policy_kwargs": {"net_arch": [16, 16], "circuit": name}} for name in PRESETS},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_updates_are_the_updates(variant: str) -> None:
    arguments = {**TINY, **VARIANTS[variant]}
    plain = ANGC("CartPole-v1", **arguments).learn(150)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not work")
        other = compiled(ANGC("CartPole-v1", **arguments)).learn(150)
    # Rounding differs; what follows from it grows from update to update.
    assert_alike(plain, other, tolerance=1e-4)


def test_of_images_too() -> None:
    env = SimpleMultiObsEnv(discrete_actions=True, channel_last=False)
    arguments = {**TINY, "policy_kwargs": {"cnn_arch": [(2, 3, 4)], "net_arch": [16]}}
    plain = ANGC(env, **arguments).learn(150)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not work")
        other = compiled(ANGC(env, **arguments)).learn(150)
    assert_alike(plain, other, tolerance=1e-4)


@pytest.mark.skipif(not HAS_COMPILER, reason="needs g++ and the headers of Python")
def test_with_a_compiler(tmp_path: Path) -> None:
    plain = ANGC("CartPole-v1", **TINY).learn(150)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile does not work")
        fast = ANGC("CartPole-v1", **TINY, compile_updates=True).learn(150)
        assert_alike(plain, fast, tolerance=1e-4)
        # A saved one goes on compiled.
        fast.save(tmp_path / "fast")
        loaded = ANGC.load(tmp_path / "fast", gym.make("CartPole-v1"))
        assert loaded.compile_updates
        loaded.learn(50, reset_num_timesteps=False)
    assert loaded._n_updates > fast._n_updates


def test_a_copy_computes_with_circuits_of_its_own() -> None:
    model = compiled(ANGC("CartPole-v1", **TINY)).learn(100)
    plain = ANGC("CartPole-v1", **TINY).learn(100)
    twin = copy.deepcopy(model)
    for parameter in model.policy.parameters():
        parameter.fill_(0.5)  # of the original alone
    for agent in (twin, plain):
        set_random_seed(1)
        agent.train(10, 16)
    assert_alike(plain, twin, tolerance=1e-5)
    assert th.equal(model.policy.controller.bundles[0].weight, th.full((16, 4), 0.5))


def test_a_compiled_agent_can_be_pickled() -> None:
    model = compiled(ANGC("CartPole-v1", **TINY)).learn(60)
    twin = pickle.loads(pickle.dumps(model))
    assert twin._compiled_update.find.backend == "aot_eager"
    for agent in (model, twin):
        set_random_seed(1)
        agent.train(4, 16)
    for ours, theirs in zip(model.policy.parameters(), twin.policy.parameters(), strict=True):
        assert th.equal(ours, theirs)


def test_compiling_can_be_switched_while_training_goes_on() -> None:
    plain, switched = (ANGC("CartPole-v1", **TINY).learn(100) for _ in range(2))
    for agent in (plain, compiled(switched)):
        set_random_seed(1)
        agent.train(10, 16)
    assert switched._compiled_update.learn._compiled
    assert_alike(plain, switched, tolerance=1e-4)


def test_two_agents_and_two_batch_sizes_are_compiled_apart() -> None:
    for arguments in (TINY, {**TINY, "policy_kwargs": {"net_arch": [8]}}):
        plain, other = (ANGC("CartPole-v1", **arguments).learn(60) for _ in range(2))
        for agent in (plain, compiled(other)):
            set_random_seed(1)
            agent.train(8, 16)
            agent.train(12, 32)
        assert other._compiled_update.learn.works
        assert_alike(plain, other, tolerance=1e-4)


def test_what_may_change_between_updates_is_seen() -> None:
    """Torch asks for nothing before it runs what it compiled."""
    plain, other = (ANGC("CartPole-v1", **TINY).learn(100) for _ in range(2))
    compiled(other)
    changes: list[dict[str, Any]] = [
        {"alpha_epistemic": 0.3, "lr_schedule": lambda _: 1e-2},  # tensors
        {"alpha_instrumental": 0.5, "max_grad_norm": 0.01, "double_q": False},
    ]
    for agent in (plain, other):
        set_random_seed(1)
        for change in ({}, *changes):
            vars(agent).update(change)
            agent.train(3, 16)
        for group in agent.policy.optimizer.param_groups:
            group["eps"] = 0.1
        agent.train(3, 16)
    assert_alike(plain, other, tolerance=1e-4)


def test_circuits_that_settle_to_act_are_compiled() -> None:
    model = ANGC("CartPole-v1", **{**TINY, "policy_kwargs": {"net_arch": [16], "circuit": "paper"}}).learn(60)
    policy = model.policy
    policy.read_out = CompiledOutputs(policy.action_parts, backend="aot_eager")
    twin = pickle.loads(pickle.dumps(policy))
    for n_observations in (1, 3):
        features = policy.features(th.randn(n_observations, 4))
        for agent in (policy, twin):
            with warnings.catch_warnings(), th.no_grad():
                warnings.filterwarnings("error", "torch.compile does not work")
                expected = policy.controller.infer(features)
                th.testing.assert_close(agent.read_out(agent.controller, features), expected)
    # It is the present weights that it computes with, and predict() takes it.
    policy.controller.bundles[-1].weight.fill_(th.nan)
    with pytest.raises(ValueError, match="value of an action"):
        model.predict(model.observation_space.sample(), deterministic=True)
    assert len(policy.read_out.read._compiled) == 2


@pytest.mark.parametrize(("circuit", "compiles"), [("paper", True), ("settled", False)])
def test_where_the_projection_is_read_out_nothing_is_compiled_for_it(circuit: str, compiles: bool) -> None:
    model = ANGC("CartPole-v1", compile_updates=True, policy_kwargs={"circuit": circuit})
    assert isinstance(model.policy.read_out, CompiledOutputs) == compiles
    plain = ANGC("CartPole-v1", policy_kwargs={"circuit": circuit})
    assert not isinstance(plain.policy.read_out, CompiledOutputs)


def test_other_optimizers_move_the_weights_themselves() -> None:
    arguments = {**TINY, "policy_kwargs": {"net_arch": [16, 16], "optimizer_class": th.optim.NAdam}}
    plain = ANGC("CartPole-v1", **arguments).learn(150)
    other = compiled(ANGC("CartPole-v1", **arguments))
    with pytest.warns(UserWarning, match="not NAdam, .* are Adam, AdamW, SGD, RMSprop") as warned:
        other.learn(150)
    assert len(warned) == 1
    assert_alike(plain, other, tolerance=1e-4)


def test_a_line_says_that_it_is_compiling(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, lines in ((0, 0), (1, 1)):
        model = ANGC("CartPole-v1", **TINY)
        model.compile_updates = True
        model._compiled_update = CompiledUpdate(verbose, "eager")
        model.learn(60)
        assert capsys.readouterr().out.count("Compiling the updates") == lines


def test_what_cannot_be_compiled_runs_as_it_is() -> None:
    def broken(graph: th.fx.GraphModule, inputs: list[th.Tensor]) -> Any:
        raise FileNotFoundError("no compiler on this machine\nand more")

    plain = ANGC("CartPole-v1", **TINY).learn(150)
    for piece in ("look", "find", "learn"):
        model = compiled(ANGC("CartPole-v1", **TINY))
        getattr(model._compiled_update, piece).backend = broken
        with pytest.warns(UserWarning, match="no compiler on this machine") as warned:
            model.learn(150)
        assert len(warned) == 1
        assert_alike(plain, model, tolerance=1e-4)


def test_a_function_that_raises_is_not_compiled() -> None:
    def negative(x: th.Tensor) -> th.Tensor:
        raise ZeroDivisionError("of its own")

    fast = CompiledIfPossible(negative, "eager")
    with pytest.warns(UserWarning, match="Observed exception"):
        assert fast((), th.device("cpu"), th.ones(1)) is None
    assert not fast.works
    assert fast((), th.device("cpu"), th.ones(1)) is None


def test_kinds_of_calls_that_are_compiled_are_counted() -> None:
    def twice(x: th.Tensor) -> th.Tensor:
        return 2 * x

    fast = CompiledIfPossible(twice, "eager")
    for n in (*range(1, MOST_KEYS + 1), 3):
        assert fast.compiles(n) == (n not in fast._compiled)
        assert fast.takes(n)
        assert th.equal(fast(n, th.device("cpu"), th.ones(n)), th.full((n,), 2.0))  # type: ignore[arg-type]
    assert not fast.takes(MOST_KEYS + 1)
    assert fast(MOST_KEYS + 1, th.device("cpu"), th.ones(1)) is None
    assert fast.works


def test_as_many_updates_as_an_episode_has_steps() -> None:
    """Episodes of many lengths, as on CartPole-v1, do not make as many compiled functions."""
    lengths = iter(range(1, 1000))
    ends = list(itertools.accumulate(lengths, initial=0))

    def script(count: int) -> tuple[float, float, bool, bool]:
        return float(count % 3), 1.0, count in ends, False

    arguments = {**TINY, "train_freq": (1, "episode"), "gradient_steps": -1}
    plain = ANGC("MlpPolicy", ScriptedEnv(script), **arguments).learn(400)
    model = compiled(ANGC("MlpPolicy", ScriptedEnv(script), **arguments)).learn(400)
    assert len(model._compiled_update.look._compiled) == MOST_KEYS
    assert_alike(plain, model, tolerance=1e-4)


@pytest.mark.parametrize(("value", "reward"), [(0.0, 3e38), (3e20, 0.0)])
def test_a_circuit_that_diverges_changes_nothing(value: float, reward: float) -> None:
    def script(count: int) -> tuple[float, float, bool, bool]:
        return (value, reward, False, False) if count > 60 else (0.0, 0.0, False, False)

    arguments = {**TINY, "n_steps": 1, "policy_kwargs": {"normalize_features": False}}
    model = compiled(ANGC("MlpPolicy", ScriptedEnv(script), **arguments))
    with pytest.raises(ValueError, match="diverged: its local updates are not finite"):
        model.learn(200)
    # The scale of the epistemic reward among them
    assert all(tensor.isfinite().all() for tensor in model.policy.state_dict().values())
