"""
Files of agents that execute nothing when they are loaded: tensors in safetensors, settings in JSON.

Whatever a file says is data: classes are chosen by name from fixed lists, and values go through the
same checks as a constructor's arguments.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.utils import (
    ConstantSchedule,
    FloatSchedule,
    LinearSchedule,
    check_for_correct_spaces,
)
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_angc.circuit import Activation
from sb3_angc.common.checks import check_keywords, require
from sb3_angc.saving.files import writing
from sb3_angc.saving.spaces import decode_space, encode_space

SelfAlgorithm = TypeVar("SelfAlgorithm", bound=OffPolicyAlgorithm)

# What it is called in a folder that holds an agent and what is told of it
AGENT_FILE = "agent.safetensors"
# One more whenever a file of this version could not be read by the version before.
SAFE_FORMAT = 4
# Classes of torch that a file may name. Beside these and the algorithm's own, nothing is imported or called
# on its behalf.
TORCH_CLASSES: tuple[type, ...] = (
    *(th.optim.Adam, th.optim.AdamW, th.optim.Adamax, th.optim.NAdam, th.optim.RAdam),
    *(th.optim.RMSprop, th.optim.SGD),
)
Classes: TypeAlias = Mapping[str, type]
SCHEDULES: dict[str, tuple[type, tuple[str, ...]]] = {
    "linear": (LinearSchedule, ("start", "end", "end_fraction")),
    "constant": (ConstantSchedule, ("val",)),
}
# Not a matter of the agent: where it runs, and what it writes there.
NOT_STORED = ("policy", "env", "device", "tensorboard_log", "verbose", "_init_setup_model")
COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_episode_num",
    "_n_updates",
    "_n_calls",
    "exploration_rate",
    "_current_progress_remaining",
    "budget",
)


def save_safe(model: OffPolicyAlgorithm, path: str | pathlib.Path, own_classes: Sequence[type]) -> None:
    """
    Save weights, settings and counters so that loading them can execute nothing. Optimizer moments,
    random states and the replay buffer are not saved.

    :param model: The agent
    :param path: Path; ``.safetensors`` is added where it has no ending
    :param own_classes: Classes that a file may name beside torch's
    :raises ValueError: If a setting is no plain value: a policy, features extractor or activation
        of your own
    :raises ImportError: If safetensors is not installed
    :raises OSError: If the file cannot be written; an older one is as it was then
    """
    safetensors = _import_safetensors()
    classes = _by_name(own_classes)
    names = {kind: name for name, kind in reversed(model.policy_aliases.items())}
    if model.policy_class not in names:
        raise ValueError(
            f"policy={model.policy_class.__name__} cannot be saved safely: it must be one of "
            f"{', '.join(model.policy_aliases)}"
        )
    content = {
        "format": SAFE_FORMAT,
        "policy": names[model.policy_class],
        "observation_space": encode_space(model.observation_space),
        "action_space": encode_space(model.action_space),
        "settings": {
            name: _encode(_setting(model, name, classes), name, classes)
            for name in _stored_arguments(type(model))
        },
        "counters": {name: _encode(getattr(model, name), name, classes) for name in COUNTERS},
    }
    # Copies, since safetensors refuses tensors that share memory.
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in model.policy.state_dict().items()
    }
    data = safetensors.save(tensors, {"sb3_angc": json.dumps(content)})
    with writing(path, "safetensors") as file:
        file.write(data)


def load_safe(
    cls: type[SelfAlgorithm],
    path: str | pathlib.Path,
    own_classes: Sequence[type],
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    **kwargs: Any,
) -> SelfAlgorithm:
    """
    Load what :func:`save_safe` saved. Nothing in the file is executed.

    :param cls: The class of the agent
    :param path: Path; ``.safetensors`` is added where there is no such file. Of a folder, as
        ``python -m sb3_angc.zoo package_agent`` writes it, the file ``agent.safetensors`` is taken
    :param own_classes: As in :func:`save_safe`
    :param env: the new environment to run the loaded model on
        (can be None if you only need prediction from a trained model)
    :param device: Device on which the code should run.
    :param kwargs: Constructor's arguments that take the place of the saved ones
    :return: new model instance with loaded weights
    :raises ValueError: If the file is not complete, is of a newer version, does not fit ``env``, or
        asks for something that is not allowed. An error of the arguments given here is the constructor's.
    :raises ImportError: If safetensors is not installed
    """
    safetensors = _import_safetensors()
    path = pathlib.Path(path)
    candidates = [path, path.with_name(f"{path.name}.safetensors"), path / AGENT_FILE]
    path = next((each for each in candidates if each.is_file()), path)
    if not path.is_file():
        raise FileNotFoundError(f"There is none of the files {', '.join(map(str, candidates))}")
    data = path.read_bytes()
    with _file_blamed(path):
        tensors = safetensors.load(data)
        length = int.from_bytes(data[:8], "little")
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["sb3_angc"])
        if content["format"] > SAFE_FORMAT:
            raise ValueError(
                f"its format is {content['format']}, and this version of sb3_angc reads up to {SAFE_FORMAT}"
            )
        if content["format"] < 3:
            _complete(content["settings"], tensors)
        seen = [decode_space(content[name]) for name in ("observation_space", "action_space")]
        needs_env = content["settings"]["replay_buffer_class"] == {"class": HerReplayBuffer.__name__}
    if env is not None:
        env = cls._wrap_env(env, kwargs.get("verbose", 0))
        check_for_correct_spaces(env, *seen)
    is_enough = env is not None or not needs_env or "replay_buffer_class" in kwargs
    require("env", env, is_enough, "given: the HerReplayBuffer of this agent computes rewards by it")
    build = functools.partial(_build, cls, content, tensors, _by_name(own_classes), seen, env)
    try:
        return build(device, kwargs)
    except OSError:
        raise
    except Exception:
        # Where the file by itself can be loaded, the error is of what was asked for, and told as that.
        with _file_blamed(path):
            build("cpu", {"buffer_size": 1} if "buffer_size" in kwargs else {})
        raise


@contextmanager
def _file_blamed(path: pathlib.Path) -> Iterator[None]:
    """Errors within are told as faults of the file."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # whatever wrong types and values lead to
        raise ValueError(f"{path} is not a safe file of ANGC that can be loaded: {error!r}") from error


