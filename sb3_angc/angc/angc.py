"""Active Neural Generative Coding, the algorithm."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc.angc import arguments, replay, update
from sb3_angc.angc.actions import SPACES
from sb3_angc.angc.activations import MODULE_ACTIVATIONS
from sb3_angc.angc.compiled import CompiledOutputs, CompiledUpdate
from sb3_angc.angc.epistemic import weight_left
from sb3_angc.angc.exploration import ExploringAlgorithm
from sb3_angc.angc.features import ImageExtractor, PartsExtractor
from sb3_angc.angc.policies import ANGCPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_angc.angc.tuned import TunedAlgorithm
from sb3_angc.circuit import CircuitDiagnostics, NGCCircuit, diagnose
from sb3_angc.common.checks import check_finite, check_not_negative
from sb3_angc.common.workers import dead_workers_named
from sb3_angc.saving.resuming import numpy_random_state_kept

SelfANGC = TypeVar("SelfANGC", bound="ANGC")
# A circuit, its input and output, and where the output is clamped (None: everywhere)
Clamps = tuple[NGCCircuit, th.Tensor, th.Tensor, th.Tensor | None]

# It falls to 0 over training, so that the policy settles: the last one is what a run leaves.
DEFAULT_LEARNING_RATE = LinearSchedule(start=3e-3, end=0.0, end_fraction=1.0)


class ANGC(ExploringAlgorithm, TunedAlgorithm):
    """
    Active Neural Generative Coding (ANGC): Q-learning by two predictive coding circuits, without
    backpropagation.

    Paper: https://arxiv.org/abs/2107.07046

    Actions may be Discrete, MultiDiscrete, MultiBinary or Box: see :mod:`sb3_angc.angc.actions`.

    The arguments up to ``_init_setup_model`` are DQN's, in DQN's order. The environment may also
    come first and alone, ``ANGC("CartPole-v1")``: the policy class is then chosen from its
    observation space.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy), or the environment
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate of both circuits, it can be a function
        of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer
    :param learning_starts: how many steps of the model to collect transitions for before learning starts
    :param batch_size: Minibatch size for each update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1), 1 for hard update.
        ``None`` is 1, as in DQN, where the target is updated at an interval, and 0.005 at every step.
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency
        and unit like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many local updates to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many updates as steps done in the environment
        during the rollout.
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Enable a memory efficient variant of the replay buffer
        at a cost of more complexity.
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the
        controller. ``None`` is 5 where SB3 supports it, and 1 for Dict observations, with
        ``optimize_memory_usage`` and where ``replay_buffer_class`` is given.
    :param target_update_interval: update the target controller every ``target_update_interval``
        environment steps.
    :param exploration_fraction: fraction of entire training period over which the exploration rate is reduced
    :param exploration_initial_eps: initial value of random action probability, of each part of an
        action (see :class:`~sb3_angc.angc.actions.ActionParts`)
    :param exploration_final_eps: final value of random action probability
    :param max_grad_norm: The maximum norm of a circuit's local updates, ``inf`` for no limit. It is in DQN's
        unit, that of the gradient of half the squared error, whatever the output precision is.
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to
        average the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation.
        See :class:`sb3_angc.angc.policies.ANGCPolicy`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used),
        2 for debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the circuits at the creation of the instance
    :param alpha_instrumental: Weight of the environment's reward in what is learned from, at least 0
    :param alpha_epistemic: Weight of the epistemic reward, at least 0. With 0 the generator is not used
        and does not learn.
    :param epistemic_fraction: fraction of entire training period over which the weight of the epistemic
        reward falls from ``alpha_epistemic`` to 0. ``None`` leaves it as it is.
    :param double_q: Whether the controller chooses the next action that the target controller values
        (double Q-learning, https://arxiv.org/abs/1509.06461), instead of the target controller alone
    :param clamp_all_actions: Whether the values of the actions not taken are clamped at their present
        estimates while the controller settles, as in the paper, instead of being left free
    :param compile_updates: Whether ``torch.compile`` compiles updates, from the replayed batch to the moved
        weights, and settling to act where circuits settle for that: faster after half a minute for compiling,
        a few seconds where torch finds what it compiled before, see ``docs/performance.md``. Needs a C++
        compiler; where it does not work, a warning says why.
    :param exploration_steps: The most steps that a random choice is kept in training (ez-greedy,
        https://arxiv.org/abs/2006.01782): how many is drawn for each, ``n`` with a probability in proportion
        to ``1 / n^2``. 1 is epsilon-greedy.
    :raises ValueError: If an argument is not allowed
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    # Linear schedule will be defined in `_setup_model()`
    exploration_schedule: Schedule
    policy: ANGCPolicy
    # What a safe file may name beside torch's classes
    safe_classes: ClassVar[tuple[type, ...]] = (
        *MODULE_ACTIVATIONS,
        *(FlattenExtractor, CombinedExtractor, ImageExtractor, PartsExtractor),
        *(ReplayBuffer, DictReplayBuffer, NStepReplayBuffer, HerReplayBuffer, replay.SuccessorReplayBuffer),
    )

    def __init__(
        self,
        policy: str | type[ANGCPolicy] | GymEnv,
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = DEFAULT_LEARNING_RATE,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 128,
        tau: float | None = None,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 4,
        gradient_steps: int = 1,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int | None = None,
        target_update_interval: int = 1,
        exploration_fraction: float = 0.16,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.1,
        max_grad_norm: float = 10,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        alpha_instrumental: float = 1.0,
        alpha_epistemic: float = 0.5,
        epistemic_fraction: float | None = 0.5,
        double_q: bool = True,
        clamp_all_actions: bool = False,
        compile_updates: bool = False,
        exploration_steps: int = 1,
    ) -> None:
        policy, env = arguments.make_policy_and_env(policy, env, self.policy_aliases, verbose)
        has_parts = env is not None and isinstance(env.observation_space, spaces.Dict)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # SB3's load() passes None, too, and types it as not allowed
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            arguments.choose_tau(tau, target_update_interval),
            gamma,
            train_freq,
            gradient_steps,
            action_noise=None,  # No action noise
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=replay.choose_n_steps(
                n_steps, gamma, replay_buffer_class, replay_buffer_kwargs, has_parts, optimize_memory_usage
            ),
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=SPACES,
            support_multi_env=True,
        )
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.target_update_interval = target_update_interval
        # For updating the target controller with multiple envs:
        self._n_calls = 0
        self.max_grad_norm = max_grad_norm
        # "epsilon" for the epsilon-greedy exploration
        self.exploration_rate = 0.0
        self.alpha_instrumental = alpha_instrumental
        self.alpha_epistemic = alpha_epistemic
        self.epistemic_fraction = epistemic_fraction
        self.double_q = double_q
        self.clamp_all_actions = clamp_all_actions
        self.compile_updates = compile_updates
        self.exploration_steps = exploration_steps

        if _init_setup_model:
            if env is None:
                raise ValueError("env=None is not allowed: the circuits need its observations and actions")
            self._setup_model()

    def _setup_model(self) -> None:
        vars(self).update(arguments.in_place_of_none(vars(self)))
        vars(self).update(arguments.check_arguments(vars(self)))
        self.replay_buffer_class, self.replay_buffer_kwargs = replay.choose_buffer(
            self.replay_buffer_class,
            self.replay_buffer_kwargs,
            self.n_steps,
            self.gamma,
            isinstance(self.observation_space, spaces.Dict),
        )
        with warnings.catch_warnings():
            if replay.sums_steps(self.replay_buffer_class):  # then it is not ignored
                warnings.filterwarnings("ignore", message=".*`n_steps=.*` is ignored")
            super()._setup_model()
        self.replay_buffer_kwargs = replay.without_steps(self.replay_buffer_class, self.replay_buffer_kwargs)
        arguments.check_normalized_observations(self._vec_normalize_env, self.policy)
        arguments.warn_of_short_interval(self.target_update_interval, self.n_envs)
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps,
            self.exploration_final_eps,
            self.exploration_fraction,
        )
        self._compiled_update = CompiledUpdate(self.verbose)
        if self.compile_updates and not self.policy.controller.settings.settles_at_projection:
            self.policy.read_out = CompiledOutputs(self.policy.action_parts)
        self.q_net, self.q_net_target = self.policy.q_net, self.policy.q_net_target

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        prepared = super()._setup_learn(*args, **kwargs)
        arguments.check_normalized_observations(self._vec_normalize_env, self.policy)
        check_finite("first observation", self._last_obs)
        check_finite("first observation", self._last_original_obs)
        return prepared

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        # The last rollout may go on past the end, where a linear schedule would go below 0.
        self._current_progress_remaining = max(self._current_progress_remaining, 0.0)

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        rate = self.lr_schedule(self._current_progress_remaining)
        check_not_negative(f"learning_rate at progress {self._current_progress_remaining:.3f}", rate)
        super()._update_learning_rate(optimizers)

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray[Any, Any],
        new_obs: np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]],
        reward: np.ndarray[Any, Any],
        dones: np.ndarray[Any, Any],
        infos: list[dict[str, Any]],
    ) -> None:
        arguments.check_transition(new_obs, reward, infos, self._vec_normalize_env)
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)

    def _on_step(self) -> None:
        """
        Update the exploration rate and target controller if needed.
        This method is called in ``collect_rollouts()`` after each step in the environment.
        """
        self._n_calls += 1
        # Account for multiple environments
        # each call to step() corresponds to n_envs transitions
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            self.policy.update_target(self.tau)

        self.exploration_rate = self.exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        policy = self.policy
        policy.set_training_mode(True)
        # Update learning rate according to schedule
        self._update_learning_rate(policy.optimizer)

        epistemic_weight = None
        if self.alpha_epistemic > 0:
            share = weight_left(self.epistemic_fraction, self._current_progress_remaining)
            epistemic_weight = th.tensor(self.alpha_epistemic * share, device=self.device)
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        replayed = self.replay_buffer, self.n_steps, self.gamma, self._vec_normalize_env
        objective = update.Objective(
            self.alpha_instrumental, epistemic_weight, self.double_q, self.clamp_all_actions
        )
        compiled = self._compiled_update
        prepare = compiled.prepared if self.compile_updates else replay.prepared
        update_circuits = compiled if self.compile_updates else update.update_circuits
        losses, epistemic_rewards = [], []
        for batch in replay.batches(*replayed, policy, gradient_steps, batch_size, prepare):
            found = update_circuits(policy, batch, objective, self.max_grad_norm)
            losses.append(found.loss)
            if found.epistemic_reward is not None:
                epistemic_rewards.append(found.epistemic_reward)

        # Increase update counter
        self._n_updates += gradient_steps

        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if losses:
            self.logger.record("train/loss", th.stack(losses).mean().item())
        if epistemic_rewards:
            self.logger.record("train/epistemic_reward", th.stack(epistemic_rewards).mean().item())

    def draw(self, n_samples: int) -> replay.Samples:
        """
        :param n_samples: Number of transitions
        :return: What the replay buffer gives; nothing but the random state changes
        """
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        return replay.draw(self.replay_buffer, self.n_steps, self.gamma, self._vec_normalize_env, n_samples)

    def sample(self, batch_size: int) -> replay.Batch:
        """
        :param batch_size: Number of transitions
        :return: Replayed transitions as the circuits see them now; nothing but the random state changes
        """
        return replay.seen(self.draw(batch_size), self.policy, self.gamma)

    def clamps(self, batch: replay.Batch) -> dict[str, Clamps]:
        """
        :param batch: Of :meth:`sample`
        :return: By name, each circuit and what it is clamped at, the controller at targets of the
            environment's reward alone
        """
        policy, rewards = self.policy, self.alpha_instrumental * batch.rewards
        targets = update.target_values(policy, batch, rewards, self.double_q)
        seen, came = update.clamp_generator(
            policy, batch.features, batch.action_inputs, batch.successor_features
        )
        return {
            "controller": (
                policy.controller,
                *update.clamp_controller(policy, batch, targets, self.clamp_all_actions),
            ),
            "generator": (policy.generator, seen, came, None),
        }

    def diagnose(self, with_gradient: bool = False) -> dict[str, CircuitDiagnostics]:
        """
        Measure both circuits on one replayed batch, the controller with targets of the environment's
        reward alone; nothing is learned, and the random state that training draws from stays as it is.

        :param with_gradient: Whether to compare the updates with the true gradient (by autograd)
        :return: Figures of ``"controller"`` and ``"generator"``
        :raises ValueError: If there is nothing to draw
        """
        replay.check_filled(self.replay_buffer)
        self.policy.set_training_mode(False)
        with numpy_random_state_kept():
            batch = self.sample(self.batch_size)
        return {name: diagnose(*clamps, with_gradient) for name, clamps in self.clamps(batch).items()}

    def learn(
        self: SelfANGC,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "ANGC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfANGC:
        with dead_workers_named(self.env):
            return super().learn(
                total_timesteps=self.budget if total_timesteps is None else total_timesteps,
                callback=callback,
                log_interval=log_interval,
                tb_log_name=tb_log_name,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
            )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_compiled_update", "q_net", "q_net_target"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
