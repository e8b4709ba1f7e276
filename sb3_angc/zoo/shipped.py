"""``enjoy`` and ``record_video`` where nothing was trained: the agent that comes with the package."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import yaml
from huggingface_sb3 import EnvironmentName
from rl_zoo3.utils import get_latest_run_id, get_model_path

from sb3_angc import ANGC
from sb3_angc.agents import agent_folder, agent_record, shipped_agents
from sb3_angc.common.checks import in_a_line

FILMS = "videos"


def with_shipped_agent(command: str, arguments: Sequence[str], folder: Path) -> list[str]:
    """
    :param command: ``enjoy`` or ``record_video``
    :param arguments: The Zoo's for it
    :param folder: An empty one, for the agent as the Zoo keeps its own
    :return: The arguments as they are where the Zoo has trained such an agent; else those that make the Zoo
        take the one that comes with the package, which is said in a line
    :raises SystemExit: If there is neither, no such environment, or a run without the file that is asked for
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("-f", "--folder", default="rl-trained-agents")
    parser.add_argument("-o", "--output-folder")
    parser.add_argument("--exp-id", type=int, default=0)  # the newest run
    parser.add_argument("--load-best", action="store_true")
    parser.add_argument("--load-checkpoint")
    parser.add_argument("--load-last-checkpoint", action="store_true")
    known, others = parser.parse_known_args(arguments)
    if known.env not in gym.registry:
        raise SystemExit(
            f"error: --env {known.env} is not allowed: no environment has this id. "
            "--gym-packages names the module of one of your own"
        )
    if known.algo != "angc":
        return list(arguments)
    name, trained = EnvironmentName(known.env), Path(known.folder, known.algo)
    which = known.load_best, known.load_checkpoint, known.load_last_checkpoint
    try:
        with contextlib.redirect_stdout(None):  # the Zoo will say it
            get_model_path(known.exp_id, known.folder, known.algo, name, *which)
        return list(arguments)
    except (AssertionError, ValueError) as error:  # on which the Zoo would ask its hub, which has none
        missing = in_a_line(error)

    runs = [trained / f"{name}_{number + 1}" for number in range(get_latest_run_id(str(trained), name))]
    is_of_a_run = known.exp_id != 0 or any(which)
    has_agents = any(any(run.glob("*.zip")) for run in runs)
    if has_agents or (runs and is_of_a_run):
        raise SystemExit(f"error: {missing}: name another run with --exp-id, or another folder with -f")
    if is_of_a_run or known.env not in shipped_agents():
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
