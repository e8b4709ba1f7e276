"""
SB3's documentation examples for DQN (and some for other algorithms, with DQN in their place), with the
class changed and the number of steps cut; nothing else.

Source: https://stable-baselines3.readthedocs.io, pages "DQN", "Examples", "HER", "Callbacks" and "Getting
started".
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sb3_angc import ANGC, ANGCPolicy
from tests.agents import TINY
from tests.envs import Parts, counter

EXAMPLES = {
    "DQN page": """
import gymnasium as gym

from stable_baselines3 import DQN

env = gym.make("CartPole-v1", render_mode="rgb_array")

model = DQN("MlpPolicy", env, verbose=1)
model.learn(total_timesteps=1200, log_interval=4)
model.save("dqn_cartpole")

del model # remove to demonstrate saving and loading

model = DQN.load("dqn_cartpole")

obs, info = env.reset()
for _ in range(50):
    action, _states = model.predict(obs, deterministic=True)
    obs, reward, terminated, truncated, info = env.step(action)
    if terminated or truncated:
        obs, info = env.reset()
""",
    "Examples: basic usage": """
import gymnasium as gym

from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy

# Create environment
env = gym.make("CartPole-v1", render_mode="rgb_array")

# Instantiate the agent
model = DQN("MlpPolicy", env, verbose=1)
# Train the agent and display a progress bar
model.learn(total_timesteps=int(600), progress_bar=True)
# Save the agent
model.save("dqn_lunar")
del model  # delete trained model to demonstrate loading

# Load the trained agent
# NOTE: if you have loading issue, you can pass `print_system_info=True`
# to compare the system on which the model was trained vs the current one
# model = DQN.load("dqn_lunar", env=env, print_system_info=True)
model = DQN.load("dqn_lunar", env=env)

# Evaluate the agent
mean_reward, std_reward = evaluate_policy(model, model.get_env(), n_eval_episodes=3)

# Enjoy trained agent
vec_env = model.get_env()
obs = vec_env.reset()
for i in range(50):
    action, _states = model.predict(obs, deterministic=True)
    obs, rewards, dones, info = vec_env.step(action)
""",
    "HER page": """
from stable_baselines3 import HerReplayBuffer, DQN
from stable_baselines3.her.goal_selection_strategy import GoalSelectionStrategy
from stable_baselines3.common.envs import BitFlippingEnv

model_class = DQN  # works also with SAC, DDPG and TD3
N_BITS = 15

env = BitFlippingEnv(n_bits=N_BITS, continuous=False, max_steps=N_BITS)

# Available strategies (cf paper): future, final, episode
goal_selection_strategy = "future" # equivalent to GoalSelectionStrategy.FUTURE

# Initialize the model
model = model_class(
    "MultiInputPolicy",
    env,
    replay_buffer_class=HerReplayBuffer,
    # Parameters for HER
    replay_buffer_kwargs=dict(
        n_sampled_goal=4,
        goal_selection_strategy=goal_selection_strategy,
    ),
    verbose=1,
)

# Train the model
model.learn(1200)

model.save("./her_bit_env")
# Because it needs access to `env.compute_reward()`
# HER must be loaded with the env
model = model_class.load("./her_bit_env", env=env)

obs, info = env.reset()
for _ in range(100):
    action, _ = model.predict(obs, deterministic=True)
    obs, reward, terminated, truncated, info = env.step(action)
    if terminated or truncated:
        obs, info = env.reset()
""",
    "Examples: saving the replay buffer": """
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy

# Create the model and the training environment
model = DQN("MlpPolicy", "CartPole-v1", verbose=1, learning_rate=1e-3)

# train the model
model.learn(total_timesteps=600)

# save the model
model.save("sac_pendulum")

# the saved model does not contain the replay buffer
loaded_model = DQN.load("sac_pendulum")
print(f"The loaded_model has {loaded_model.replay_buffer.size()} transitions in its buffer")

