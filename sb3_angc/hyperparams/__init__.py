"""
The tuned settings of ``angc.yml``, as the module with a dict ``hyperparams`` that RL Zoo's ``-conf`` takes.

A module is named in the Zoo's saved ``args.yml`` where a file would leave a path of one machine.
"""

from pathlib import Path
from typing import Any

import yaml

hyperparams: dict[str, dict[str, Any]]


def __getattr__(name: str) -> Any:
    # Read anew each time: the Zoo deletes keys from what it gets, and a second run in the
    # same process must not see that.
    if name == "hyperparams":
        return yaml.safe_load(Path(__file__).with_name("angc.yml").read_text(encoding="utf-8"))
    raise AttributeError(name)
