"""``python -m benchmarks run STUDY.yml``: do what is missing of a study."""

import difflib
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.runner.engines import Engine, LocalEngine
from benchmarks.runner.errors import BenchmarkError, Parser
from benchmarks.runner.progress import Progress
from benchmarks.runner.provenance import ROOT, RUNS
from benchmarks.runner.results import Result, ResultsFolder, difference
from benchmarks.runner.study import Cell, Study, read_study

ENGINES = ("local", "ray")
# What the Zoo and all algorithms add to mappings of a preset
ADDED = {"normalize": ("gamma",), "replay_buffer_kwargs": ("n_steps", "gamma")}
# What some algorithms add to policy_kwargs
ADDED_TO_POLICIES = {
    "a2c": ("optimizer_class", "optimizer_kwargs"),
    "ddpg": ("n_critics",),
    "qrdqn": ("optimizer_class", "optimizer_kwargs"),
    "sac": ("use_sde",),
    "tqc": ("use_sde",),
}


def check_names(study: Study) -> None:
    """
    Refuse a study whose algorithms or environments do not exist, before anything runs.

    :param study: the study
    """
    import gymnasium
    from rl_zoo3.utils import ALGOS

    from sb3_angc.zoo import register

    register()
    for package in study.cells[0].gym_packages:
        check_module("gym_packages", package)
    for preset in sorted({cell.preset for cell in study.cells if cell.preset}):
        if not preset.endswith((".yml", ".yaml", ".py")):
            check_module("preset", preset)
        # Cells run in the repository's root.
        elif not (ROOT / preset).exists():
            raise BenchmarkError(f"preset: there is no {ROOT / preset}")
    elsewhere = "if a package registers it, name that under gym_packages"
    for cell in study.cells:
        check_name("algorithm", cell.algorithm, ALGOS, f"use one of {', '.join(sorted(ALGOS))}")
        check_name("environment", cell.environment, gymnasium.registry, elsewhere)


