"""Try every mistake."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

# Imported here for the processes that try a mistake, which are forks of this one. The package itself
# must not be: each of them imports a copy of its own.
import gymnasium  # noqa: F401
import pytest
import stable_baselines3  # noqa: F401
import torch._dynamo  # noqa: F401 -- what torch loads when the first optimizer is made

from tests.mutation.mistakes import MUTANTS, TESTS
from tests.mutation.planting import Mutant, plant

ROOT = Path(__file__).resolve().parents[2]
# Seconds that the tests of a file may take with a mistake in place
LONGEST = 400
# Bytes that a process may allocate: a mistake may ask for all the memory there is
MEMORY = 8 * 2**30


def run_tests(folder: str, names: list[str]) -> None:
    """
    Run tests against the package in a folder and exit with pytest's status. For a process of its own.

    :param folder: Holds ``sb3_angc`` and ``tests``
    :param names: The test files
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder  # for what the tests start
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, folder)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "sb3_angc")]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    with open("output", "w", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *(f"tests/{name}" for name in names)])
    package = sys.modules["sb3_angc"].__file__
    if package is None or not package.startswith(folder):
        raise ImportError(f"{package} was tested, not what is in {folder}")
    sys.exit(status)


def is_caught(mutant: Mutant | None, names: list[str]) -> bool:
    """
    :param mutant: The mistake; ``None`` plants none
    :param names: The test files
    :return: Whether a test fails with the mistake in place
    """
    with tempfile.TemporaryDirectory() as folder:
        for part in ("sb3_angc", "tests", "docs"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            path = Path(folder) / "sb3_angc" / mutant.file
            path.write_text(plant(path.read_text(encoding="utf-8"), mutant), encoding="utf-8")
        # A fork has torch and Stable-Baselines3 loaded: a fresh process takes longer for that than to fail.
        process = multiprocessing.get_context("fork").Process(target=run_tests, args=(folder, names))
        process.start()
        process.join(LONGEST)
        if process.is_alive():  # a mistake may ask for work without end: no test run would pass
            process.kill()
            return True
        # 1: tests failed. Anything else but 0 means that they could not even start.
        if process.exitcode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise SystemExit((Path(folder) / "output").read_text(encoding="utf-8"))
        return process.exitcode == pytest.ExitCode.TESTS_FAILED


def main(parts: list[str]) -> int:
    """
    Try every mistake.

    :param parts: If any, only those whose description has one of them
    :return: The number of those missed
    """
    start = time.monotonic()
    mutants = [mutant for mutant in MUTANTS if not parts or any(part in str(mutant) for part in parts)]
    for mutant in mutants:
        plant((ROOT / "sb3_angc" / mutant.file).read_text(encoding="utf-8"), mutant)  # or it raises
    if is_caught(None, sorted({name for mutant in mutants for name in TESTS[mutant.file]})):
        raise SystemExit("the tests fail as it is: a mistake would prove nothing")
    missed = 0
    for mutant in mutants:
        caught = is_caught(mutant, TESTS[mutant.file])
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}  {mutant}", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(f"{len(mutants) - missed} of {len(mutants)} planted mistakes were caught in {minutes:.0f} minutes")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
