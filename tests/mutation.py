"""
Plants one mistake at a time in a copy of the package and demands that the tests catch each.

``make mutation`` runs it; ``python -m tests.mutation PART...`` tries only mistakes whose file or text
has one of the parts. The exit status is the number of mistakes that no test caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
# Quick ones first: the first failure ends a run.
TESTS = [
    "test_activations.py",
    "test_settling.py",
    "test_local_updates.py",
    "test_diagnostics.py",
    "test_buffers.py",
    "test_angc.py",
    "test_stability.py",
]
# What these files do is tested elsewhere.
TESTS_OF = {
    "buffers.py": ["test_replay.py", "test_faults.py"],
    "saving.py": ["test_resuming.py", "test_faults.py"],
    "safe_files.py": ["test_safe_files.py"],
}


class Mutant(NamedTuple):
    """A one-line mistake: the file, what stands there once, what is planted."""

    file: str
    original: str
    planted: str

    def __str__(self) -> str:
        return f"{self.file}: {self.original.strip()!r} -> {self.planted.strip()!r}"


MUTANTS = [
    # errors, precisions and the energy
    Mutant("circuit/settings.py", "gain = 1 / (2 * self.error_scale)", "gain = 1 / self.error_scale"),
    Mutant("circuit/settings.py", "gain * self.output_precision", "gain / self.output_precision"),
    Mutant("circuit/settling.py", "value - state.predictions[index]", "state.predictions[index] - value"),
    Mutant("circuit/settling.py", "            error *= self.clamped\n", "            pass\n"),
    Mutant("circuit/state.py", "for error in self.errors]", "for error in self.errors[:-1]]"),
    # settling layer by layer
    Mutant("circuit/settling.py", "            if slope is not None:\n                drive *= slope\n            drive -=", "            drive -="),
    Mutant("circuit/settling.py", "feed_back(state.errors[hidden + 1])", "feed_back(2 * state.errors[hidden + 1])"),
    Mutant("circuit/settling.py", "drive -= self.settings.leak *", "drive += self.settings.leak *"),
    Mutant("circuit/settling.py", "curvature += self.error_gains[hidden + 1] * squared_norm(below)", "curvature += squared_norm(own)"),
    Mutant("circuit/settling.py", "fall / curvature.clamp(min=tiny)).clamp(min=0)", "fall / curvature.clamp(min=tiny))"),
    Mutant("circuit/settling.py", "(1 + largest) ** 2", "(1 + largest)"),
    Mutant("circuit/settling.py", "~(after <= before)", "~(after >= before)"),
    Mutant("circuit/settling.py", "self._step_scheduled(self.last - 1 - step)", "self._step_scheduled(step)"),
    # settling by sweeps
    Mutant("circuit/sweeping.py", "                pressure *= self.slopes[hidden]\n", "                pass\n"),
    Mutant("circuit/sweeping.py", "pressure - state.errors[hidden] if", "pressure + state.errors[hidden] if"),
    Mutant("circuit/sweeping.py", "pressure -= settings.leak *", "pressure += settings.leak *"),
    Mutant("circuit/sweeping.py", "activity_changes.append(change * self.slopes[hidden])", "activity_changes.append(change)"),
    Mutant("circuit/sweeping.py", "change += moves[hidden + 1]", "change -= moves[hidden + 1]"),
    Mutant("circuit/sweeping.py", "change if self.clamped is None else change * self.clamped", "change"),
    Mutant("circuit/sweeping.py", "output_change, value=-self.error_gains[-1]", "output_change, value=-self.error_gains[0]"),
    Mutant("circuit/sweeping.py", "squared_norm(output_change).mul_(self.error_gains[-1])", "squared_norm(output_change)"),
    Mutant("circuit/sweeping.py", "addcmul(gain, errors_along, value=2)", "addcmul(gain, errors_along)"),
    Mutant("circuit/sweeping.py", "            fall -= errors_along\n", "            fall += errors_along\n"),
    Mutant("circuit/sweeping.py", "tiny)).clamp_(min=0)", "tiny))"),
    Mutant("circuit/sweeping.py", "state.errors[hidden], alpha=1 / self.error_gains[hidden]", "state.errors[hidden], alpha=self.error_gains[hidden]"),
    # activations
    Mutant("circuit/activations.py", "1 - th.tanh(potential).square_()", "1 - th.tanh(potential)"),
    Mutant("circuit/activations.py", "potential < 6", "potential < 1"),
    # synapses and local updates
    Mutant("circuit/synapses.py", "error @ (self.weight if self.feedback is None else self.feedback)", "error @ self.weight"),
    Mutant("circuit/synapses.py", "alpha=1 / len(error)", "alpha=1"),
    Mutant("circuit/synapses.py", "noise, alpha=1 / n_patterns", "noise, alpha=-1 / n_patterns"),
    Mutant("circuit/synapses.py", "(2 * c / c.max()", "(c / c.max()"),
    Mutant("circuit/circuit.py", "state.activities[index], state.errors[index])", "state.activities[index], state.errors[index].abs())"),
    Mutant("circuit/circuit.py", "scale = -1.0 if", "scale = 1.0 if"),
    Mutant("circuit/circuit.py", "th._foreach_sub(weights, before)", "th._foreach_sub(before, weights)"),
    Mutant("circuit/circuit.py", "change = self.settings.feedback_rate * change", "change = 2 * change"),
    Mutant("circuit/circuit.py", "math.exp(-float(self.learning_time)", "math.exp(float(self.learning_time)"),
    Mutant("circuit/circuit.py", "self._decay(weights + feedbacks,", "self._decay(feedbacks,"),
    Mutant("circuit/circuit.py", "self.settings.weight_norm / th.linalg", "2 * self.settings.weight_norm / th.linalg"),
    Mutant("circuit/diagnostics.py", "-gradient)", "gradient)"),
    # the algorithm
    Mutant("epistemic.py", "th.maximum(self.divisor", "th.minimum(self.divisor"),
    Mutant("buffers.py", "        np.random.set_state(random_state)", "        pass"),
    Mutant("angc.py", "(1 - samples.dones) * discounts", "discounts"),
    Mutant("angc.py", "if self.double_q else next_values", "if not self.double_q else next_values"),
    Mutant("angc.py", "rewards += epistemic_weight *", "rewards -= epistemic_weight *"),
    Mutant("angc.py", "draws < self.exploration_rate", "draws[:1] < self.exploration_rate"),
    Mutant("policies.py", "th._foreach_lerp_(target, source, tau)", "th._foreach_lerp_(target, source, 1 - tau)"),
    Mutant("normalization.py", "(1 - share) * difference.square()", "difference.square()"),
    # replay, saving and safe files
    Mutant("buffers.py", "buffer.dones[buffer.pos - 1, goes_on] = 1", "pass"),
    Mutant("buffers.py", "buffer.timeouts[buffer.pos - 1, goes_on] = 1", "pass"),
    Mutant("buffers.py", "            buffer.truncate_last_trajectory()", "            pass"),
    Mutant("saving.py", "            self._last_obs = None\n", "            pass\n"),
    Mutant("saving.py", "            set_random_state(self._pending_random_state, self.action_space)", "            pass"),
    Mutant("saving.py", "action_space.np_random.bit_generator.state = state", "_ = state"),
    Mutant("saving.py", "        temporary.replace(path)\n", "        shutil.copyfile(temporary, path)\n"),
    Mutant("saving.py", "        temporary.unlink(missing_ok=True)\n", "        pass\n"),
    Mutant("saving.py", "            super().set_parameters(before, exact_match=True, device=self.device)\n", "            pass\n"),
    Mutant("saving.py", "            self.replay_buffer = before\n", "            pass\n"),
    Mutant("safe_files.py", "    _check_complete(model.policy, tensors)\n", ""),
    Mutant("safe_files.py", "if value[\"class\"] not in CLASSES", "if False"),
]  # fmt: skip


def is_caught(mutant: Mutant | None) -> bool:
    """:return: Whether a test fails with the mistake in place"""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("sb3_angc", "tests"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            path = Path(folder) / "sb3_angc" / mutant.file
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(mutant.original, mutant.planted), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        names = TESTS if mutant is None else TESTS_OF.get(mutant.file, TESTS)
        command += [str(Path(folder) / "tests" / name) for name in names]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        # 1: tests failed. Anything else but 0 means that they could not even start.
        if result.returncode not in (0, 1):
            raise SystemExit(result.stdout.decode() + result.stderr.decode())
        return result.returncode == 1


def outdated(mutants: list[Mutant]) -> list[Mutant]:
    """:return: Mistakes whose place is not there exactly once"""
    return [
        mutant
        for mutant in mutants
        if (ROOT / "sb3_angc" / mutant.file).read_text(encoding="utf-8").count(mutant.original) != 1
    ]


def main(parts: list[str]) -> int:
    """
    Try every mistake.

    :param parts: If any, only those whose description has one of them
    :return: The number of those missed
    """
    if lost := outdated(MUTANTS):
        raise SystemExit(
            "bring these up to date, their place is not there once:\n" + "\n".join(map(str, lost))
        )
    if is_caught(None):
        raise SystemExit("the tests fail as it is: a mistake would prove nothing")
    mutants = [mutant for mutant in MUTANTS if not parts or any(part in str(mutant) for part in parts)]
    missed = 0
    for mutant in mutants:
        caught = is_caught(mutant)
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}  {mutant}", flush=True)
    print(f"{len(mutants) - missed} of {len(mutants)} planted mistakes were caught")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