def check_module(what: str, name: str) -> None:
    """
    Refuse what is no module.

    :param what: what names it
    :param name: the module
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise BenchmarkError(f"{what}: {name!r} is no module, name it as in 'package.module'")
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise BenchmarkError(f"{what}: {error}") from error


def check_settings(study: Study) -> None:
    """
    Refuse a study one of whose methods has no settings for a task, before anything runs.

    :param study: the study
    """
    checked = set()
    for cell in study.cells:
        # Seeds share them.
        if (cell.label, cell.environment) not in checked:
            checked.add((cell.label, cell.environment))
            settings_today(cell)


def settings_today(cell: Cell) -> dict[str, Any]:
    """
    What a cell would be run with; a preset that gives it nothing is refused in a line.

    :param cell: the run
    """
    from benchmarks.runner.cell import settings_of

    try:
        return settings_of(cell)
    except Exception as error:  # a preset may be any code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        preset = cell.preset or f"the default one of {cell.algorithm}"
        raise BenchmarkError(
            f"preset: {preset} gives no settings to {cell.label} on {cell.environment}, "
            f"it must map that name or 'default' to them, with n_timesteps: {reason}"
        ) from error


def check_name(what: str, name: str, known: Iterable[str], otherwise: str) -> None:
    """
    Refuse an unknown name.

    :param what: of what it is a name
    :param name: the name
    :param known: all names
    :param otherwise: what to do where no known name is like it
    """
    if name not in known:
        close = difflib.get_close_matches(name, list(known))
        way_out = f"did you mean {' or '.join(close)}?" if close else otherwise
        raise BenchmarkError(f"unknown {what} {name!r}: {way_out}")


def check_presets(study: Study, folder: ResultsFolder, results: Mapping[str, Result]) -> None:
    """
    Refuse finished cells that would be run with other settings today, because their preset has changed.

    :param study: the study
    :param folder: where its results are
    :param results: what is done, by the name of its cell
    """
    for cell in study.cells:
        result = results.get(cell.name, {})
        if "settings" in result:  # a failed cell has none
            now = settings_today(cell)
            # The Zoo adds a policy where none is named.
            was = {
                key: as_given(key, value, now.get(key), cell.algorithm)
                for key, value in result["settings"].items()
                if key in now or key != "policy"
            }
            if changed := difference(was, now):
                folder.refuse(cell.name, changed)


def as_given(key: str, was: Any, now: Any, algorithm: str) -> Any:
    """
    A setting without what the Zoo and the algorithms are known to add to it, where today's lacks that.

    :param key: its name
    :param was: as a result holds it
    :param now: as it is
    :param algorithm: the Zoo's name of the algorithm
    """
    if not isinstance(was, dict) or not isinstance(now, dict):
        return was
    added = ADDED_TO_POLICIES.get(algorithm, ()) if key == "policy_kwargs" else ADDED.get(key, ())
    return {name: value for name, value in was.items() if name in now or name not in added}


def run_study(study: Study, folder: ResultsFolder, engine: Engine, retry_failed: bool = False) -> int:
    """
    Run the cells that have no result yet, and store each result as it comes.

    :param study: the study
    :param folder: where its results are
    :param engine: where to run
    :param retry_failed: also run cells again that failed
    :return: the number of failed cells in the folder
    """
    results = folder.open_for(study)
    check_presets(study, folder, results)
    failed = {name for name, result in results.items() if result["status"] == "failed"}
    if retry_failed:
        folder.discard(failed)
        results = {name: result for name, result in results.items() if name not in failed}
        failed = set()
    missing = [cell for cell in study.cells if cell.name not in results]
    progress = Progress(total=len(study.cells), done=len(results) - len(failed), failed=len(failed))
    with closing(engine.run(missing)) as events, progress:
        for cell, result in events:
            if result is None:
                progress.started(cell)
            else:
                folder.write(cell, result)
                progress.finished(cell, result)
    return progress.failed


def make_engine(name: str, jobs: int | None, address: str | None) -> Engine:
    """
    The engine that the command line asks for.

    :param name: one of ``ENGINES``
    :param jobs: cells at once, for the local one
    :param address: of the cluster, for Ray
    """
    if name not in ENGINES:
        raise BenchmarkError(f"unknown engine {name!r}: use {' or '.join(ENGINES)}")
    if name == "ray":
        if jobs is not None:
            raise BenchmarkError(
                "--jobs is for the local engine: Ray runs one cell on each core of the cluster"
            )
        from benchmarks.runner.ray_engine import RayEngine

        return RayEngine(address)
    if address is not None:
        raise BenchmarkError("--address is of a Ray cluster: add --engine ray")
    if jobs is not None and jobs < 1:
        raise BenchmarkError(f"--jobs {jobs}: at least one cell must run at once")
    return LocalEngine(jobs or os.cpu_count() or 1)


def main(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: without the command's name
    :return: exit status
    """
    parser = Parser("python -m benchmarks run", description=__doc__)
    parser.add_argument("study", type=Path, help="study file (YAML)")
    parser.add_argument("-o", "--output", type=Path, help="results folder (default: runs/studies/<study>)")
    parser.add_argument("-j", "--jobs", type=int, help="cells at once on this machine (default: its cores)")
    parser.add_argument("--engine", default="local", help="'local' or 'ray' (default: local)")
    parser.add_argument("--address", help="of a Ray cluster (default: one of this machine alone)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--force", action="store_true", help="delete the folder's results and start over")
    options = parser.parse_args(arguments)
    study = read_study(options.study)
    check_names(study)
    check_settings(study)
    folder = ResultsFolder(options.output or RUNS / "studies" / study.name)
    engine = make_engine(options.engine, options.jobs, options.address)
    # Last, so that a command that is refused deletes nothing.
    if options.force:
        folder.clear()
    failed = run_study(study, folder, engine, options.retry_failed)
    print(f"Results: {folder.path}")
    return 1 if failed else 0