# now save the replay buffer too
model.save_replay_buffer("sac_replay_buffer")

# load it into the loaded_model
loaded_model.load_replay_buffer("sac_replay_buffer")

# now the loaded replay is not empty anymore
print(f"The loaded_model has {loaded_model.replay_buffer.size()} transitions in its buffer")

# Save the policy independently from the model
# Note: if you don't save the complete model with `model.save()`
# you cannot continue training afterward
policy = model.policy
policy.save("sac_policy_pendulum")

# Retrieve the environment
env = model.get_env()

# Evaluate the policy
mean_reward, std_reward = evaluate_policy(policy, env, n_eval_episodes=3, deterministic=True)

# Load the policy independently from the model
saved_policy = type(policy).load("sac_policy_pendulum")

# Evaluate the loaded policy
mean_reward, std_reward = evaluate_policy(saved_policy, env, n_eval_episodes=3, deterministic=True)
assert loaded_model.replay_buffer.size() == 600
""",
    "Getting started": """
from stable_baselines3 import DQN

model = DQN("MlpPolicy", "CartPole-v1").learn(600)
""",
    "Callbacks: list of callbacks": """
import gymnasium as gym

from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, EvalCallback

checkpoint_callback = CheckpointCallback(save_freq=200, save_path="./logs/")
# Separate evaluation env
eval_env = gym.make("CartPole-v1")
eval_callback = EvalCallback(eval_env, best_model_save_path="./logs/best_model",
                             log_path="./logs/results", eval_freq=300)
# Create the callback list
callback = CallbackList([checkpoint_callback, eval_callback])

model = DQN("MlpPolicy", "CartPole-v1")
# Equivalent to:
# model.learn(5000, callback=[checkpoint_callback, eval_callback])
model.learn(600, callback=callback)
""",
    "Examples: custom policy network": """
import torch as th
from stable_baselines3 import DQN

