"""
A run of RL Zoo in a process of its own: ``python -m benchmarks.experiments.speed.zoo_run OUTPUT.json ...``
trains by the Zoo's own ``train`` with the arguments that follow, and leaves what it took in the file.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.experiments.speed.plan import TUNED
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import ROOT


@dataclass(frozen=True)
class Task:
    """
    A whole run to be timed, of ANGC with the settings of ``TUNED`` and of a peer with RL Zoo's.

    :param environment: its id
    :param compiled: whether ANGC's updates are compiled
    :param at_most: the goal, what ANGC may take of the peer's time
    :param peer: RL Zoo's name of the other algorithm
    """

    environment: str
    compiled: bool
    at_most: float
    peer: str = "dqn"


# Both have the same layers, batches and number of updates on LunarLander-v3.
TASKS = (Task("CartPole-v1", False, 1.0), Task("LunarLander-v3", True, 0.75))
SBX_TASKS = tuple(replace(task, at_most=1.0, peer="sbx_dqn") for task in TASKS)


@dataclass(frozen=True)
class Run:
    """
    What a run took, from the start of its process to its end.

    :param wall: seconds on the clock
    :param processor: seconds of processor time
    :param peak_memory: largest resident memory, bytes
    """

    wall: float
    processor: float
    peak_memory: float


def peak_memory() -> float:
    """Largest resident memory of this process so far, bytes."""
    try:
        # Not getrusage: there the memory of the parent counts, which this process was a copy of at first.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) * 1024
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def run(environment: str, algorithm: str, compiled: bool, seed: int, n_timesteps: int | None) -> Run:
    """
    Train with the settings for an environment: ANGC with those of ``TUNED``, others with RL Zoo's.

    :param environment: its id
    :param algorithm: ``"angc"``, ``"dqn"`` or ``"sbx_dqn"``
    :param compiled: whether updates are compiled, of ``"angc"`` alone
    :param seed: of the run
    :param n_timesteps: budget; ``None`` is that of the settings
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run.json"
        command = [sys.executable, "-m", __name__, str(output), "train", "--algo", algorithm]
        command += ["--env", environment, "--seed", str(seed), "--log-folder", folder]
        command += ["--device", "cpu", "--num-threads", "1", "--verbose", "0"]
        if algorithm == "angc":
            command += ["-conf", TUNED]
        if compiled:
            command += ["--hyperparams", "compile_updates:True"]
        if n_timesteps is not None:
            command += ["--n-timesteps", str(n_timesteps)]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - start
        if done.returncode != 0 or not output.exists():
            raise BenchmarkError(f"{' '.join(command[3:])}: failed\n{done.stderr[-2000:]}")
        return Run(wall, **json.loads(output.read_text(encoding="utf-8")))


def main() -> int:
    """Run the Zoo's command in this process."""
    from sb3_angc.zoo.__main__ import main as zoo

    output, *arguments = sys.argv[1:]
    status = zoo(arguments)
    if status == 0:
        took = {"processor": time.process_time(), "peak_memory": peak_memory()}
        Path(output).write_text(json.dumps(took), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
