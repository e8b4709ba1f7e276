"""The command: measure, keep, show."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch as th

from benchmarks.experiments.speed import (
    agents,
    breakdown,
    comparisons,
    compiled,
    continuous,
    figure,
    gpu,
    growth,
    images,
    page,
)
from benchmarks.experiments.speed.plan import FULL, QUICK, Plan
from benchmarks.report import pages
from benchmarks.runner.errors import Parser
from benchmarks.runner.provenance import ROOT, RUNS, SBX_PACKAGES, provenance
from benchmarks.runner.results import read_json, write_json

FOLDER = ROOT / "benchmarks" / "results" / "speed"
PAGE = ROOT / "docs" / "performance.md"
SECTIONS = tuple(page.SECTIONS)
# Of the sections that are tables of rows, what measures them
ROWS: dict[str, Callable[[Plan, Callable[[str], object]], Iterable[dict[str, Any]]]] = {
    "table": comparisons.rows,
    "sbx": comparisons.sbx_rows,
    "growth": growth.measure,
    "compiled": compiled.measure,
    "images": images.measure,
    "continuous": continuous.measure,
    "gpu": gpu.measure,
}


def one_core() -> None:
    """Keep this process, its threads and its children to one core, JAX's pool of threads among them."""
    th.set_num_threads(1)
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def conditions() -> dict[str, Any]:
    """Versions, hardware, commit and date."""
    made_with = provenance()
    if agents.has_sbx():
        made_with["versions"].update({package: metadata.version(package) for package in SBX_PACKAGES})
    return {**made_with, "date": time.strftime("%Y-%m-%d", time.gmtime())}


def measure(section: str, plan: Plan, load: float) -> dict[str, Any]:
    """
    Measure one section.

    :param section: its name
    :param plan: how much
    :param load: how busy the machine was before anything was measured
    :return: in plain types
    """
    measured = {**conditions(), "load": load}
    if section == "profile":
        progress(section)
        return {**measured, "profiles": breakdown.measure(plan)}
    if section == "gpu" and th.cuda.is_available():
        measured["hardware"]["processor"] += f", {th.cuda.get_device_name()}"
    return {**measured, "rows": list(ROWS[section](plan, progress))}


def progress(text: str) -> None:
    """
    Say what is being measured.

    :param text: what
    """
    print(f"measuring {text}", file=sys.stderr, flush=True)


def show(results: dict[str, Any], folder: Path, filled: Path | None) -> None:
    """
    Write tables and figures, and print the tables.

    :param results: sections by name
    :param folder: where to
    :param filled: page to fill in, or ``None``
    """
    texts = page.texts(results)
    tables = "\n\n".join(f"## {name.capitalize()}\n\n{text}" for name, text in texts.items()) + "\n"
    (folder / "tables.md").write_text(tables, encoding="utf-8")
    if "growth" in results:
        figure.write(results["growth"]["rows"], folder)
    if filled is not None:
        pages.fill(filled, texts)
    print(tables)


def main(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: without the command's name
    :return: exit status
    """
    parser = Parser("python -m benchmarks speed", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", help=f"what to measure, of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument(
        "--output", type=Path, help="folder (default: runs/speed; with --quick, runs/speed_quick)"
    )
    parser.add_argument("--quick", action="store_true", help="a little of everything, nothing compiled")
    parser.add_argument("--show", action="store_true", help="measure nothing: tables and figures again")
    options = parser.parse_args(arguments)
    for section in options.sections:
        if section not in SECTIONS:
            parser.error(f"{section!r} is not a section: choose from {', '.join(SECTIONS)}")
    folder = options.output or RUNS / ("speed_quick" if options.quick else "speed")
    path = folder / "speed.json"
    results: dict[str, Any] = read_json(path) if path.exists() or options.show else {}
    if not options.show:
        one_core()
        load = os.getloadavg()[0]
        for section in options.sections or SECTIONS:
            results[section] = measure(section, QUICK if options.quick else FULL, load)
            write_json(path, results)
    show(results, folder, PAGE if folder.resolve() == FOLDER else None)
    return 0