def _complete(settings: dict[str, Any], tensors: dict[str, th.Tensor]) -> None:
    """
    Say in a file of format 1 or 2 what it left to the defaults of its time: values as they are, surprise over
    its maximum, an output precision of 0.1 and a limit on the norm in units of it; all features normalised.
    """
    policy_kwargs = {"epistemic_scale": "maximum", **(settings["policy_kwargs"] or {})}
    if "value_scale.mean" not in tensors:
        policy_kwargs.setdefault("normalize_values", False)
    circuit_kwargs = dict(policy_kwargs.get("circuit_kwargs") or {})
    if policy_kwargs.get("circuit", "settled") == "settled":
        settings["max_grad_norm"] /= circuit_kwargs.setdefault("output_precision", 0.1)
        policy_kwargs["circuit_kwargs"] = circuit_kwargs
    settings["policy_kwargs"] = policy_kwargs
    for name in [name for name in tensors if name.endswith("normalization.mean")]:
        is_binary = name.removesuffix("mean") + "is_binary"
        tensors.setdefault(is_binary, th.zeros_like(tensors[name], dtype=th.bool))


def _build(
    cls: type[SelfAlgorithm],
    content: dict[str, Any],
    tensors: dict[str, th.Tensor],
    classes: Classes,
    seen: Sequence[spaces.Space[Any]],
    env: VecEnv | None,
    device: th.device | str,
    kwargs: dict[str, Any],
) -> SelfAlgorithm:
    observation_space, action_space = seen
    allowed = _stored_arguments(cls)
    unknown = [name for name in content["settings"] if name not in allowed]
    if unknown:
        raise ValueError(f"it holds settings that ANGC does not have: {', '.join(unknown)}")
    settings = {name: _decode(value, classes) for name, value in content["settings"].items()}
    if isinstance(settings["train_freq"], list):
        settings["train_freq"] = tuple(settings["train_freq"])  # JSON has no tuples
    for name in ("n_steps", "gamma"):  # which earlier files hold there too: they are settings of their own
        (settings["replay_buffer_kwargs"] or {}).pop(name, None)
    settings.update(kwargs)
    policy_class = cls.policy_aliases[content["policy"]]
    by = f"that policy_kwargs={kwargs['policy_kwargs']!r}" if "policy_kwargs" in kwargs else "it"
    policy_kwargs = settings["policy_kwargs"] or {}
    _check_tensors(tensors, policy_class, observation_space, action_space, policy_kwargs, by)
    # Created without an environment, as SB3's load() does it.
    make_model: Callable[..., SelfAlgorithm] = cls
    model = make_model(policy_class, None, device=device, _init_setup_model=False, **settings)
    model.observation_space, model.action_space, model.n_envs = observation_space, action_space, 1
    if env is not None:
        model.n_envs = env.num_envs
        model.set_env(env)
    model._setup_model()
    parameters: dict[str, Any] = {"policy": tensors}
    model.set_parameters(parameters, exact_match=False, device=device)
    counters = {"budget": getattr(cls, "budget", 0), **content["counters"]}  # which earlier files lack
    for name in COUNTERS:
        value = counters[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"its counter {name} is {value!r}")
        setattr(model, name, value)
    return model


