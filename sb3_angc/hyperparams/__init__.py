"""
The tuned settings of ``angc.yml``, as the module with a dict ``hyperparams`` that RL Zoo's ``-conf`` takes.

A module is named in the Zoo's saved ``args.yml`` where a file would leave a path of one machine.
"""

from pathlib import Path
from typing import Any

hyperparams: dict[str, dict[str, Any]]
# In the file, what is for environments that are not listed, and tuned for none of them
GENERAL = ("default", "atari")


def __getattr__(name: str) -> Any:
    # Read anew each time: the Zoo deletes keys from what it gets, and a second run in the
    # same process must not see that.
    if name == "hyperparams":
        return _read()
    raise AttributeError(name)


def tuned_environments() -> list[str]:
    """
    :return: Ids of the environments that have tuned settings
    :raises ImportError: If pyyaml is not installed
    """
    return [name for name in _read() if name not in GENERAL]


def tuned_settings(env_id: str) -> dict[str, Any]:
    """
    :param env_id: Id of an environment
    :return: Its settings as they stand in ``angc.yml``, ``n_timesteps`` among them
    :raises ValueError: If it has none
    :raises ImportError: If pyyaml is not installed
    """
    known = _read()
    if env_id not in known or env_id in GENERAL:
        names = ", ".join(name for name in known if name not in GENERAL)
        raise ValueError(
            f"env_id={env_id!r} has no tuned settings: choose one of {names}, or use the constructor"
        )
    return known[env_id]


def _read() -> dict[str, dict[str, Any]]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("Tuned settings need pyyaml: pip install 'sb3_angc[extra]'") from error
    text = Path(__file__).with_name("angc.yml").read_text(encoding="utf-8")
    settings: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return settings
