"""Random choices while training: epsilon for each part of an action, and choices kept for some steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_angc.angc.actions import random_action
from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.angc.replay import SuccessorReplayBuffer
from sb3_angc.saving.resuming import ResumableAlgorithm

Array = np.ndarray[Any, Any]


def draw(space: spaces.Space[Any], n: int, rate: float | None) -> Array:
    """
    Draw, for each part of each action by itself, whether it is random. With one part the draws are DQN's, but
    for each environment.

    :param space: The action space
    :param n: Number of actions
    :param rate: Share of the parts that are random; ``None``: all, which takes no draw
    :return: Where actions are random, ``(n, *space.shape)``
    """
    shape = n, *(space.shape or ())
    if rate is None:
        return np.ones(shape, bool)
    return np.random.rand(*shape) < rate  # noqa: NPY002 -- seeded as in DQN


def random_actions(space: spaces.Space[Any], action_bins: int, explores: Array) -> Array:
    """
    :param space: The action space
    :param action_bins: Of :class:`~sb3_angc.angc.actions.ActionParts`
    :param explores: Where actions are random, ``(n, *space.shape)``
    :return: Random actions, anything where no part is random, same shape
    """
    nothing = np.zeros(space.shape or (), space.dtype)
    return np.array([random_action(space, action_bins) if row.any() else nothing for row in explores])


def mostly(explores: Array) -> Array:
    """
    :param explores: Where actions are random, ``(n, *space.shape)``
    :return: Whether an action counts as a random choice: more than half of its parts are random, ``(n,)``.
        With one part that is the part. With many, one of them nearly always is.
    """
    share: Array = explores.reshape(len(explores), -1).mean(axis=1)
    return share > 0.5


class KeptChoices:
    """
    Random choices that are kept for some steps, each part's by itself, so that exploring leads further than
    trembling does (ez-greedy, Dabney et al. 2021, https://arxiv.org/abs/2006.01782). For how long is drawn
    anew for each: ``n`` steps with a probability in proportion to ``1 / n^2``, as there, up to the longest.

    :ivar steps_left: For how many steps each part's choice is kept yet; 0 where it is not random
    :ivar actions: The choices
    """

    def __init__(self) -> None:
        self.steps_left = np.zeros(0, int)
        self.actions = np.zeros(0)

    def __call__(self, explores: Array, actions: Array, longest: int) -> tuple[Array, Array]:
        """
        :param explores: Where a random choice is to begin, unless an earlier one goes on
        :param actions: Random actions
        :param longest: The most steps that a choice is kept
        :return: Both with the choices that are kept, same shapes
        """
        if self.steps_left.shape != explores.shape:
            self.steps_left, self.actions = np.zeros(explores.shape, int), actions
        shares = (1 / np.arange(1, longest + 1) ** 2.0).cumsum()
        draws = np.random.rand(*explores.shape)  # noqa: NPY002 -- as all draws of an agent
        lengths = 1 + np.searchsorted(shares / shares[-1], draws, side="right")
        begins = explores & (self.steps_left == 0)
        self.steps_left = np.where(begins, lengths, self.steps_left)
        self.actions = np.where(begins, actions, self.actions)
        explores = self.steps_left > 0
        self.steps_left = self.steps_left - explores
        return explores, self.actions

    def end(self, dones: Array) -> None:
        """
        :param dones: Whether the episode of each environment ended: nothing is kept into the next
        """
        self.steps_left[dones] = 0


class ExploringAlgorithm(ResumableAlgorithm):
    """An off-policy algorithm that explores as DQN does, in each part of an action by itself."""

    policy: ANGCPolicy
    exploration_rate: float
    exploration_steps: int
    _kept_choices: KeptChoices | None = None
    # Of each action that was chosen last, and of each that is being taken: is it a random choice?
    _explored: Any = False
    _was_random: Any = False

    def predict(
        self,
        observation: Array | dict[str, Array],
        state: tuple[Array, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, tuple[Array, ...] | None]:
        """
        Overrides the base_class predict function to include epsilon-greedy exploration, with a
        draw of its own for each part of each action.

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
        rate = self.exploration_rate
        is_training = observation is self._last_obs and observation is not None
        if is_training:  # these are known to be of all environments
            return self._explore(self.n_envs, rate, self._act), state
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
        n = len(part) if is_batch else 1

        def best() -> Array:
            actions, _ = self.policy.predict(observation, state, episode_start)
            return actions.reshape(n, *(self.action_space.shape or ()))  # a batch, of one observation too

        actions = self._explore(n, rate, best)
        return actions if is_batch else actions.squeeze(axis=0), state

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[Array, Array]:
        """As SB3's, but random numbers of a Box are among its values, and random choices may be kept."""
        self._explored = False  # where nothing is random, or a subclass chooses by itself
        in_warm_up, keeps = self.num_timesteps < learning_starts, self.exploration_steps > 1
        if in_warm_up or keeps:
            rate = None if in_warm_up else self.exploration_rate
            actions = self._explore(n_envs, rate, self._best, keeps)
        else:
            assert self._last_obs is not None, "self._last_obs was not set"
            actions, _ = self.predict(self._last_obs)
        self._was_random = self._explored  # before a callback asks for other actions
        is_scaled = isinstance(self.action_space, spaces.Box)
        return actions, self.policy.scale_action(actions) if is_scaled else actions

    def _best(self) -> Array:
        """The best actions while training, by a subclass's own ``predict`` where it has one."""
        assert self._last_obs is not None, "self._last_obs was not set"
        return self.predict(self._last_obs, deterministic=True)[0]

    def _act(self) -> Array:
        """What the policy says while training, of observations that were checked when they came."""
        assert self._last_obs is not None, "self._last_obs was not set"
        if type(self.policy).predict is not BasePolicy.predict:
            return self.policy.predict(self._last_obs)[0]
        self.policy.set_training_mode(False)
        return self.policy._predict(obs_as_tensor(self._last_obs, self.policy.device)).cpu().numpy()

    def _explore(self, n: int, rate: float | None, best: Callable[[], Array], keeps: bool = False) -> Array:
        """
        :param n: Number of actions
        :param rate: Of :func:`draw`
        :param best: Says which actions are best; asked where not all are random
        :param keeps: Whether random choices are kept for ``exploration_steps`` steps
        :return: Random actions where the agent explores, and the best ones where it does not
        """
        explores = draw(self.action_space, n, rate)
        if not keeps and not explores.any():
            return best()
        actions = random_actions(self.action_space, self.policy.action_bins, explores)
        if keeps:
            self._kept_choices = self._kept_choices or KeptChoices()
            explores, actions = self._kept_choices(explores, actions, self.exploration_steps)
        self._explored = mostly(explores)
        return actions if explores.all() else np.where(explores, actions, best())

    def _end_episodes(self) -> None:
        super()._end_episodes()
        self._kept_choices = None

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: Array,
        new_obs: Array | dict[str, Array],
        reward: Array,
        dones: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        if isinstance(replay_buffer, SuccessorReplayBuffer):
            replay_buffer.note_random_choices(self._was_random)
        if self._kept_choices is not None:
            self._kept_choices.end(dones)
