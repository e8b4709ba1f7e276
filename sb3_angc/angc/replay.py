"""n-step returns for an agent whose generator predicts a single step, and the end of a trajectory."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer


class NStepSamples(NamedTuple):
    """
    SB3's replayed samples of n steps, and what followed at once.

    :param following_observations: Observations one step after ``observations``, where
        ``next_observations`` are ``n_steps`` after them; same shape
    """

    observations: th.Tensor
    actions: th.Tensor
    next_observations: th.Tensor
    dones: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor | None
    following_observations: th.Tensor


class FollowingNStepReplayBuffer(NStepReplayBuffer):
    """
    Replay buffer of n-step returns that also gives the observation one step later: the controller
    learns from n steps, the generator from one. Its parameters are those of SB3's ``NStepReplayBuffer``.
    """

    def _get_samples(  # type: ignore[override]  # SB3's samples and one field more
        self, batch_inds: np.ndarray[Any, Any], env: VecNormalize | None = None
    ) -> NStepSamples:
        env_indices: Any = 0
        if self.n_envs > 1:
            # SB3 draws an environment for each index first of all. The same draw, twice:
            random_state = np.random.get_state()  # noqa: NPY002 -- what SB3's buffers draw from
            env_indices = np.random.randint(0, self.n_envs, size=batch_inds.shape)  # noqa: NPY002
            np.random.set_state(random_state)  # noqa: NPY002
        samples = super()._get_samples(batch_inds, env)
        following = self._normalize_obs(self.next_observations[batch_inds, env_indices], env)
        return NStepSamples(*samples, following_observations=self.to_torch(following))  # type: ignore[arg-type]


def end_last_trajectory(buffer: ReplayBuffer) -> None:
    """
    Mark the newest transition as the last of its trajectory, since the environment is reset after
    it: nothing is then summed, bootstrapped or relabelled across the gap. It counts as truncated,
    not as terminated, except where next observations are not stored (``optimize_memory_usage``).

    :param buffer: Replay buffer; one without a transition stays as it is
    """
    if buffer.pos == buffer.buffer_size:  # interrupted between adding and turning round
        buffer.full, buffer.pos = True, 0
    if buffer.size() == 0:
        return
    if isinstance(buffer, HerReplayBuffer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what is intended here
            buffer.truncate_last_trajectory()
        return
    goes_on = buffer.dones[buffer.pos - 1] == 0
    buffer.dones[buffer.pos - 1, goes_on] = 1
    if not buffer.optimize_memory_usage:
        buffer.timeouts[buffer.pos - 1, goes_on] = 1