model = DQN("MlpPolicy", "CartPole-v1", policy_kwargs=dict(activation_fn=th.nn.ReLU, net_arch=[32, 32]))
model.learn(total_timesteps=600)
""",
}


@pytest.mark.parametrize("page", EXAMPLES)
@pytest.mark.filterwarnings("ignore:Training and eval env", "ignore:Evaluation environment is not wrapped")
def test_example_of_the_documentation(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The class's own name and module; everything else stays as SB3's documentation has it.
    code = EXAMPLES[page].replace(
        "import HerReplayBuffer, DQN", "import HerReplayBuffer\nfrom sb3_angc import DQN"
    )
    code = code.replace("from stable_baselines3 import DQN", "from sb3_angc import DQN")
    code = re.sub(r"\bDQN\b", "ANGC", code)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, page, "exec"), names)
    model = names.get("loaded_model", names["model"])
    assert type(model).__name__ == "ANGC"
    assert model.num_timesteps >= 600  # type: ignore[attr-defined]


def test_train_freq_and_gradient_steps() -> None:
    """After 50 steps of warm-up, 100 more in episodes of 10: updates by hand."""
    for arguments, updates in (
        ({"train_freq": 4, "gradient_steps": 1}, 26),  # rollouts end at 52, 56, ..., 152
        ({"train_freq": (10, "step"), "gradient_steps": -1}, 100),
        ({"train_freq": (2, "episode"), "gradient_steps": 3}, 6 * 3),  # at 60, 80, ..., 160
    ):
        model = ANGC("MlpPolicy", counter(10), **{**TINY, **arguments}).learn(150)
        assert model._n_updates == updates


@pytest.mark.parametrize("explores", [0.0, 1.0])
def test_predict_takes_and_gives_what_dqn_does(explores: float) -> None:
    arguments: dict[str, Any] = {"buffer_size": 100, "device": "cpu", "seed": 0}
    observation = [0.1, 0.2, 0.3, 0.4]
    for observations in (observation, [observation] * 3, np.array(observation), np.array([observation] * 3)):
        actions = []
        for algorithm in (DQN, ANGC):
            model = algorithm("MlpPolicy", "CartPole-v1", **arguments)
            model.exploration_rate = explores
            if algorithm is DQN and isinstance(observations, list):
                # Greedy only: when it explores, DQN takes no lists.
                action, _ = model.predict(observations, deterministic=True)  # type: ignore[arg-type]
            else:
                action, _ = model.predict(observations)  # type: ignore[arg-type]
            actions.append(action)
        assert type(actions[0]) is type(actions[1])
        assert (actions[0].shape, actions[0].dtype) == (actions[1].shape, actions[1].dtype)
    for deterministic in (False, True):
        with pytest.raises(ValueError, match="mixing Gym API with SB3 VecEnv API"):
            model.predict((np.zeros(4), {}), deterministic=deterministic)  # type: ignore[arg-type]
    model = ANGC("MultiInputPolicy", Parts(), **arguments)
    model.exploration_rate = explores
    assert int(model.predict({"a": [0.1], "b": [0.2]})[0]) in (0, 1)  # type: ignore[dict-item]


def test_features_extractor_is_in_the_mode_of_the_policy() -> None:
    """Dropout and normalisation over batches, without trainable weights, work in training alone."""

    class Noisy(FlattenExtractor):
        def __init__(self, observation_space: Any) -> None:
            super().__init__(observation_space)
            self.layers = nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Dropout(0.5))

        def forward(self, observations: th.Tensor) -> th.Tensor:
            features: th.Tensor = self.layers(super().forward(observations))
            return features

    settings = {**TINY, "policy_kwargs": {"net_arch": [16], "features_extractor_class": Noisy}}
    model = ANGC("MlpPolicy", "CartPole-v1", **settings).learn(80)
    statistics = {name: value.clone() for name, value in model.policy.features_extractor.state_dict().items()}
    assert (statistics["layers.0.running_mean"] != 0).all()  # trained in training mode
    observations = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    actions = model.predict(observations, deterministic=True)[0]
    alone = [model.predict(observation, deterministic=True)[0] for observation in observations]
    assert actions.tolist() == [int(action) for action in alone]
    random_state = th.get_rng_state()
    model.policy.set_training_mode(True)  # as training leaves it
    model.diagnose()
    assert th.equal(th.get_rng_state(), random_state)
    for name, value in model.policy.features_extractor.state_dict().items():
        assert th.equal(value, statistics[name])


def test_network_without_hidden_layers() -> None:
    """Values are linear in the observation, as DQN's are then: double the input, double the change."""
    settings = {**TINY, "policy_kwargs": {"net_arch": [], "normalize_features": False}}
    model = ANGC("MlpPolicy", "CartPole-v1", **settings).learn(100)
    assert model.policy.controller.layer_sizes == [4, 2]
    zero, one, two = model.policy.q_values(th.arange(3.0)[:, None] * th.ones(4))
    th.testing.assert_close(two - one, one - zero)
    assert (one != zero).all()


@pytest.mark.parametrize("kwargs", [{"foreach": True}, {"fused": False}, {"eps": 1.0}], ids=str)
def test_optimizer_kwargs(kwargs: dict[str, Any]) -> None:
    policy_kwargs = {"net_arch": [16], "optimizer_kwargs": kwargs}
    model = ANGC("MlpPolicy", "CartPole-v1", **{**TINY, "policy_kwargs": policy_kwargs}).learn(100)
    defaults = model.policy.optimizer.defaults
    assert {name: defaults[name] for name in kwargs} == kwargs
    reference = ANGC("MlpPolicy", "CartPole-v1", **{**TINY, "policy_kwargs": {"net_arch": [16]}}).learn(100)
    weights = [each.policy.controller.bundles[0].weight for each in (model, reference)]
    if "eps" in kwargs:
        assert not th.allclose(weights[0], weights[1], rtol=1e-3)
    else:  # ways to compute the same
        th.testing.assert_close(weights[0], weights[1])


