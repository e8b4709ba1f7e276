"""``python -m benchmarks run STUDY.yml``: do what is missing of a study."""

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.engines import Engine, LocalEngine
from benchmarks.progress import Progress
from benchmarks.provenance import ROOT
from benchmarks.results import ResultsFolder
from benchmarks.study import Study, read_study


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


def main(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: without the command's name
    :return: exit status
    """
    parser = argparse.ArgumentParser("python -m benchmarks run", description=__doc__)
    parser.add_argument("study", type=Path, help="study file (YAML)")
    parser.add_argument(
        "-o", "--output", type=Path, help="results folder (default: benchmarks/results/<study>)"
    )
    parser.add_argument(
        "-j", "--jobs", type=int, default=os.cpu_count(), help="cells at once (default: cores)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--force", action="store_true", help="delete the folder's results and start over")
    options = parser.parse_args(arguments)
    study = read_study(options.study)
    folder = ResultsFolder(options.output or ROOT / "benchmarks" / "results" / study.name)
    if options.force:
        folder.clear()
    failed = run_study(study, folder, LocalEngine(options.jobs), options.retry_failed)
    return 1 if failed else 0
