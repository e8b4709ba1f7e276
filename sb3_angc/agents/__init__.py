"""
Trained agents that come with the package: for each environment a folder with ``agent.safetensors``, a
file that executes nothing, and ``record.json``, which says how the agent was made and how well it does.

``python -m tools.make_agent`` makes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["agent_folder", "agent_record", "shipped_agents"]

FOLDER = Path(__file__).parent
RECORD = "record.json"


def shipped_agents() -> list[str]:
    """:return: Ids of the environments for which there is a trained agent"""
    return [
        json.loads(path.read_text(encoding="utf-8"))["env_id"] for path in sorted(FOLDER.glob(f"*/{RECORD}"))
    ]


def agent_folder(env_id: str) -> Path:
    """
    The folder of a trained agent, which ``ANGC.load_safe`` takes.

    :param env_id: Id of an environment
    :return: The folder
    :raises ValueError: If there is no trained agent for it
    """
    if env_id not in shipped_agents():
        names = ", ".join(shipped_agents())
        raise ValueError(f"env_id={env_id!r} has no trained agent in the package: choose one of {names}")
    return FOLDER / folder_name(env_id)


def agent_record(env_id: str) -> dict[str, Any]:
    """
    :param env_id: Id of an environment
    :return: How its trained agent was made (``command``, ``seed``, ``steps``, ``settings``, ``commit``,
        ``versions``, ``processor``), and how well it does (``mean_return``, ``std_return`` and ``returns``
        of ``episodes``)
    :raises ValueError: If there is no trained agent for it
    """
    record: dict[str, Any] = json.loads((agent_folder(env_id) / RECORD).read_text(encoding="utf-8"))
    return record


def folder_name(env_id: str) -> str:
    """
    :param env_id: Id of an environment
    :return: It as the name of a folder
    """
    return env_id.replace("/", "-")
