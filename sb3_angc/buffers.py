"""n-step returns for an agent whose generator predicts a single step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize


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
        # SB3 draws an environment for each index first of all. The same draw, twice:
        random_state = np.random.get_state()  # noqa: NPY002 -- what SB3's buffers draw from
        env_indices = np.random.randint(0, self.n_envs, size=batch_inds.shape)  # noqa: NPY002
        np.random.set_state(random_state)  # noqa: NPY002
        samples = super()._get_samples(batch_inds, env)
        following = self._normalize_obs(self.next_observations[batch_inds, env_indices], env)
        return NStepSamples(*samples, following_observations=self.to_torch(following))  # type: ignore[arg-type]
