"""``package_agent``: a trained agent of the Zoo as a folder that can be put on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import copy
import json
import re
import shlex
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_sb3 import EnvironmentName
from rl_zoo3.utils import create_test_env, get_model_path, get_saved_hyperparams
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_angc import ANGC, __version__
from sb3_angc.agents import folder_name
from sb3_angc.common.environments import EVALUATION_SEED_OFFSET
from sb3_angc.saving.safe_files import AGENT_FILE
from sb3_angc.zoo import SETTINGS

VIDEO = "replay.mp4"  # the name that the Hub shows
# Arguments of the Zoo's `train` on which an agent depends, as args.yml names them: their flags and defaults
FLAGS: dict[str, tuple[str, Any]] = {
    "gym_packages": ("--gym-packages", []),
    "trained_agent": ("-i", ""),
    "n_timesteps": ("-n", -1),
    "seed": ("--seed", None),
    "num_threads": ("--num-threads", -1),
    "vec_env": ("--vec-env", "dummy"),
    "eval_freq": ("--eval-freq", 25000),
    "eval_episodes": ("--eval-episodes", 5),
    "n_eval_envs": ("--n-eval-envs", 1),
    "storage": ("--storage", None),
    "study_name": ("--study-name", None),
    "trial_id": ("--trial-id", None),
    "env_kwargs": ("--env-kwargs", None),
    "eval_env_kwargs": ("--eval-env-kwargs", None),
    "conf_file": ("-conf", SETTINGS["angc"]),
    "hyperparams": ("-params", None),
}
ENVIRONMENT_SETTINGS = ("env_kwargs", "env_wrapper", "vec_env_wrapper", "frame_stack")
CARD = """\
# ANGC on {env_id}

An agent of **Active Neural Generative Coding** (ANGC), which plays {env_id} and has learned without
backpropagation. It was made with `sb3_angc`, a plugin of
[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3).

| measured on | episodes | mean return | standard deviation |
|---|--:|--:|--:|
| {env_id}, actions without exploration | {episodes} | {mean:.2f} | {deviation:.2f} |

## Use

`{agent_file}` holds tensors and JSON: loading it executes nothing.

```python
{imports}from huggingface_hub import snapshot_download
from sb3_angc import ANGC

model = ANGC.load_safe(snapshot_download("{repo_id}"){env})
```
{made_with}
## How it was trained

```sh
{command}
```

