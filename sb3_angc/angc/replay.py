"""
From the replay buffer to what the circuits see.

The controller learns from returns of ``n_steps``, the generator from a single step: a sample holds what came
after one step, the *successor*, and what came after ``n_steps`` (or at the episode's end), where the rewards
are summed up and the value of the rest is *bootstrapped*.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch as th
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from sb3_angc.angc.policies import ANGCPolicy
from sb3_angc.common.checks import require

DEFAULT_N_STEPS = 5
# Batches are sampled together up to so many numbers in all their observations and actions.
NUMBERS_AT_ONCE = 2**20


class SuccessorSamples(NamedTuple):
    """
    SB3's replayed samples, whose next observations are ``n_steps`` later, and the successors.

    :ivar successors: Observations one step after ``observations``; same shape
    """

    observations: th.Tensor
    actions: th.Tensor
    next_observations: th.Tensor
    dones: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor
    successors: th.Tensor


class SuccessorReplayBuffer(NStepReplayBuffer):
    """
    Replay buffer of n-step returns that also gives the observation one step later. A return ends before the
    first random choice that comes after its first transition, as traces do in Watkins's Q(lambda) (Sutton &
    Barto 2018, section 12.10): what exploring costs is not what the best actions are worth.
    An action of several parts is a random choice where more than half of them are.
    Parameters are those of SB3's ``NStepReplayBuffer``; where no choice was random, so are its samples, from
    the same draws.

    :param cut_at_random_choices: Whether returns end there, or hold what random choices earned, as DQN's do
    :raises ValueError: If that is not told by True or False
    """

    def __init__(self, *args: Any, cut_at_random_choices: bool = True, **kwargs: Any) -> None:
        is_flag = isinstance(cut_at_random_choices, bool)
        require("cut_at_random_choices", cut_at_random_choices, is_flag, "True or False")
        super().__init__(*args, **kwargs)
        self.cut_at_random_choices = cut_at_random_choices
        self.was_random = np.zeros((self.buffer_size, self.n_envs), bool)

    def add(self, *args: Any, **kwargs: Any) -> None:
        self.was_random[self.pos] = False
        super().add(*args, **kwargs)

    def note_random_choices(self, are_random: np.ndarray[Any, Any] | bool) -> None:
        """
        :param are_random: Whether the newest action of each environment was a random choice, ``(n_envs,)``
        """
        self.was_random[self.pos - 1] = are_random

    def _get_samples(  # type: ignore[override]  # SB3's tuple of samples cannot be extended
        self, batch_inds: np.ndarray[Any, Any], env: VecNormalize | None = None
    ) -> SuccessorSamples:
        envs = np.random.randint(0, self.n_envs, size=batch_inds.shape)  # noqa: NPY002 -- as SB3 draws
        steps = (batch_inds[:, None] + np.arange(self.n_steps)) % self.buffer_size
        each_env = envs[:, None]
        # A trajectory ends where its episode does, and at the newest transition.
        ends = (self.dones[steps, each_env] > 0) | (self.timeouts[steps, each_env] > 0)
        ends |= steps == (self.pos - 1) % self.buffer_size
        if self.cut_at_random_choices:
            ends |= self.was_random[(steps + 1) % self.buffer_size, each_env]
        counts = np.cumsum(ends, axis=1) - ends == 0  # up to the first end, which counts as well
        n_counted = counts.sum(axis=1, keepdims=True)
        last = (batch_inds + n_counted[:, 0] - 1) % self.buffer_size

        rewards = self._normalize_reward(self.rewards[steps, each_env], env)
        powers = self.gamma ** np.arange(self.n_steps, dtype=np.float32)
        terminated = self.dones[last, envs] * (1 - self.timeouts[last, envs])

        # What an index array picks is a copy already.
        tensor = functools.partial(self.to_torch, copy=False)

        def observations(stored: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> th.Tensor:
            return tensor(np.asarray(self._normalize_obs(stored[rows, envs], env)))

        return SuccessorSamples(
            observations(self.observations, batch_inds),
            tensor(self.actions[batch_inds, envs]),
            observations(self.next_observations, last),
            tensor(terminated[:, None]),
            tensor((rewards * powers * counts).sum(axis=1, keepdims=True)),
            tensor(self.gamma ** n_counted.astype(np.float32)),
            observations(self.next_observations, batch_inds),
        )


Samples: TypeAlias = ReplayBufferSamples | SuccessorSamples


class Batch(NamedTuple):
    """
    Replayed transitions as the circuits see them.

    :ivar features: Features of the observations ``s_t``, ``(batch, features_dim)``
    :ivar choices: Of the actions taken ``a_t``, see :class:`~sb3_angc.angc.actions.ActionParts`,
        ``(batch, n_parts)``
    :ivar taken: 1 at these and 0 elsewhere, ``(batch, n_outputs)``
    :ivar action_inputs: What the generator sees of ``a_t``, ``(batch, input_size)``
    :ivar successor_features: Features of ``s_{t+1}``, which the generator predicts,
        ``(batch, features_dim)``. A buffer of n-step returns other than :class:`SuccessorReplayBuffer` gives
        ``bootstrap_features``.
    :ivar bootstrap_features: Features of ``s_{t+n}``, ``(batch, features_dim)``
    :ivar rewards: Discounted sum of the rewards until then, ``(batch, 1)``
    :ivar discounts: What the value of ``s_{t+n}`` counts; 0 where the episode terminated, ``(batch, 1)``
    """

    features: th.Tensor
    choices: th.Tensor
    taken: th.Tensor
    action_inputs: th.Tensor
    successor_features: th.Tensor
    bootstrap_features: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor


Prepare: TypeAlias = Callable[[ANGCPolicy, Samples, th.Tensor, float, int], list[Batch]]


def sums_steps(replay_buffer_class: type[ReplayBuffer] | None) -> bool:
    """Whether buffers of a class sum up returns of several steps."""
    return isinstance(replay_buffer_class, type) and issubclass(replay_buffer_class, NStepReplayBuffer)


def choose_n_steps(
    n_steps: int | None,
    gamma: float,
    replay_buffer_class: type[ReplayBuffer] | None,
    replay_buffer_kwargs: dict[str, Any] | None,
    has_parts: bool,
    optimize_memory_usage: bool,
) -> int:
    """
    :param n_steps: The argument of ``ANGC``; ``None`` is that of ``replay_buffer_kwargs``, or else 5 where
        SB3 supports n-step returns, and 1 elsewhere
    :param gamma: The argument of ``ANGC``
    :param has_parts: Whether observations are Dicts
    :return: The number of steps
    :raises ValueError: If the replay buffer's arguments say something else of the steps or of ``gamma``
    """
    kwargs = replay_buffer_kwargs if isinstance(replay_buffer_kwargs, dict) else {}
    may_sum = replay_buffer_class is None or sums_steps(replay_buffer_class)
    if may_sum:
        for name, value in (("n_steps", n_steps), ("gamma", gamma)):
            if value is not None and kwargs.get(name, value) != value:
                raise ValueError(
                    f"replay_buffer_kwargs[{name!r}]={kwargs[name]!r} is not allowed with {name}={value!r}: "
                    "say it once, or the same twice"
                )
        if n_steps is None and "n_steps" in kwargs:
            steps: int = kwargs["n_steps"]
            return steps
    if n_steps is not None:
        return n_steps
    is_supported = replay_buffer_class is None and not has_parts and not optimize_memory_usage
    return DEFAULT_N_STEPS if is_supported or sums_steps(replay_buffer_class) else 1


def choose_buffer(
    replay_buffer_class: type[ReplayBuffer] | None,
    replay_buffer_kwargs: dict[str, Any],
    n_steps: int,
    gamma: float,
    has_parts: bool,
) -> tuple[type[ReplayBuffer] | None, dict[str, Any]]:
    """
    :return: Class and arguments of the replay buffer; ``None`` leaves the choice to SB3. Parameters as in
        :func:`choose_n_steps`.
    """
    is_ours = n_steps > 1 or bool({"n_steps", "gamma", "cut_at_random_choices"} & replay_buffer_kwargs.keys())
    if replay_buffer_class is None and is_ours and not has_parts:
        replay_buffer_class = SuccessorReplayBuffer
    if has_parts and replay_buffer_class is None and "cut_at_random_choices" in replay_buffer_kwargs:
        raise ValueError(
            "replay_buffer_kwargs['cut_at_random_choices'] is not allowed with Dict observations: their "
            "returns have one step"
        )
    if sums_steps(replay_buffer_class):
        replay_buffer_kwargs = {**replay_buffer_kwargs, "n_steps": n_steps, "gamma": gamma}
    return replay_buffer_class, replay_buffer_kwargs


def without_steps(
    replay_buffer_class: type[ReplayBuffer] | None, replay_buffer_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """
    :return: What :func:`choose_buffer` was given, to keep and to save: the steps and their discount are the
        agent's own, and a buffer of another class that is asked for later does not take them
    """
    if not sums_steps(replay_buffer_class):
        return replay_buffer_kwargs
    return {name: value for name, value in replay_buffer_kwargs.items() if name not in ("n_steps", "gamma")}


def check_filled(buffer: ReplayBuffer | None) -> None:
    """:raises ValueError: If nothing can be drawn from a buffer"""
    if buffer is None or buffer.size() == 0:
        raise ValueError("The replay buffer is empty: train first, or load one")


def draw(
    buffer: ReplayBuffer, n_steps: int, gamma: float, env: VecNormalize | None, n_samples: int
) -> Samples:
    """
    :param buffer: Any replay buffer of SB3
    :param n_steps: Of the returns that an ``NStepReplayBuffer`` sums up
    :param gamma: Discount factor of these
    :param env: Environment whose statistics normalise observations and rewards, as in SB3
    :param n_samples: Number of transitions
    :return: The buffer's samples
    """
    if isinstance(buffer, NStepReplayBuffer):
        # Both may have been set since the buffer was made, or loaded from a file.
        buffer.n_steps, buffer.gamma = n_steps, gamma
    return buffer.sample(n_samples, env=env)


def as_batch(samples: Samples, features: th.Tensor, policy: ANGCPolicy, gamma: float) -> Batch:
    """
    :param samples: Of a replay buffer
    :param features: Features of :func:`observations`, ``(2 or 3 times the batch, features_dim)``
    :param policy: Knows the actions
    :param gamma: Discount factor, for samples that bring no discounts
    """
    parts = policy.action_parts
    choices = parts.choices(samples.actions)
    taken = parts.chosen(choices, features.dtype)
    n_samples = len(choices)
    features, bootstrap_features, successor_features = (
        features[:n_samples],
        features[n_samples : 2 * n_samples],
        features[-n_samples:],
    )
    return Batch(
        features,
        choices,
        taken,
        parts.inputs(samples.actions, taken),
        successor_features,
        bootstrap_features,
        samples.rewards.to(features),
        ((1 - samples.dones) * (gamma if samples.discounts is None else samples.discounts)).to(features),
    )


def seen(samples: Samples, policy: ANGCPolicy, gamma: float) -> Batch:
    """
    :return: Samples as the policy sees them now. Parameters as in :func:`as_batch`
    """
    return as_batch(samples, policy.features(observations(samples)), policy, gamma)


def observations(samples: Samples) -> PyTorchObs:
    """
    :return: All observations of some samples, one kind after the other: on small networks half the time of
        looking at each kind alone
    """
    kinds: list[Any] = [samples.observations, samples.next_observations]
    if isinstance(samples, SuccessorSamples):
        kinds.append(samples.successors)
    if isinstance(kinds[0], dict):
        return {key: th.cat([kind[key] for kind in kinds]) for key in kinds[0]}
    return th.cat(kinds)


def prepared(
    policy: ANGCPolicy, samples: Samples, raw_features: th.Tensor, gamma: float, n_batches: int
) -> list[Batch]:
    """
    Samples as batches to learn from. The policy's normalisation takes them into its statistics first.

    :param raw_features: Of :func:`observations`, before normalisation, ``(2 or 3 times the samples,
        features_dim)``
    :param n_batches: Number of batches. Others as in :func:`as_batch`
    """
    policy.observe(raw_features[: len(samples.actions)])
    drawn = as_batch(samples, policy.normalize(raw_features), policy, gamma)
    # Dealt out in turn, as cards are: some buffers return one kind of transition before the other.
    return [Batch._make(field[index::n_batches] for field in drawn) for index in range(n_batches)]


def batches(
    buffer: ReplayBuffer,
    n_steps: int,
    gamma: float,
    env: VecNormalize | None,
    policy: ANGCPolicy,
    n_batches: int,
    batch_size: int,
    prepare: Prepare = prepared,
) -> Iterator[Batch]:
    """
    Batches to learn from. Those of many updates are drawn and prepared together, as far as memory allows: on
    small networks that alone is a third of an update's time.

    :param policy: The policy, whose normalisation goes on
    :param n_batches: Number of batches, of ``batch_size`` transitions each. Others as in :func:`draw`
    :param prepare: :func:`prepared`, or the same compiled
    """
    n_features = int(policy.features_extractor.features_dim)  # numpy's in some spaces, as small as theirs
    n_numbers = n_features + policy.action_parts.n_outputs
    at_once = max(NUMBERS_AT_ONCE // (batch_size * n_numbers), 1)
    for first in range(0, n_batches, at_once):
        n = min(at_once, n_batches - first)
        samples = draw(buffer, n_steps, gamma, env, n * batch_size)
        yield from prepare(policy, samples, policy.raw_features(observations(samples)), gamma, n)
