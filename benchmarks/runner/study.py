"""Read a study file and lay it out as cells."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.runner.errors import BenchmarkError
from sb3_angc.hyperparams.tasks import TASKS, Task

STUDY_KEYS = {
    "name",
    "common",
    "algorithms",
    "environments",
    "seeds",
    "n_timesteps",
    "evaluations",
    "evaluation_episodes",
    "last_policy_episodes",
    "gym_packages",
}
COMMON_KEYS = {"algorithm", "preset", "hyperparams"}
ALGORITHM_KEYS = {*COMMON_KEYS, "label"}
TASK_KEYS = {"threshold", "random_return"}


@dataclass(frozen=True)
class Cell:
    """
    One training run, with everything that is needed to repeat it.

    :param study: name of the study
    :param label: name of the compared method: an algorithm, or one variant of it
    :param algorithm: the Zoo's name of the algorithm
    :param environment: Gymnasium id
    :param seed: seed of the training run, as the Zoo's ``--seed``
    :param threshold: mean return at which the task counts as solved
    :param random_return: mean return of the random policy
    :param preset: settings file, its path relative to the repository, or importable module, as the
        Zoo's ``-conf``; ``None`` is the algorithm's default one
    :param hyperparams: what differs from the preset; dictionaries are merged into the preset's
    :param n_timesteps: budget, ``None`` is that of ``hyperparams``, else the preset's
    :param evaluations: points of the evaluation curve, evenly spaced over the budget
    :param evaluation_episodes: deterministic episodes for each point
    :param last_policy_episodes: deterministic episodes of the last policy
    :param gym_packages: modules to import because they register environments
    """

    study: str
    label: str
    algorithm: str
    environment: str
    seed: int
    threshold: float
    random_return: float
    preset: str | None
    hyperparams: dict[str, Any]
    n_timesteps: int | None
    evaluations: int
    evaluation_episodes: int
    last_policy_episodes: int
    gym_packages: list[str]

    @property
    def name(self) -> str:
        """What the cell is called in file names and on the screen."""
        return f"{slug(self.label)}--{slug(self.environment)}--{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The cell in plain types, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """
    A named list of cells.

    :param name: name of the study, also of its results folder
    :param cells: in the order in which they are run
    """

    name: str
    cells: list[Cell]


def slug(text: str) -> str:
    """
    A part of a file name that every system takes.

    :param text: a label or an environment id
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


class StudyLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a key stands once: of two, PyYAML takes the last and says nothing."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """
        Read a mapping, before others are merged into it.

        :param anchor: its name in the file
        """
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                line = node.start_mark.line + 1
                raise BenchmarkError(f"the mapping in line {line} has the key {key.value!r} twice: keep one")
        return node


def read_study(path: Path) -> Study:
    """
    Read a study file. Nothing is imported here: algorithm and environment names are checked
    by ``check_names``.

    :param path: the YAML file
    """
    try:
        return parse_study(yaml.load(path.read_text(encoding="utf-8"), StudyLoader))
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from error


def parse_study(data: Any) -> Study:
    """
    Lay out a study's grid, one seed of everything before the next seed,
    so that a study stopped half way still compares all methods on all tasks.

    :param data: content of the study file
    """
    study = _mapping(data, "a study", STUDY_KEYS, required={"name", "algorithms", "environments", "seeds"})
    name = _typed(study, "name", str)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BenchmarkError(f"name: {name!r} names a folder, use letters, digits, '-' or '_'")
    tasks = dict(_tasks(study["environments"]))
    common = _mapping(study.get("common", {}), "common", COMMON_KEYS, required=set())
    methods = [_method(entry, common) for entry in _list(study["algorithms"], "algorithms")]
    settings: dict[str, Any] = {
        "n_timesteps": _positive(study, "n_timesteps", None),
        "evaluations": _positive(study, "evaluations", 40),
        "evaluation_episodes": _positive(study, "evaluation_episodes", 10),
        "last_policy_episodes": _positive(study, "last_policy_episodes", 100),
        "gym_packages": _strings(study.get("gym_packages", []), "gym_packages"),
    }
    cells = [
        Cell(study=name, environment=environment, seed=seed, **asdict(task), **method, **settings)
        for seed in _seeds(study["seeds"])
        for method in methods
        for environment, task in tasks.items()
    ]
    for cell in cells:
        if cell.n_timesteps is not None and "n_timesteps" in cell.hyperparams:
            raise BenchmarkError(
                f"n_timesteps: {cell.n_timesteps} for all, and {cell.hyperparams['n_timesteps']!r} in the "
                f"hyperparams of {cell.label}: give one of them"
            )
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BenchmarkError(f"two cells are called {twice[0]}: give the algorithms different labels")
    return Study(name, cells)


def completed(base: Mapping[Any, Any], own: Mapping[Any, Any]) -> dict[Any, Any]:
    """
    What ``own`` says, and what only ``base`` says; so with the mappings that both have.

    :param base: settings
    :param own: what differs from them
    """
    both = {
        key: completed(base[key], value)
        for key, value in own.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **own, **both}


def _mapping(data: Any, what: str, known: set[str], required: set[str]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        expected = required or known
        keys = "key" if len(expected) == 1 else "keys"
        found = "" if isinstance(data, list | None) else f", not {data!r}"
        raise BenchmarkError(f"{what} must be a mapping with the {keys} {', '.join(sorted(expected))}{found}")
    unknown = sorted(str(key) for key in data.keys() - known)
    if unknown:
        raise BenchmarkError(f"unknown key {unknown[0]!r} in {what}: use {', '.join(sorted(known))}")
    missing = sorted(required - data.keys())
    if missing:
        raise BenchmarkError(f"{what} lacks the key {missing[0]!r}")
    return dict(data)


def check_distinct(entries: Sequence[Any], key: str) -> None:
    """
    :param entries: Of a list
    :param key: Its name
    :raises BenchmarkError: If an entry is there twice, and so would count twice
    """
    twice = [entry for entry in entries if entries.count(entry) > 1]
    if twice:
        raise BenchmarkError(f"{key}: {twice[0]} is named twice")


def _list(data: Any, key: str) -> list[Any]:
    if not isinstance(data, list) or not data:
        raise BenchmarkError(f"{key}: must be a list with at least one entry")
    return data


def _strings(data: Any, key: str) -> list[str]:
    if not isinstance(data, list) or not all(isinstance(entry, str) and entry for entry in data):
        raise BenchmarkError(f"{key}: must be a list of names, not {data!r}")
    check_distinct(data, key)
    return data


def _number(data: Any, key: str) -> float:
    if not isinstance(data, int | float) or isinstance(data, bool) or not math.isfinite(data):
        raise BenchmarkError(f"{key}: must be a number, not {data!r}")
    return float(data)


def _typed(data: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(data[key], kind):
        raise BenchmarkError(f"{key}: must be of type {kind.__name__}, not {data[key]!r}")
    return data[key]


def _positive(data: dict[str, Any], key: str, default: int | None) -> int | None:
    value = data.get(key, default)
    if value is None and default is None:
        return None
    # PyYAML reads 1e4 as a string and true as an int of Python.
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BenchmarkError(f"{key}: must be a whole number above 0, not {value!r}")
    return value


def _seeds(data: Any) -> list[int]:
    seeds = list(range(data)) if isinstance(data, int) and not isinstance(data, bool) else data
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and 0 <= s < 2**32 for s in seeds):
        raise BenchmarkError(
            f"seeds: must be a number of seeds or a list of whole numbers from 0 to 2**32 - 1, not {data!r}"
        )
    check_distinct(seeds, "seeds")
    return seeds


def _tasks(data: Any) -> Iterator[tuple[str, Task]]:
    entries = (
        data
        if isinstance(data, Mapping) and data
        else dict.fromkeys(_strings(_list(data, "environments"), "environments"))
    )
    for environment, task in entries.items():
        if not isinstance(environment, str):
            raise BenchmarkError(f"environments: must be names, not {environment!r}")
        if task is not None:
            values = _mapping(task, f"environment {environment}", TASK_KEYS, required=TASK_KEYS)
            numbers = {key: _number(value, f"{environment}: {key}") for key, value in values.items()}
            if numbers["threshold"] <= numbers["random_return"]:
                raise BenchmarkError(
                    f"{environment}: threshold {numbers['threshold']:g} must be above "
                    f"random_return {numbers['random_return']:g}"
                )
            yield environment, Task(**numbers)
        elif environment in TASKS:
            yield environment, TASKS[environment]
        else:
            raise BenchmarkError(
                f"environment {environment} is none of {', '.join(TASKS)}: "
                f"correct its name, or give its threshold and random_return"
            )


def _method(data: Any, common: dict[str, Any]) -> dict[str, Any]:
    """An entry of ``algorithms``, completed from what the study's entries have in common."""
    needed = {"algorithm"} - common.keys()
    own = _mapping(data, "an entry of algorithms", ALGORITHM_KEYS, required=needed)
    for part in (common, own):
        if "hyperparams" in part:
            _typed(part, "hyperparams", dict)
    entry = completed(common, own)
    hyperparams = entry.get("hyperparams", {})
    for key, value in hyperparams.items():
        if not isinstance(key, str):
            raise BenchmarkError(f"hyperparams: {key!r} must be text, the name of an argument")
        if not _plain(value):
            raise BenchmarkError(
                f"hyperparams: {key!r} must be made of text, finite numbers, lists and mappings "
                f"whose keys are text, not {value!r}"
            )
        if number := _number_as_text(value):
            raise BenchmarkError(
                f"hyperparams: {key!r} must not be the text {number!r}: write {_as_number(number)}"
            )
    algorithm = _typed(entry, "algorithm", str)
    preset = _typed(entry, "preset", str) if "preset" in entry else None
    if preset == "":
        raise BenchmarkError("preset: must name a settings file or a module, not ''")
    return {
        "algorithm": algorithm,
        "label": _label(entry.get("label", algorithm)),
        "preset": preset,
        "hyperparams": hyperparams,
    }


def _label(label: Any) -> str:
    if not isinstance(label, str):  # an empty one is None for PyYAML, and no is False
        raise BenchmarkError(f"label: must be text, not {label!r}: write it in quotes")
    if not slug(label):
        raise BenchmarkError(f"label: {label!r} names files, use letters or digits")
    # Tables, and the figures' formulas
    if any(sign in label for sign in "|$\n"):
        raise BenchmarkError(
            f"label: {label!r} must be one line without '|' and '$', which reports cannot show"
        )
    return label


def _plain(value: Any) -> bool:
    """Whether JSON gives back what it was given, so that a resumed study knows its cells again."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))


def _number_as_text(value: Any) -> str | None:
    """The first text that stands for a number: PyYAML reads 1e-3 as text. Names, as inf, are none."""
    if isinstance(value, Mapping | list):
        entries = value.values() if isinstance(value, Mapping) else value
        return next((found for entry in entries if (found := _number_as_text(entry))), None)
    if not isinstance(value, str) or not any(map(str.isdigit, value)):
        return None
    try:
        float(value)
    except ValueError:
        return None
    return value


def _as_number(text: str) -> str:
    """What PyYAML reads as the number: with a point, and with a sign before the exponent."""
    digits, found, exponent = text.strip().lower().partition("e")
    if not found:
        return digits
    signed = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f"{digits if '.' in digits else digits + '.0'}e{signed}"
