"""An algorithm that can be stopped at any time, and from whose files training goes on exactly."""

from __future__ import annotations

import copy
import io
import pathlib
import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn
from stable_baselines3.common.utils import get_device
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc.common.environments import make_env
from sb3_angc.saving.files import FILE_FORMAT, Target, check_zip, writing
from sb3_angc.saving.safe_files import load_safe, save_safe

SelfResumable = TypeVar("SelfResumable", bound="ResumableAlgorithm")


def get_random_state(action_space: spaces.Space[Any], device: th.device) -> dict[str, Any]:
    """
    :param action_space: The space that random actions are drawn from
    :param device: Where the model computes
    :return: States of all generators that SB3 seeds and training draws from, but the environment's
    """
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 -- what SB3 draws from
        "torch": th.get_rng_state().numpy(),
        # Of another device it is not asked: that would start CUDA there.
        "cuda": th.cuda.get_rng_state(device).numpy() if device.type == "cuda" else None,
        "action_space": action_space.np_random.bit_generator.state,
    }


def set_random_state(state: dict[str, Any], action_space: spaces.Space[Any], device: th.device) -> None:
    """
    :param state: As returned by :func:`get_random_state`
    :param action_space: The space that random actions are drawn from
    :param device: Where the model computes
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    th.set_rng_state(th.from_numpy(state["torch"]))
    if state["cuda"] is not None and device.type == "cuda":
        th.cuda.set_rng_state(th.from_numpy(state["cuda"]), device)
    action_space.np_random.bit_generator.state = state["action_space"]


@contextmanager
def numpy_random_state_kept() -> Iterator[None]:
    """What is drawn within leaves numpy's global random state, which SB3's buffers draw from, as it was."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def end_last_trajectory(buffer: ReplayBuffer) -> None:
    """
    Mark the newest transition as the last of its trajectory, since the environment is reset after
    it: nothing is then summed, bootstrapped or relabelled across the gap. It counts as truncated,
    not as terminated, except where the buffer tells the two apart nowhere (``handle_timeout_termination``).

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
    if buffer.handle_timeout_termination:  # otherwise a truncated episode counts as terminated, as everywhere
        buffer.timeouts[buffer.pos - 1, goes_on] = 1


class ParametersError(ValueError, RuntimeError):
    """Parameters that do not fit: bad input, and the error that SB3 raises of it."""


class ResumableAlgorithm(OffPolicyAlgorithm):
    """
    An off-policy algorithm that can be stopped at any time: files are written in one piece, wrong
    ones are refused, and a saved run goes on as if it had not been interrupted (see
    ``docs/resuming.md``).
    """

    # Classes that a safe file may name, beside torch's
    safe_classes: ClassVar[tuple[type, ...]] = ()
    # Of the file this model was loaded from, until training goes on or a seed is set.
    _pending_random_state: dict[str, Any] | None = None

    def save(
        self, path: Target, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
    ) -> None:
        """
        Save all the attributes of the object, the model parameters and the random states in a
        zip-file. An older file is replaced in one step, when the new one is complete.

        :param path: path to the file where the rl agent should be saved
        :param exclude: name of parameters that should be excluded in addition to the default ones
        :param include: name of parameters that might be excluded but should be included anyway
        :raises OSError: If the file cannot be written; an older one is as it was then
        """
        archive = io.BytesIO()
        self._file_format = FILE_FORMAT
        self._random_state = self._pending_random_state or get_random_state(self.action_space, self.device)
        try:
            super().save(archive, exclude, include)
        finally:
            del self._random_state
        with writing(path, "zip") as file:
            file.write(archive.getbuffer())

    @classmethod
    def load(
        cls: type[SelfResumable],
        path: Target,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfResumable:
        """
        Load the model from a zip-file. It can run code: load only files that you trust, or see
        ``load_safe``.

        :param path: path to the file (or a file-like) where to load the agent from
        :param env: the new environment to run the loaded model on, or the id of a registered one
            (can be None if you only need prediction from a trained model)
        :param device: Device on which the code should run.
        :param custom_objects: Dictionary of objects to replace upon loading
        :param print_system_info: Whether to print system info from the saved model
            and the current system info
        :param force_reset: Force call to ``reset()`` before training
        :param kwargs: extra arguments to change the model when loading. With ``seed``, the saved
            random states are left aside.
        :return: new model instance with loaded parameters
        :raises ValueError: If the file is not a complete one of ANGC, of this version or an older, or no
            environment has the given id
        """
        check_zip(path)
        env = None if env is None else make_env(env)
        get_device(device)  # what is none is no fault of the file
        try:
            model = super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
        except (ValueError, AssertionError, OSError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
        state = model.__dict__.pop("_random_state", None)
        model._pending_random_state = None if "seed" in kwargs else state
        return model

    def save_safe(self, path: str | pathlib.Path) -> None:
        """
        Save weights and settings in a file that can execute nothing when it is loaded, see
        :func:`sb3_angc.saving.safe_files.save_safe` and ``docs/safety.md``. Needs the extra ``safe``.

        :param path: Path; ``.safetensors`` is added where it has no ending
        """
        save_safe(self, path, self.safe_classes)

    @classmethod
    def load_safe(
        cls: type[SelfResumable],
        path: str | pathlib.Path,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        **kwargs: Any,
    ) -> SelfResumable:
        """
        Load a file of :meth:`save_safe`, whoever made it: nothing in it is executed.

        :param path: Path; ``.safetensors`` is added where there is no such file. Or the folder of a packaged
            agent
        :param env: the new environment to run the loaded model on, or the id of a registered one
            (can be None if you only need prediction from a trained model)
        :param device: Device on which the code should run.
        :param kwargs: Constructor's arguments that take the place of the saved ones
        :return: new model instance with loaded weights
        """
        env = None if env is None else make_env(env)
        return load_safe(cls, path, cls.safe_classes, env, device, **kwargs)

    def set_parameters(
        self,
        load_path_or_dict: str | dict[str, Any],
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """
        Load parameters from a given zip-file or a nested dictionary containing parameters for
        different modules (see ``get_parameters``). Where that fails the model is as it was.

        :param load_path_or_dict: Location of the saved data (path or file-like, see ``save``), or a
            nested dictionary containing nn.Module parameters used by the policy
        :param exact_match: If True, the given parameters should include parameters for each module
            and each of their parameters
        :param device: Device on which the code should run.
        :raises ValueError: If the parameters do not fit, or are not finite
        """
        if not isinstance(load_path_or_dict, dict):
            check_zip(load_path_or_dict)
        before: dict[str, Any] = copy.deepcopy(self.get_parameters())
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
            for name, value in self.policy.state_dict().items():
                if value.is_floating_point() and not th.isfinite(value).all():
                    raise ValueError(f"The parameters are not loaded: {name} is not finite")
        except BaseException as error:
            super().set_parameters(before, exact_match=True, device=self.device)
            if isinstance(error, Exception) and not isinstance(error, (ValueError, OSError)):
                raise ParametersError(f"The parameters do not fit this model: {error}") from error
            raise

    def save_replay_buffer(self, path: Target) -> None:
        """
        Save the replay buffer as a pickle file. An older file is replaced in one step, when the
        new one is complete.

        :param path: Path to the file where the replay buffer should be saved.
        :raises OSError: If the file cannot be written; an older one is as it was then
        """
        with writing(path, "pkl") as file:
            super().save_replay_buffer(file)  # type: ignore[arg-type]  # SB3 takes files as well

    def load_replay_buffer(self, path: Target, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer from a pickle file. It can run code: load only files that you trust.

        :param path: Path to the pickled replay buffer.
        :param truncate_last_traj: With ``HerReplayBuffer``: whether the last trajectory in the
            replay buffer was finished; ``False`` to go on with the same one
        :raises ValueError: If the file holds no replay buffer that fits; the model is as it was then
        """
        before = vars(self).get("replay_buffer")  # it may have been deleted, to make room
        try:
            super().load_replay_buffer(path, truncate_last_traj)
            assert self.replay_buffer is not None
            for name in ("observation_space", "action_space", "n_envs"):
                its, mine = getattr(self.replay_buffer, name), getattr(self, name)
                if its != mine:
                    raise ValueError(f"its {name} is {its}, and the model's {mine}")
            sums_steps = issubclass(self.replay_buffer_class or ReplayBuffer, NStepReplayBuffer)
            if sums_steps and self.n_steps > 1 and not isinstance(self.replay_buffer, NStepReplayBuffer):
                kind = type(self.replay_buffer).__name__
                raise ValueError(f"it is a {kind}, of returns of one step, and n_steps={self.n_steps}")
        except BaseException as error:
            self.replay_buffer = before
            if isinstance(error, Exception) and not isinstance(error, (OSError, MemoryError)):
                raise ValueError(f"The replay buffer {path} cannot be loaded: {error!r}") from error
            raise

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Set the seed of the pseudo-random generators (python, numpy, pytorch, gym, action_space).

        :param seed: ``None`` leaves the generators as they are
        """
        super().set_random_seed(seed)
        if seed is not None:
            self._pending_random_state = None

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if reset_num_timesteps or self._last_obs is None:  # environments are about to be reset
            self._end_episodes()
        prepared = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if self._pending_random_state is not None and not reset_num_timesteps:
            set_random_state(self._pending_random_state, self.action_space, self.device)
        self._pending_random_state = None
        return prepared

    def _end_episodes(self) -> None:
        """What ends with an episode, wherever it is cut short."""
        if self.replay_buffer is not None:
            end_last_trajectory(self.replay_buffer)

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        rollout = super().collect_rollouts(*args, **kwargs)
        if not rollout.continue_training:
            # A callback has stopped it, after the environment's step and before that was stored: as
            # after an error, see `learn`.
            self._last_obs = None
        return rollout

    def learn(self: SelfResumable, *args: Any, **kwargs: Any) -> SelfResumable:
        try:
            return super().learn(*args, **kwargs)
        except BaseException:
            # The environment may have gone on since the last transition stored: the two no longer
            # belong together, and the next call of learn() has to reset it.
            self._last_obs = None
            raise

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_pending_random_state"]
