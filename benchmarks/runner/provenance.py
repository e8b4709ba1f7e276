"""What a number depends on besides its settings: versions, hardware, the commit."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What is measured here goes there, where git ignores it, unless a command is told otherwise.
RUNS = ROOT / "runs"

# Of SBX's algorithms, where one was used
SBX_PACKAGES = ("sbx-rl", "jax")
PACKAGES = ("torch", "numpy", "gymnasium", "box2d", "stable_baselines3", "sb3_contrib", "rl_zoo3")


def provenance() -> dict[str, Any]:
    """Versions, hardware and git state, in plain types."""
    import sb3_angc

    packages = PACKAGES + (SBX_PACKAGES if "sbx" in sys.modules else ())
    return {
        "versions": {
            "python": platform.python_version(),
            "sb3_angc": sb3_angc.__version__,
            **{package: metadata.version(package) for package in packages},
        },
        "hardware": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        "git": git_state(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def git_state() -> dict[str, Any] | None:
    """Commit of this checkout, and whether the code differs from it. ``None`` without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # Only what can change a result: results written beside the code do not make it "modified".
        changes = git("status", "--porcelain", "--", "sb3_angc", "benchmarks/*.py", "benchmarks/presets")
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None
