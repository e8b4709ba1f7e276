"""
Plants one mistake at a time in a copy of the package and demands that the tests catch each.

``make mutation`` runs it; the exit status is the number of mistakes that no test caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = [
    "test_settling.py",
    "test_local_updates.py",
    "test_stability.py",
    "test_diagnostics.py",
    "test_angc.py",
]

# file, what stands there, what is planted
MUTANTS = [
    ("circuit/settling.py", "error = value - state.predictions[index]", "error = state.predictions[index] - value"),
    ("circuit/settling.py", "1 / (2 * settings.error_scale)", "1 / settings.error_scale"),

    ("circuit/settling.py", "            if slope is not None:\n                drive *= slope\n            drive -=", "            drive -="),
    ("circuit/settling.py", "feed_back(state.errors[hidden + 1])", "feed_back(2 * state.errors[hidden + 1])"),
    ("circuit/settling.py", "drive -= self.settings.leak *", "drive += self.settings.leak *"),
    ("circuit/settling.py", ".clamp(min=0)\n", "\n"),
    ("circuit/settling.py", "~(after <= before)", "~(after >= before)"),
    ("circuit/settling.py", "self._step_scheduled(self.last - 1 - step)", "self._step_scheduled(step)"),
    ("circuit/settling.py", "curvature = self.error_gain * (squared_norm(own) + squared_norm(below))", "curvature = self.error_gain * squared_norm(own)"),
    ("circuit/settling.py", "            error *= self.clamped\n", "            pass\n"),
    ("circuit/synapses.py", "error @ (self.weight if self.feedback is None else self.feedback)", "error @ self.weight"),
    ("circuit/synapses.py", "error.t().mm(activity).div_(len(error))", "error.t().mm(activity)"),
    ("circuit/circuit.py", "scale = -1.0 if", "scale = 1.0 if"),
    ("circuit/circuit.py", "bundle.weight - weight)", "weight - bundle.weight)"),
    ("circuit/circuit.py", "th.exp(-self.learning_time", "th.exp(self.learning_time"),
    ("circuit/circuit.py", "state.activities[index], state.errors[index])", "state.activities[index], state.errors[index].abs())"),
    ("circuit/state.py", "for error in self.errors]", "for error in self.errors[:-1]]"),
    ("epistemic.py", "th.maximum(self.divisor", "th.minimum(self.divisor"),
    ("angc.py", "(1 - batch.dones) * discounts", "discounts"),
    ("angc.py", "else next_values\n", "else next_values.neg()\n"),
    ("angc.py", "draws < self.exploration_rate", "draws[:1] < self.exploration_rate"),
    ("policies.py", "th._foreach_lerp_(target, source, tau)", "th._foreach_lerp_(target, source, 1 - tau)"),
    ("normalization.py", "(1 - share) * difference.square()", "difference.square()"),
]  # fmt: skip


def is_caught(file: str, original: str, planted: str) -> bool:
    """:return: Whether a test fails with the mistake in place"""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("sb3_angc", "tests"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        path = Path(folder) / "sb3_angc" / file
        text = path.read_text(encoding="utf-8")
        if text.count(original) < 1:
            raise SystemExit(f"{file} no longer has {original!r}: bring the list of mistakes up to date")
        path.write_text(text.replace(original, planted, 1), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += [str(Path(folder) / "tests" / name) for name in TESTS]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        # 1: tests failed. Anything else but 0 means that they could not even start.
        if result.returncode not in (0, 1):
            raise SystemExit(result.stdout.decode() + result.stderr.decode())
        return result.returncode == 1


def main() -> int:
    """Try every mistake."""
    missed = 0
    for file, original, planted in MUTANTS:
        caught = is_caught(file, original, planted)
        missed += not caught
        print(
            f"{'caught' if caught else 'MISSED'}  {file}: {original.strip()!r} -> {planted.strip()!r}",
            flush=True,
        )
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} planted mistakes were caught")
    return missed


if __name__ == "__main__":
    sys.exit(main())