def _check_tensors(
    tensors: dict[str, th.Tensor],
    policy_class: type[BasePolicy],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    policy_kwargs: dict[str, Any],
    by: str,
) -> None:
    """Each must have its place in the policy described: no memory is taken on a file's word alone."""
    check_keywords("policy_kwargs", policy_kwargs, policy_class, None, None, None)
    # The policy as shapes without memory; nothing moves in it, and fused optimizers would want memory.
    policy_kwargs = {
        **policy_kwargs,
        "optimizer_class": th.optim.SGD,
        "optimizer_kwargs": {"fused": False},
    }
    with th.device("meta"):
        policy = policy_class(observation_space, action_space, ConstantSchedule(0.0), **policy_kwargs)
    described, stored = (
        {(name, value.shape) for name, value in each.items()} for each in (policy.state_dict(), tensors)
    )
    if described != stored:
        names = sorted({name for name, _ in described ^ stored})
        raise ValueError(f"its tensors are not those of the policy {by} describes: {', '.join(names)}")


def _stored_arguments(cls: type[OffPolicyAlgorithm]) -> list[str]:
    """The constructor's, and those of the classes that it hands its ``**kwargs`` on to."""
    names: dict[str, None] = {}
    for constructor in (kind.__dict__["__init__"] for kind in cls.__mro__ if "__init__" in kind.__dict__):
        parameters = inspect.signature(constructor).parameters.values()
        collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names.update(dict.fromkeys(each.name for each in parameters if each.kind not in collecting))
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
            break
    return [name for name in names if name not in ("self", *NOT_STORED)]


def _setting(model: OffPolicyAlgorithm, name: str, classes: Classes) -> Any:
    """The value of a constructor's argument; a schedule that is no plain data at its present value."""
    if name == "stats_window_size":
        return model._stats_window_size
    if not hasattr(model, name):
        raise ValueError(
            f"{name} cannot be saved safely: keep what the constructor of {type(model).__name__} is given "
            "as an attribute of that name"
        )
    value = getattr(model, name)
    if name == "train_freq" and isinstance(value, TrainFreq):
        return [value.frequency, value.unit.value]
    if name == "learning_rate" and callable(value):
        value = value.value_schedule if isinstance(value, FloatSchedule) else value
        if type(value) not in (LinearSchedule, ConstantSchedule):
            rate = float(value(model._current_progress_remaining))
            if rate == 0:
                warnings.warn(
                    f"learning_rate={value!r} is stored at its present value, 0, with which a loaded agent "
                    "learns nothing: give load_safe() another learning_rate to train on",
                    stacklevel=2,
                )
            return rate
    if name == "replay_buffer_class" and value not in classes.values():
        return None  # a class of your own: named again on loading
    if name == "replay_buffer_kwargs" and model.replay_buffer_class not in classes.values():
        return {}
    return value


def _encode(value: Any, name: str, classes: Classes) -> Any:
    """Plain data. A class and a schedule become an object with one key, ``"class"`` or ``"schedule"``."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _encode(value.item(), name, classes)
    if isinstance(value, (list, tuple)):
        return [_encode(entry, name, classes) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _encode(entry, f"{name}[{key!r}]", classes) for key, entry in value.items()}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, type) and classes.get(value.__name__) is value:
        return {"class": value.__name__}
    for kind, (schedule, fields) in SCHEDULES.items():
        if type(value) is schedule:
            return {"schedule": {"kind": kind, **{field: getattr(value, field) for field in fields}}}
    what = f"the Activation {value.name!r}" if isinstance(value, Activation) else repr(value)
    raise ValueError(f"{name}={what} cannot be saved safely: it is neither a plain value nor a known class")


def _decode(value: Any, classes: Classes) -> Any:
    if isinstance(value, list):
        return [_decode(entry, classes) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"class"}:
        if value["class"] not in classes:
            raise ValueError(f"it names the class {value['class']!r}, which is not among those allowed")
        return classes[value["class"]]
    if set(value) == {"schedule"}:
        schedule, fields = SCHEDULES[value["schedule"]["kind"]]
        return schedule(*(float(value["schedule"][field]) for field in fields))
    return {key: _decode(entry, classes) for key, entry in value.items()}


def _by_name(own_classes: Sequence[type]) -> Classes:
    return {known.__name__: known for known in (*TORCH_CLASSES, *own_classes)}


def _import_safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Safe files need safetensors: install it with pip install 'sb3_angc[safe]'"
        ) from error
    return safetensors.torch
