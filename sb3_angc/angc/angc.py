"""Active Neural Generative Coding, the algorithm."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    Schedule,
)
from stable_baselines3.common.utils import LinearSchedule

from sb3_angc.angc.policies import ANGCPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy, policy_for
from sb3_angc.angc.replay import FollowingNStepReplayBuffer
from sb3_angc.circuit import CircuitDiagnostics, CircuitState, diagnose, learn
from sb3_angc.common.checks import check_arguments, check_batch_fits, check_finite, check_weight
from sb3_angc.common.compiling import Compiled
from sb3_angc.common.workers import environments_of, watched_workers
from sb3_angc.saving.resuming import ResumableAlgorithm
from sb3_angc.saving.safe_files import load_safe, save_safe

SelfANGC = TypeVar("SelfANGC", bound="ANGC")

DEFAULT_N_STEPS = 5
# To 0 at the end of training: the last policy, not a lucky one on the way, is what remains.
DEFAULT_LEARNING_RATE = LinearSchedule(start=3e-3, end=0.0, end_fraction=1.0)
# Batches are sampled together up to so many numbers in all observations, from buffers that draw every
# transition on its own: a batch cut out of a large sample is then a sample itself.
FEATURES_AT_ONCE = 2**20
DRAW_ONE_BY_ONE = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer, FollowingNStepReplayBuffer)


class Batch(NamedTuple):
    """
    Replayed transitions as the circuits see them.

    :param features: Features of the observations, ``(batch, features_dim)``
    :param actions: Actions taken, ``(batch, 1)``
    :param taken: 1 at the action taken and 0 elsewhere, ``(batch, n_actions)``
    :param next_features: Features of the observations ``n_steps`` later, ``(batch, features_dim)``
    :param rewards: Discounted sum of the rewards until then, ``(batch, 1)``
    :param discounts: What the value of the next observation counts; 0 where the episode
        terminated, ``(batch, 1)``
    :param following_features: Features of the observations one step later, which the generator
        predicts, ``(batch, features_dim)``. A buffer of n-step returns other than
        :class:`~sb3_angc.angc.replay.FollowingNStepReplayBuffer` gives ``next_features``.
    """

    features: th.Tensor
    actions: th.Tensor
    taken: th.Tensor
    next_features: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor
    following_features: th.Tensor


class LocalUpdates(NamedTuple):
    """
    What the circuits learn from a batch.

    :param updates: Updates of :meth:`~sb3_angc.circuit.circuit.NGCCircuit.local_updates` by circuit,
        ``"controller"`` and, if it learns, ``"generator"``
    :param loss: Mean energy of the controller before it settled, a number
    :param epistemic_reward: Mean epistemic reward, a number; ``None`` without one
    """

    updates: dict[str, dict[str, th.Tensor]]
    loss: th.Tensor
    epistemic_reward: th.Tensor | None


class ANGC(ResumableAlgorithm):
    """
    Active Neural Generative Coding (ANGC): Q-learning by two predictive coding circuits, without
    backpropagation.

    Paper: https://arxiv.org/abs/2107.07046

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
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1), 1 for hard update
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
    :param exploration_initial_eps: initial value of random action probability
    :param exploration_final_eps: final value of random action probability
    :param max_grad_norm: The maximum norm of a circuit's local updates, ``inf`` for no limit
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
    :param compile_updates: Whether ``torch.compile`` makes one piece of all that the circuits compute of
        an update: faster after some 15 to 30 seconds for compiling, see ``docs/performance.md``. Needs a C++
        compiler; where it does not work, a warning says why.
    :raises ValueError: If an argument is not allowed
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    # Linear schedule will be defined in `_setup_model()`
    exploration_schedule: Schedule
    epistemic_schedule: Schedule
    policy: ANGCPolicy
    _work_out: Callable[[Batch, th.Tensor], LocalUpdates]

    def __init__(
        self,
        policy: str | type[ANGCPolicy] | GymEnv,
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = DEFAULT_LEARNING_RATE,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 64,
        tau: float = 0.01,
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
        exploration_final_eps: float = 0.04,
        max_grad_norm: float = 10,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        alpha_instrumental: float = 1.0,
        alpha_epistemic: float = 0.1,
        epistemic_fraction: float | None = None,
        double_q: bool = True,
        clamp_all_actions: bool = False,
        compile_updates: bool = False,
    ) -> None:
        policy, env = self._policy_and_env(policy, env, verbose)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None when a model is loaded without one
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise=None,  # No action noise
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=1,  # set below, where `None` is resolved
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            support_multi_env=True,
        )
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_fraction = exploration_fraction
        self.target_update_interval = target_update_interval
        if n_steps is None:
            # Without an environment a model is being loaded, and gets the saved number.
            has_parts = env is not None and isinstance(env.observation_space, spaces.Dict)
            is_supported = replay_buffer_class is None and not has_parts and not optimize_memory_usage
            n_steps = DEFAULT_N_STEPS if is_supported else 1
            if replay_buffer_class is FollowingNStepReplayBuffer:
                n_steps = (replay_buffer_kwargs or {}).get("n_steps", DEFAULT_N_STEPS)
        self.n_steps = n_steps
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

        if _init_setup_model:
            if env is None:
                raise ValueError("env=None is not allowed: the circuits need its observations and actions")
            check_batch_fits(batch_size, buffer_size)
            self._setup_model()

    def _policy_and_env(
        self, policy: str | type[ANGCPolicy] | GymEnv, env: GymEnv | str | None, verbose: int
    ) -> tuple[str | type[ANGCPolicy], GymEnv | None]:
        """
        Make the environment; where it stands in the policy's place, choose the policy class.

        :raises ValueError: If the policy is of another algorithm, or no environment has the given id
        """
        if isinstance(policy, type) and not issubclass(policy, ANGCPolicy):
            raise ValueError(
                f"policy={policy.__name__} is not allowed: it must be {', '.join(self.policy_aliases)}, "
                "a subclass of sb3_angc.angc.policies.ANGCPolicy or, alone, an environment"
            )
        is_policy = isinstance(policy, type) or policy in self.policy_aliases
        if env is None and not is_policy:
            policy, env = "", policy
        try:
            env = maybe_make_env(env, verbose) if env is not None else None
        except gym.error.UnregisteredEnv as error:
            close = difflib.get_close_matches(str(env), self.policy_aliases, n=1)
            meant = f" Or is the policy {close[0]!r} meant?" if close else ""
            raise ValueError(f"env={env!r} is not a registered environment: {error}{meant}") from error
        if policy == "" and env is not None:
            policy = policy_for(env.observation_space)
        return policy, env  # type: ignore[return-value]

    def _setup_model(self) -> None:
        check_arguments(self)
        n_steps = self.n_steps
        has_parts = isinstance(self.observation_space, spaces.Dict)
        if self.replay_buffer_class is None and n_steps > 1 and not has_parts:
            self.replay_buffer_class = FollowingNStepReplayBuffer
        if self.replay_buffer_class is FollowingNStepReplayBuffer:
            # Of a loaded model both may have been given anew.
            steps = {"n_steps": n_steps, "gamma": self.gamma}
            self.replay_buffer_kwargs = {**self.replay_buffer_kwargs, **steps}
            self.n_steps = 1  # or SB3 warns that it is ignored
        super()._setup_model()
        self.n_steps = n_steps
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps,
            self.exploration_final_eps,
            self.exploration_fraction,
        )
        fraction = self.epistemic_fraction
        self.epistemic_schedule = LinearSchedule(
            self.alpha_epistemic if fraction != 0 else 0.0,
            self.alpha_epistemic if fraction is None else 0.0,
            fraction or 1.0,
        )
        self._work_out = Compiled(self._local_updates) if self.compile_updates else self._local_updates

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        prepared = super()._setup_learn(*args, **kwargs)
        check_finite("first observation", self._last_obs)
        check_finite("first observation", self._last_original_obs)
        return prepared

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        # The last rollout may go on past the end, where a linear schedule would go below 0.
        self._current_progress_remaining = max(self._current_progress_remaining, 0.0)

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        rate = self.lr_schedule(self._current_progress_remaining)
        check_weight(f"learning_rate at progress {self._current_progress_remaining:.3f}", rate)
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
        # One bad value in the buffer would reach the weights at some later, unrelated step.
        check_finite("reward", reward)
        check_finite("observation", new_obs)
        for info in infos:
            check_finite("terminal observation", info.get("terminal_observation"))
        if self._vec_normalize_env is not None:  # which clips what is infinite
            check_finite("reward", self._vec_normalize_env.get_original_reward())
            check_finite("observation", self._vec_normalize_env.get_original_obs())
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

        epistemic_weight = th.tensor(
            self.epistemic_schedule(self._current_progress_remaining), device=self.device
        )
        losses, epistemic_rewards = [], []
        for batch in self._batches(gradient_steps, batch_size):
            updates, loss, epistemic_reward = self._work_out(batch, epistemic_weight)
            learn(
                {getattr(policy, name): of_circuit for name, of_circuit in updates.items()},
                policy.optimizer,
                self.max_grad_norm,
            )
            losses.append(loss)
            if epistemic_reward is not None:
                epistemic_rewards.append(epistemic_reward)

        # Increase update counter
        self._n_updates += gradient_steps

        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", th.stack(losses).mean().item())
        if epistemic_rewards:
            self.logger.record("train/epistemic_reward", th.stack(epistemic_rewards).mean().item())

    def _batches(self, n_batches: int, batch_size: int) -> Iterator[Batch]:
        """
        Replayed batches. Those of many updates are sampled and prepared at once, as far as memory and
        the kind of buffer allow: on small networks that alone is a third of an update's time.
        """
        at_once = 1
        if type(self.replay_buffer) in DRAW_ONE_BY_ONE:
            at_once = max(FEATURES_AT_ONCE // (batch_size * self.policy.features_extractor.features_dim), 1)
        for first in range(0, n_batches, at_once):
            n_samples = min(at_once, n_batches - first) * batch_size
            batches = self._sample(n_samples, update_statistics=True)
            yield from map(Batch._make, zip(*(th.split(field, batch_size) for field in batches), strict=True))

    def _sample(self, batch_size: int, update_statistics: bool) -> Batch:
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        if type(self.replay_buffer) is FollowingNStepReplayBuffer:
            # Which may be older than these settings: a loaded one, or they were set meanwhile.
            self.replay_buffer.n_steps, self.replay_buffer.gamma = self.n_steps, self.gamma
        samples = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        features = self.policy.features(samples.observations, update_statistics)
        next_features = self.policy.features(samples.next_observations)
        actions = samples.actions.long()
        following = getattr(samples, "following_observations", None)
        # For n-step replay, discount factor is gamma**n_steps (when no early termination)
        discounts = self.gamma if samples.discounts is None else samples.discounts
        return Batch(
            features,
            actions,
            features.new_zeros(batch_size, int(self.policy.action_space.n)).scatter_(1, actions, 1.0),
            next_features,
            samples.rewards,
            (1 - samples.dones) * discounts,
            next_features if following is None else self.policy.features(following),
        )

    def _local_updates(self, batch: Batch, epistemic_weight: th.Tensor) -> LocalUpdates:
        """
        Let the circuits settle on a batch. Nothing is learned yet, and nothing but operations on tensors
        depends on their values, so that this can be compiled.

        :param epistemic_weight: Weight of the epistemic reward, a number
        """
        rewards = self.alpha_instrumental * batch.rewards
        updates, mean_epistemic_reward = {}, None
        if self.alpha_epistemic > 0:
            generator = self.policy.generator
            state = self._settle_generator(batch)
            updates["generator"] = generator.local_updates(state)
            epistemic_reward = self.policy.epistemic_reward(state.total_discrepancy)
            mean_epistemic_reward = epistemic_reward.mean()
            rewards = rewards + epistemic_weight * epistemic_reward
        state = self._settle_controller(batch, self._target_values(batch, rewards))
        updates["controller"] = self.policy.controller.local_updates(state)
        # From the projection: half the mean squared TD error, times the output's precision
        return LocalUpdates(updates, state.energies[0].mean(), mean_epistemic_reward)

    def _settle_generator(self, batch: Batch) -> CircuitState:
        """Let the generator settle between what was seen and done and what came of it."""
        policy = self.policy
        return policy.generator.settle(
            policy.generator_input(batch.features, batch.taken),
            policy.generator_features(batch.following_features),
        )

    def _target_values(self, batch: Batch, rewards: th.Tensor) -> th.Tensor:
        """
        :return: ``r + gamma * max_a Q_target(s', a)``, without the second term where the episode
            terminated (a truncated one goes on), ``(batch, 1)``
        """
        next_values = self.policy.controller_target.project(batch.next_features)
        chooser = self.policy.controller.project(batch.next_features) if self.double_q else next_values
        next_values = next_values.gather(1, chooser.argmax(dim=1, keepdim=True))
        return th.addcmul(rewards, batch.discounts, next_values)

    def _settle_controller(self, batch: Batch, targets: th.Tensor) -> CircuitState:
        """Let the controller settle between observation and target value."""
        return self.policy.controller.settle(batch.features, *self._clamped_values(batch, targets))

    def _clamped_values(self, batch: Batch, targets: th.Tensor) -> tuple[th.Tensor, th.Tensor | None]:
        """
        :return: What the controller's output is clamped at, and where it is clamped (``None``:
            everywhere), each ``(batch, n_actions)``
        """
        if self.clamp_all_actions:
            return self.policy.controller.project(batch.features).scatter_(1, batch.actions, targets), None
        return targets.expand_as(batch.taken), batch.taken

    def diagnose(self, with_gradient: bool = False) -> dict[str, CircuitDiagnostics]:
        """
        Measure both circuits on one replayed batch, the controller with targets of the environment's
        reward alone; nothing is learned, and the random state that training draws from is left as it was.

        :param with_gradient: Whether to compare the updates with the true gradient (by autograd)
        :return: Figures of ``"controller"`` and ``"generator"``
        """
        self.policy.set_training_mode(False)
        random_state = np.random.get_state()  # noqa: NPY002 -- what SB3's buffers draw from
        batch = self._sample(self.batch_size, update_statistics=False)
        np.random.set_state(random_state)  # noqa: NPY002
        policy = self.policy
        values, clamped = self._clamped_values(
            batch, self._target_values(batch, self.alpha_instrumental * batch.rewards)
        )
        generator_input = policy.generator_input(batch.features, batch.taken)
        return {
            "controller": diagnose(policy.controller, batch.features, values, clamped, with_gradient),
            "generator": diagnose(
                policy.generator,
                generator_input,
                policy.generator_features(batch.following_features),
                with_gradient=with_gradient,
            ),
        }

    def predict(
        self,
        observation: np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]],
        state: tuple[np.ndarray[Any, Any], ...] | None = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray[Any, Any], tuple[np.ndarray[Any, Any], ...] | None]:
        """
        Overrides the base_class predict function to include epsilon-greedy exploration, with a
        draw of its own for each observation.

        :param observation: the input observation
        :param state: The last states (can be None, used in recurrent policies)
        :param episode_start: The last masks (can be None, used in recurrent policies)
        :param deterministic: Whether or not to return deterministic actions.
        :return: the model's action and the next state
            (used in recurrent policies)
        """
        # What `reset()` of Gymnasium returns: SB3 says what is wrong with it.
        given: Any = observation
        is_pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)
        if deterministic or is_pair:
            return self.policy.predict(observation, state, episode_start, deterministic)
        if isinstance(observation, dict):
            if not observation:
                raise ValueError(
                    "observation={} is not allowed: it must have the parts of the observation space"
                )
            observation = {key: np.asarray(part) for key, part in observation.items()}
        else:
            observation = np.asarray(observation)
        is_batch = self.policy.is_vectorized_observation(observation)
        part = next(iter(observation.values())) if isinstance(observation, dict) else observation
        draws = np.random.rand(len(part) if is_batch else 1)  # noqa: NPY002 -- seeded as in DQN
        explores = draws < self.exploration_rate
        actions = np.array([self.action_space.sample() if explore else 0 for explore in explores])
        if not explores.all():
            greedy, state = self.policy.predict(observation, state, episode_start, deterministic)
            actions = np.where(explores, actions, greedy)
        return actions if is_batch else actions.squeeze(axis=0), state

    def learn(
        self: SelfANGC,
        total_timesteps: int = 50_000,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "ANGC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfANGC:
        with watched_workers(self.env, *environments_of(callback)):
            return super().learn(
                total_timesteps=total_timesteps,
                callback=callback,
                log_interval=log_interval,
                tb_log_name=tb_log_name,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
            )

    def save_safe(self, path: str | pathlib.Path) -> None:
        """
        Save weights and settings in a file that can execute nothing when it is loaded, see
        :func:`sb3_angc.saving.safe_files.save_safe` and ``docs/safety.md``. Needs the extra ``safe``.

        :param path: Path; ``.safetensors`` is added where it has no ending
        """
        save_safe(self, path)

    @classmethod
    def load_safe(
        cls: type[SelfANGC],
        path: str | pathlib.Path,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        **kwargs: Any,
    ) -> SelfANGC:
        """
        Load a file of :meth:`save_safe`, whoever made it: nothing in it is executed.

        :param path: Path; ``.safetensors`` is added where there is no such file
        :param env: the new environment to run the loaded model on
            (can be None if you only need prediction from a trained model)
        :param device: Device on which the code should run.
        :param kwargs: Constructor's arguments that take the place of the saved ones
        :return: new model instance with loaded weights
        """
        return load_safe(cls, path, env, device, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_work_out"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