`config.json` has all settings, the seed and the versions; `results.json` has the return of each episode.
{video}
"""
# Where the id alone names another environment
MADE_WITH = """
It was trained in an environment that was made with {settings}, which `config.json` tells. To train on, make
one so and pass it as `env=`; an agent that learned with hindsight is loaded with one only.
"""


def package_agent(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: Without the command's name
    :return: Exit status
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_angc.zoo package_agent", description=__doc__)
    parser.add_argument("--algo", choices=["angc"], default="angc")
    parser.add_argument("--env", required=True, help="environment id")
    parser.add_argument("-f", "--folder", default="logs", help="where the Zoo trained it (default: logs)")
    parser.add_argument("--exp-id", type=int, default=0, help="which run (default: the newest)")
    parser.add_argument("--load-best", action="store_true", help="the best checkpoint, not the last policy")
    parser.add_argument("-o", "--output", type=Path, help="folder to write (default: packages/angc-<env>)")
    parser.add_argument("-n", "--episodes", type=int, default=100, help="of the evaluation (default: 100)")
    parser.add_argument("--repo-id", help="name on the Hub (default: YOUR_NAME/angc-<env>)")
    # Which __main__ has imported, as for all commands
    parser.add_argument("--gym-packages", nargs="+", default=[], help="modules that register environments")
    options = parser.parse_args(arguments)
    if options.episodes < 1:
        parser.error(f"--episodes {options.episodes} is not allowed: it must be at least 1")
    name = f"angc-{folder_name(options.env)}"
    folder = options.output or Path("packages") / name
    repo_id = options.repo_id or f"YOUR_NAME/{name}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"--output {folder} is not allowed: it must be a new or an empty folder")
    try:
        environment = _zoo_name(options.env)
        place = get_model_path(options.exp_id, options.folder, "angc", environment, options.load_best)
    except (AssertionError, ValueError) as error:
        parser.error(str(error))
    run = Run(options.env, *place)
    if isinstance(run.make_env(), VecNormalize):
        parser.error(
            "VecNormalize's statistics are a pickle, which a package does not hold: train without "
            "`normalize`, ANGC normalises observations itself"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {folder} is not allowed: {error.strerror}")
    write(run, folder, repo_id, options.episodes)
    upload = shlex.join(["hf", "upload", repo_id, str(folder), "."])
    print(f"Written to {folder}. To upload it:\n\n  {upload}\n")
    return 0


class Run:
    """
    A finished run of the Zoo.

    :param env_id: Of its environment
    :param films: How names of the agent's films begin
    :param model_path: The agent's file
    :param folder: The run's
    """

    def __init__(self, env_id: str, films: str, model_path: str, folder: str) -> None:
        self.env_id, self.films, self.model_path, self.folder = env_id, films, model_path, Path(folder)
        stats = self.folder / _zoo_name(env_id)
        self.stats_path = str(stats)
        self.settings, _ = get_saved_hyperparams(self.stats_path, test_mode=True)
        # Written by the Zoo as Python's own objects
        self.arguments = dict(yaml.load((stats / "args.yml").read_text(), Loader=yaml.UnsafeLoader))
        self.seed = int(self.arguments["seed"])
        # The command line's take the place of the settings', as in the Zoo's `enjoy`.
        if self.arguments.get("env_kwargs"):
            self.settings["env_kwargs"] = self.arguments["env_kwargs"]

    def make_env(self) -> Any:
        """:return: What the agent was trained in, one environment of it"""
        return create_test_env(
            self.env_id,
            stats_path=self.stats_path,
            seed=self.seed + EVALUATION_SEED_OFFSET,
            should_render=False,
            hyperparams=copy.deepcopy(self.settings),
            env_kwargs=self.settings.get("env_kwargs"),
        )

    def command(self) -> str:
        """:return: What trains this agent again"""
        words = ["python", "-m", "sb3_angc.zoo", "train", "--algo", "angc", "--env", self.env_id]
        for name, (flag, default) in FLAGS.items():
            value = self.arguments.get(name)
            if value not in (None, default):
                words += [flag, *_words(value)]
        return shlex.join(words)


def write(run: Run, folder: Path, repo_id: str, episodes: int) -> None:
    """
    Evaluate an agent and write its package.

    :param run: Where it was trained
    :param folder: Where to write, an empty folder
    :param repo_id: Its name on the Hub
    :param episodes: Of the evaluation
    """
    env = run.make_env()
    model = ANGC.load(run.model_path, env=env, device="cpu")  # hindsight replay needs one
    env.seed(run.seed + EVALUATION_SEED_OFFSET)  # loading has given it the agent's own seed
    found, _ = evaluate_policy(model, env, episodes, deterministic=True, return_episode_rewards=True)
    env.close()
    returns = np.asarray(found, dtype=float)
    model.save_safe(folder / AGENT_FILE)
    packages = ("torch", "stable_baselines3", "gymnasium", "rl_zoo3")
    config = {
        "algo": "angc",
        "env_id": run.env_id,
        "seed": run.seed,
        "timesteps": model.num_timesteps,
        "settings": dict(run.settings),
        "command": run.command(),
        "versions": {"sb3_angc": __version__, **{name: metadata.version(name) for name in packages}},
    }
    results = {
        "mean_reward": returns.mean(),
        "std_reward": returns.std(),
        "n_eval_episodes": episodes,
        "returns": returns.tolist(),
    }
    for name, content in (("config", config), ("results", results)):
        text = json.dumps(content, indent=2, default=str) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    # Of this agent: a run has films of its checkpoints too.
    films = sorted(run.folder.glob(f"videos/{run.films}-*.mp4"), key=lambda path: path.stat().st_mtime)
    if films:  # the newest of `record_video`
        shutil.copyfile(films[-1], folder / VIDEO)
    card(run, returns, repo_id, bool(films)).save(folder / "README.md")


def card(run: Run, returns: np.ndarray[Any, Any], repo_id: str, has_video: bool) -> ModelCard:
    """
    :param run: Where the agent was trained
    :param returns: Of the episodes of its evaluation
    :param repo_id: Its name on the Hub
    :param has_video: Whether there is a film of it
    :return: The model card, whose metadata the Hub reads
    """
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=[
            run.env_id,
            "angc",
            "deep-reinforcement-learning",
            "reinforcement-learning",
            "stable-baselines3",
        ],
        pipeline_tag="reinforcement-learning",
        model_name="ANGC",
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=run.env_id,
                dataset_name=run.env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=f"{returns.mean():.2f} +/- {returns.std():.2f}",
                verified=False,
            )
        ],
    )
    wrapped = [f"`{name}`" for name in ENVIRONMENT_SETTINGS if run.settings.get(name)]
    text = CARD.format(
        env_id=run.env_id,
        imports="".join(f"import {package}\n" for package in run.arguments.get("gym_packages") or []),
        env="" if wrapped else f', env="{run.env_id}"',
        made_with=MADE_WITH.format(settings=" and ".join(wrapped)) if wrapped else "",
        episodes=len(returns),
        mean=returns.mean(),
        deviation=returns.std(),
        agent_file=AGENT_FILE,
        repo_id=repo_id,
        command=run.command(),
        video=f"\n`{VIDEO}` is a film of it." if has_video else "",
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text.rstrip()}\n")


def _words(value: Any) -> list[str]:
    """A value of ``args.yml`` as words of the command line."""
    if isinstance(value, dict):  # whose values the Zoo evaluates: a class has to say where it is found
        found = r"__import__('importlib').import_module('\1').\2"
        return [
            re.sub(r"<class '([\w.]+)\.(\w+)'>", found, f"{name}:{each!r}") for name, each in value.items()
        ]
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _zoo_name(env_id: str) -> Any:
    if env_id not in gym.registry:
        raise ValueError(f"--env {env_id} is not allowed: no environment has this id")
    return EnvironmentName(env_id)
