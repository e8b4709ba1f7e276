"""``enjoy`` and ``record_video`` where nothing was trained: the agent that comes with the package."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from huggingface_sb3 import EnvironmentName
from rl_zoo3.utils import get_latest_run_id

from sb3_angc import ANGC
from sb3_angc.agents import agent_folder, agent_record, shipped_agents

# These name one of several files of a run: of one that is there the Zoo says what it does not find.
OF_A_RUN = ("--exp-id", "--load-best", "--load-checkpoint", "--load-last-checkpoint")
NO_RUN = "-1"  # as --exp-id: of no run, but in the algorithm's own folder
FILMS = "videos"


def with_shipped_agent(command: str, arguments: Sequence[str], folder: Path) -> list[str]:
    """
    :param command: ``enjoy`` or ``record_video``
    :param arguments: The Zoo's for it
    :param folder: An empty one, for the agent as the Zoo keeps its own
    :return: The arguments as they are where the Zoo has trained such an agent; else those that make the Zoo
        take the one that comes with the package, which is said in a line
    :raises SystemExit: If there is neither
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("-f", "--folder", default="rl-trained-agents")
    parser.add_argument("-o", "--output-folder")
    for name in OF_A_RUN:
        parser.add_argument(name, nargs="?", const=True)
    known, others = parser.parse_known_args(arguments)
    is_of_a_run = any(getattr(known, name[2:].replace("-", "_")) is not None for name in OF_A_RUN)
    name, trained = EnvironmentName(known.env), Path(known.folder, known.algo)
    has_runs = get_latest_run_id(str(trained), name) > 0 or (known.exp_id == NO_RUN and trained.exists())
    if known.algo != "angc" or has_runs:
        return list(arguments)
    if is_of_a_run or known.env not in shipped_agents():  # the Zoo would ask its hub, which has none
        names = ", ".join(shipped_agents())
        raise SystemExit(
            f"error: {known.folder} has no angc on {known.env}: train one, or name where it is with -f. "
            f"With sb3_angc come those on {names}"
        )

    record = agent_record(known.env)
    print(
        f"{known.folder} has no angc on {known.env}: this is the agent that comes with sb3_angc, "
        f"mean return {record['mean_return']:.1f} (seed {record['seed']}, {record['episodes']} episodes)"
    )
    run = folder / known.algo / f"{name}_1"
    settings = run / name
    settings.mkdir(parents=True)
    model = ANGC.load_safe(agent_folder(known.env), device="cpu", buffer_size=1)
    model.save(run / f"{name}.zip")
    for file, content in (("config", record["settings"]), ("args", {"env_kwargs": None})):
        (settings / f"{file}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    chosen = ["--algo", known.algo, "--env", known.env, "-f", str(folder), *others]
    if command == "record_video":
        chosen += ["-o", known.output_folder or FILMS]
    return chosen
