"""
Plants one mistake at a time in a copy of the package and demands that the tests catch each.

``make mutation`` runs it; ``python -m tests.mutation PART...`` tries only mistakes whose file or text
has one of the parts. The exit status is the number of mistakes that no test caught.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

# Imported here for the processes that try a mistake, which are forks of this one. The package itself
# must not be: each of them imports a copy of its own.
import gymnasium  # noqa: F401
import pytest
import stable_baselines3  # noqa: F401
import torch._dynamo  # noqa: F401 -- what torch loads when the first optimizer is made

ROOT = Path(__file__).parent.parent
# The tests that are to catch the mistakes in a file; the first failure ends a run.
SETTLING = ["circuit/test_settling.py", "circuit/test_reference.py", "circuit/test_stability.py"]
TESTS = {
    "circuit/activations.py": ["circuit/test_activations.py"],
    "circuit/circuit.py": [
        "circuit/test_local_updates.py",
        "circuit/test_learning.py",
        "circuit/test_circuit_settings.py",
    ],
    "circuit/synapses/convolutional.py": ["circuit/test_convolution.py"],
    "circuit/diagnostics.py": ["circuit/test_diagnostics.py"],
    "circuit/learning.py": ["circuit/test_learning.py", "circuit/test_local_updates.py"],
    "circuit/synapses/parallel.py": ["circuit/test_convolution.py"],
    "circuit/settings.py": SETTLING,
    "circuit/settling.py": SETTLING,
    "circuit/state.py": SETTLING,
    "circuit/sweeping.py": SETTLING,
    "circuit/synapses/dense.py": ["circuit/test_local_updates.py", "circuit/test_settling.py"],
    "angc/angc.py": [
        "angc/test_angc.py",
        "angc/test_buffers.py",
        "angc/test_replay.py",
        "angc/test_drop_in.py",
    ],
    "angc/replay.py": ["angc/test_buffers.py", "angc/test_replay.py", "angc/test_faults.py"],
    "common/compiling.py": ["angc/test_compiling.py"],
    "angc/epistemic.py": ["angc/test_angc.py", "angc/test_compiling.py"],
    "saving/files.py": ["saving/test_resuming.py"],
    "angc/normalization.py": ["angc/test_angc.py"],
    "angc/policies.py": ["angc/test_angc.py", "angc/test_drop_in.py"],
    "saving/safe_files.py": ["saving/test_safe_files.py"],
    "saving/resuming.py": ["saving/test_resuming.py", "angc/test_faults.py"],
    "common/workers.py": ["angc/test_faults.py"],
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
    Mutant("circuit/settings.py", "return clamp.add_(0 * y)", "return clamp"),
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
    Mutant("circuit/sweeping.py", "pressure = pressure * self.g_slopes[hidden + 1]", "pass"),
    Mutant("circuit/sweeping.py", "pressure - state.errors[hidden] if", "pressure + state.errors[hidden] if"),
    Mutant("circuit/sweeping.py", "pressure -= settings.leak *", "pressure += settings.leak *"),
    Mutant("circuit/sweeping.py", "activity_changes.append(change * self.slopes[hidden])", "activity_changes.append(change)"),
    Mutant("circuit/sweeping.py", "change *= self.g_slopes[hidden + 1]", "pass"),
    Mutant("circuit/sweeping.py", "change += moves[hidden + 1]", "change -= moves[hidden + 1]"),
    Mutant("circuit/sweeping.py", "change if self.clamped is None else change * self.clamped", "change"),
    Mutant("circuit/sweeping.py", "output_change, value=-self.error_gains[-1]", "output_change, value=-self.error_gains[0]"),
    Mutant("circuit/sweeping.py", "squared_norm(output_change).mul_(self.error_gains[-1])", "squared_norm(output_change)"),
    Mutant("circuit/sweeping.py", "addcmul(gain, errors_along, value=2)", "addcmul(gain, errors_along)"),
    Mutant("circuit/sweeping.py", "squared_moves.mul_(gain).mul_(gain)", "squared_moves.mul_(gain)"),
    Mutant("circuit/sweeping.py", "            fall -= errors_along\n", "            fall += errors_along\n"),
    Mutant("circuit/sweeping.py", "tiny)).clamp_(min=0)", "tiny))"),
    Mutant("circuit/sweeping.py", "state.errors[hidden].add_(error_change) if has_moved", "error_change if has_moved"),
    Mutant("circuit/sweeping.py", "addcmul_(gain, activity_changes[hidden])", "addcmul_(gain, potential_changes[hidden])"),
    Mutant("circuit/sweeping.py", "            values[lost] = 0\n", "            pass\n"),
    Mutant("circuit/sweeping.py", "            squared_moves[lost] = 0\n", "            pass\n"),
    # potentials and predictions asked for after sweeps
    Mutant("circuit/sweeping.py", "                moved *= self._gain\n", "                pass\n"),
    Mutant("circuit/sweeping.py", "moved.addcmul_(gain, change)", "moved.addcmul_(gain, change, value=-1)"),
    Mutant("circuit/sweeping.py", "        self._gain = None\n\n    def _moved", "\n    def _moved"),
    Mutant("circuit/sweeping.py", "self._changes[layer - 1]", "self._changes[-layer]"),
    Mutant("circuit/sweeping.py", "first + (change if", "first - (change if"),
    Mutant("circuit/sweeping.py", "else self._gain * change", "else change"),
    Mutant("circuit/sweeping.py", "hidden[0] + self.errors[0] / self._error_gains[0]", "hidden[0] + self.errors[0] * self._error_gains[0]"),
    Mutant("circuit/sweeping.py", "hidden[0] + self.errors[0]", "hidden[0] - self.errors[0]"),
    Mutant("circuit/sweeping.py", "moved[layer] - self.errors[layer] /", "moved[layer] + self.errors[layer] /"),
    Mutant("circuit/sweeping.py", "self.errors[layer] / self._error_gains[layer]", "self.errors[layer]"),
    Mutant("circuit/sweeping.py", "squares.add_(self.hidden_squared_errors)", "squares"),
    Mutant("circuit/sweeping.py", "move([*potential_changes[1:], change], gain)", "move([*potential_changes[:-1], change], gain)"),
    # activations
    Mutant("circuit/activations.py", "1 - th.tanh(potential).square_()", "1 - th.tanh(potential)"),
    Mutant("circuit/activations.py", "potential < 6", "potential < 1"),
    Mutant("circuit/activations.py", "return value, value.sign()", "return value, value"),
    Mutant("circuit/activations.py", "(self.function, self.derivative) == (th.relu, _relu_derivative)", "self.function is th.relu"),
    Mutant("circuit/activations.py", "            value = value.clone()\n", "            pass\n"),
    # synapses and local updates
    Mutant("circuit/synapses/dense.py", "error @ (self.weight if self.feedback is None else self.feedback)", "error @ self.weight"),
    Mutant("circuit/synapses/dense.py", "activity, beta=0, alpha=1 / len(error)", "activity, beta=0, alpha=1"),
    Mutant("circuit/synapses/dense.py", "error, beta=0, alpha=1 / len(error)", "error, beta=0, alpha=1"),
    Mutant("circuit/synapses/dense.py", "activity.t(), error, beta=0", "activity.t(), error, beta=1"),
    Mutant("circuit/synapses/dense.py", "error.sum(0).div_(len(error))", "error.sum(0)"),
    Mutant("circuit/synapses/dense.py", "noise, alpha=1 / n_patterns", "noise, alpha=-1 / n_patterns"),
    Mutant("circuit/synapses/dense.py", "(2 * c / c.max()", "(c / c.max()"),
    Mutant("circuit/circuit.py", "yield from bundle.ends(activity, error)", "yield from bundle.ends(activity, error.abs())"),
    Mutant("circuit/circuit.py", "changes[\"weight\"] * bundle.modulation()[0]", "changes[\"weight\"]"),
    Mutant("circuit/circuit.py", "return update / norm", "return update"),
    # the learning step
    Mutant("circuit/learning.py", "1.0 if optimizer.param_groups", "-1.0 if optimizer.param_groups"),
    Mutant("circuit/learning.py", "\"maximize\", False) else -1.0", "\"maximize\", False) else 1.0"),
    Mutant("circuit/learning.py", "scale = sign * scales[circuit]", "scale = sign"),
    Mutant("circuit/learning.py", "max_norm / norm", "norm / max_norm"),
    Mutant("circuit/learning.py", "norm <= max_norm", "norm >= max_norm"),
    Mutant("circuit/learning.py", "math.hypot(*(next(norms) for _ in of_circuit))", "sum(next(norms) for _ in of_circuit)"),
    Mutant("circuit/learning.py", "    optimizer.zero_grad()", "    pass"),
    Mutant("circuit/learning.py", "        if not math.isfinite(norm):\n", "        if False:\n"),
    Mutant("circuit/circuit.py", "th._foreach_sub_(feedbacks, weights)", "th._foreach_add_(feedbacks, weights)"),
    Mutant("circuit/circuit.py", "                th._foreach_add_(feedbacks, weights)\n", "                th._foreach_sub_(feedbacks, weights)\n"),
    Mutant("circuit/circuit.py", "bundle.weight - old", "old - bundle.weight"),
    Mutant("circuit/circuit.py", "self.settings.modulation or self.settings.feedback_rate != 1", "self.settings.modulation"),
    Mutant("circuit/circuit.py", "change = self.settings.feedback_rate * change", "change = 2 * change"),
    Mutant("circuit/circuit.py", "change * bundle.modulation()[1]", "change"),
    Mutant("circuit/circuit.py", "math.exp(-float(self.learning_time)", "math.exp(float(self.learning_time)"),
    Mutant("circuit/circuit.py", "self._decay(weights + feedbacks,", "self._decay(feedbacks,"),
    Mutant("circuit/circuit.py", "self.settings.weight_norm / th.linalg", "2 * self.settings.weight_norm / th.linalg"),
    Mutant("circuit/diagnostics.py", "cosines.append(-_cosine(", "cosines.append(_cosine("),
    # images
    Mutant("circuit/synapses/convolutional.py", "reshape(self.weight.shape).div_(len(error))", "reshape(self.weight.shape)"),
    Mutant("circuit/synapses/convolutional.py", "error, self.weight if self.feedback is None else self.feedback)", "error, self.weight)"),
    Mutant("circuit/synapses/convolutional.py", "self.padding, self.unseen)", "self.padding)"),
    Mutant("circuit/synapses/convolutional.py", "[\"weight\"].clamp_(min=1)", "[\"weight\"].clamp_(min=1e9)"),
    Mutant("circuit/synapses/parallel.py", "part.feed_back(rows), error, self.out_sizes", "part.feed_back(rows), error, self.out_sizes[::-1]"),
    # the algorithm
    Mutant("angc/epistemic.py", "th.maximum(self.divisor, discrepancy.max())", "discrepancy.max()"),
    Mutant("angc/epistemic.py", "discrepancy.max())", "discrepancy.mean())"),
    Mutant("angc/epistemic.py", "self.divisor.lerp(mean, MEAN_RATE)", "self.divisor + MEAN_RATE * mean"),
    Mutant("angc/epistemic.py", "th.where(self.divisor > 0, self.divisor.lerp(mean, MEAN_RATE), mean)", "self.divisor.lerp(mean, MEAN_RATE)"),
    Mutant("angc/epistemic.py", "self.divisor.copy_(th.where(divisor.isfinite(), divisor, self.divisor))", "pass"),
    Mutant("angc/epistemic.py", "th.where(divisor.isfinite(), divisor, self.divisor)", "divisor"),
    Mutant("angc/angc.py", '**self.replay_buffer_kwargs, **steps}', '**steps, **self.replay_buffer_kwargs}'),
    Mutant("angc/angc.py", "self.alpha_epistemic if fraction != 0 else 0.0", "self.alpha_epistemic"),
    Mutant("angc/replay.py", "if self.n_envs > 1:", "if self.n_envs > 3:"),
    Mutant("angc/replay.py", "            np.random.set_state(random_state)", "            pass"),
    Mutant("angc/angc.py", "scatter_(1, actions, 1.0)", "scatter_(1, actions * 0, 1.0)"),
    Mutant("angc/angc.py", "targets.expand_as(batch.taken), batch.taken", "targets.expand_as(batch.taken), None"),
    Mutant("angc/angc.py", "(1 - samples.dones) * discounts", "discounts"),
    Mutant("angc/angc.py", "if self.double_q else next_values", "if not self.double_q else next_values"),
    Mutant("angc/angc.py", "rewards + epistemic_weight *", "rewards - epistemic_weight *"),
    Mutant("angc/angc.py", "draws < self.exploration_rate", "draws[:1] < self.exploration_rate"),
    Mutant("angc/policies.py", "th._foreach_lerp_(target, source, tau)", "th._foreach_lerp_(target, source, 1 - tau)"),
    Mutant("angc/normalization.py", "(1 - share) * difference.square()", "difference.square()"),
    Mutant("common/compiling.py", "            self._callable = self.function\n", "            pass\n"),
    Mutant("common/compiling.py", "            if self._callable is self.function:\n", "            if True:\n"),
    # replay, saving and safe files
    Mutant("angc/replay.py", "buffer.dones[buffer.pos - 1, goes_on] = 1", "pass"),
    Mutant("angc/replay.py", "buffer.timeouts[buffer.pos - 1, goes_on] = 1", "pass"),
    Mutant("angc/replay.py", "            buffer.truncate_last_trajectory()", "            pass"),
    Mutant("saving/resuming.py", "together, and the next call of learn() has to reset it.\n            self._last_obs = None", "x\n            pass"),
    Mutant("saving/resuming.py", "after an error, see `learn`.\n            self._last_obs = None", "x\n            pass"),
    Mutant("angc/angc.py", "if type(self.replay_buffer) in DRAW_ONE_BY_ONE:", "if True:"),
    Mutant("angc/angc.py", "self.replay_buffer.gamma = self.n_steps, self.gamma", "_ = self.n_steps, self.gamma"),
    Mutant("angc/angc.py", "if deterministic or is_pair:", "if deterministic:"),
    Mutant("angc/angc.py", "            observation = np.asarray(observation)", "            pass"),
    Mutant("angc/policies.py", "        self.features_extractor.train(mode)", "        pass"),
    Mutant("angc/policies.py", 'not kwargs.get("foreach")', "True"),
    Mutant("circuit/circuit.py", "matrix.mul_(self.settings.init_scale)", "matrix.mul_(1.0)"),
    Mutant("saving/resuming.py", "            set_random_state(self._pending_random_state, self.action_space)", "            pass"),
    Mutant("saving/resuming.py", "action_space.np_random.bit_generator.state = state", "_ = state"),
    Mutant("saving/files.py", "        temporary.replace(path)\n", "        shutil.copyfile(temporary, path)\n"),
    Mutant("saving/files.py", "        temporary.unlink(missing_ok=True)\n", "        pass\n"),
    Mutant("saving/resuming.py", "            super().set_parameters(before, exact_match=True, device=self.device)\n", "            pass\n"),
    Mutant("saving/resuming.py", "            self.replay_buffer = before\n", "            pass\n"),
    Mutant("saving/safe_files.py", "if described != stored:", "if False:"),
    Mutant("saving/safe_files.py", "if value[\"class\"] not in CLASSES", "if False"),
]  # fmt: skip


def run_tests(folder: str, names: list[str]) -> None:
    """
    Run tests against the package in a folder and exit with pytest's status. For a process of its own.

    :param folder: Holds ``sb3_angc`` and ``tests``
    :param names: The test files
    """
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
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(mutant.original, mutant.planted), encoding="utf-8")
        # A fork has torch and Stable-Baselines3 loaded: a fresh process takes longer for that than to fail.
        process = multiprocessing.get_context("fork").Process(target=run_tests, args=(folder, names))
        process.start()
        process.join()
        # 1: tests failed. Anything else but 0 means that they could not even start.
        if process.exitcode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise SystemExit((Path(folder) / "output").read_text(encoding="utf-8"))
        return process.exitcode == pytest.ExitCode.TESTS_FAILED


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
    start = time.monotonic()
    if lost := outdated(MUTANTS):
        raise SystemExit(
            "bring these up to date, their place is not there once:\n" + "\n".join(map(str, lost))
        )
    mutants = [mutant for mutant in MUTANTS if not parts or any(part in str(mutant) for part in parts)]
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