def test_env_seed_repeats_the_episodes() -> None:
    model = ANGC("MlpPolicy", "CartPole-v1", **TINY)
    env = model.get_env()
    assert env is not None
    first = []
    for seed in (5, 5, 6):
        env.seed(seed)
        first.append(np.asarray(env.reset()))
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_every_test_of_the_table_exists() -> None:
    tests = Path(__file__).parents[1]
    table = (tests.parent / "docs/dqn_features.md").read_text()
    named = re.findall(r"`(\w+/test_\w+\.py)`: `(test_\w+)`", table)
    assert len(named) > 40
    missing = [name for file, name in named if f"def {name}(" not in (tests / file).read_text()]
    assert not missing
    rows = [row for row in table.splitlines() if row.startswith("| ") and "feature of DQN" not in row]
    assert not [row for row in rows if "`: `test_" not in row]


@pytest.mark.parametrize(("interval", "expected"), [(1, 0.005), (2, 1.0), (600, 1.0), (10_000, 1.0)])
def test_a_target_updated_at_an_interval_is_copied_as_in_dqn(interval: int, expected: float) -> None:
    """``tau`` left out means DQN's 1 where a script for DQN sets the interval."""
    model = ANGC("MlpPolicy", "CartPole-v1", target_update_interval=interval, **TINY)
    assert model.tau == expected
    assert ANGC("MlpPolicy", "CartPole-v1", tau=0.3, target_update_interval=interval, **TINY).tau == 0.3
    if interval <= 600:
        model.learn(interval)
        controller, target = (
            circuit.prediction_parameters().values()
            for circuit in (model.policy.controller, model.policy.controller_target)
        )
        is_copy = all(th.equal(one, other) for one, other in zip(controller, target, strict=True))
        assert is_copy == (expected == 1.0 or model._n_updates == 0)


def test_a_memory_smaller_than_a_batch_is_sampled_again_and_again_as_in_dqn() -> None:
    for algorithm in (DQN, ANGC):
        model = algorithm(
            "MlpPolicy", "CartPole-v1", buffer_size=8, batch_size=32, learning_starts=10, seed=0, device="cpu"
        ).learn(60)
        assert model._n_updates > 0


def test_attributes_set_while_training_goes_on_take_effect() -> None:
    class Switch(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 100:
                model.alpha_epistemic, model.gamma = 0.0, 0.5
                before.extend(p.clone() for p in model.policy.generator.parameters())
            return True

    before: list[th.Tensor] = []
    model: Any = ANGC("MlpPolicy", "CartPole-v1", n_steps=1, **TINY)
    fresh = [p.clone() for p in model.policy.generator.parameters()]
    model.learn(200, Switch())
    now = list(model.policy.generator.parameters())
    assert not any(th.equal(a, b) for a, b in zip(fresh, now, strict=True))
    assert all(th.equal(a, b) for a, b in zip(before, now, strict=True))
    assert model.sample(64).discounts.max() == 0.5


def test_what_a_subclass_says_is_what_collects() -> None:
    """As DQN's: `predict` of the algorithm, `_predict` of the policy."""

    class Masked(ANGC):
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            actions, state = super().predict(*args, **kwargs)
            return actions * 0, state

    class Left(ANGCPolicy):
        def _predict(self, obs: Any, deterministic: bool = True) -> th.Tensor:
            return super()._predict(obs, deterministic) * 0

    greedy = {**TINY, "exploration_initial_eps": 0.0, "exploration_final_eps": 0.0, "learning_starts": 0}
    for model in (Masked("MlpPolicy", "CartPole-v1", **greedy), ANGC(Left, "CartPole-v1", **greedy)):
        model.learn(60)
        assert model.replay_buffer is not None
        assert (model.replay_buffer.actions[:60] == 0).all()
    plain = ANGC("CartPole-v1", **greedy).learn(60)
    assert plain.replay_buffer is not None
    assert plain.replay_buffer.actions[:60].any()
