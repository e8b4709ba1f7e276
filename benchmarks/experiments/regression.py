"""
Regression without reinforcement learning: the circuits' presets beside backpropagation.

Every learner has the same layer sizes, optimizer, batches and number of steps; only the way its
updates come about differs. Learned feedback is aligned by a mirror phase, or by a decay, which
regularises as well: backpropagation is therefore shown without that decay and with it.
``python -m benchmarks regression`` runs what its folder lacks and prints the table; raw results are kept
one file for each cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch as th
from torch import nn

from benchmarks.experiments.options import read
from benchmarks.report import pages
from benchmarks.runner.provenance import ROOT
from benchmarks.runner.results import kept_or_measured
from benchmarks.runner.study import slug
from sb3_angc.circuit import NGCCircuit, diagnose, learn
from sb3_angc.circuit.settings import PRESETS, make_settings

STEPS = 2000
BATCH_SIZE = 128
HIDDEN = [128, 128]
LEARNING_RATE = 1e-3
CHECKPOINTS = (0, 100, 300, 1000, 2000)
FOLDER = ROOT / "benchmarks" / "results" / "regression"

Split = tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]


def digits(seed: int) -> Split:
    """The handwritten digits that ship with scikit-learn: 8 x 8 pixels to the one-hot digit."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    return _split(x, np.eye(10)[labels], seed, test_share=0.3)


def friedman(seed: int) -> Split:
    """Friedman's first function of 10 inputs, 5 of them without effect, with noise of deviation 1."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(n_samples=12_000, noise=1.0, random_state=seed)
    return _split(x, y[:, None], seed)


def teacher(seed: int) -> Split:
    """A random teacher network of three hidden layers of 32 tanh units, 10 inputs and 3 outputs."""
    generator = th.Generator().manual_seed(seed)
    x = activity = th.randn(12_000, 10, generator=generator)
    for size in (32, 32, 32):
        weight = th.randn(activity.shape[1], size, generator=generator) * (1.5 / activity.shape[1] ** 0.5)
        activity = th.tanh(activity @ weight)
    y = activity @ th.randn(32, 3, generator=generator)
    return _split(x.numpy(), y.numpy(), seed)


DATASETS: dict[str, Callable[[int], Split]] = {"digits": digits, "friedman": friedman, "teacher": teacher}
DECAYED = "backprop, same decay"
# Feedback aligned by a decay during learning, in place of a mirror phase before it.
DECAY: dict[str, Any] = {
    "preset": "settled",
    "mirror_patterns": 0,
    "alignment_decay": 3.0,
    "alignment_time": 0.5,
}
# The settings of each circuit; None stands for backpropagation.
LEARNERS: dict[str, dict[str, Any] | None] = {
    "backprop": None,
    DECAYED: None,
    "settled": {"preset": "settled"},
    "settled, decay": DECAY,
    "settled, tied": {"preset": "settled", "feedback": "tied"},
    "released": {"preset": "released"},
    # The gradient from initial weights as small as those of "ngc"
    "released, small weights": {"preset": "released", "init_scale": PRESETS["ngc"].init_scale},
    "ngc": {"preset": "ngc"},
    "paper": {"preset": "paper"},
}


def setup(learner: str) -> dict[str, Any]:
    """:return: What a learner's results depend on; results of another setup are measured again"""
    options = LEARNERS[learner]
    settings = None if options is None else make_settings(**options)
    read_out = {} if settings is None or settings.settles_at_projection else {"read_out": "settled"}
    return {
        **read_out,
        "steps": STEPS,
        "batch_size": BATCH_SIZE,
        "hidden": HIDDEN,
        "learning_rate": LEARNING_RATE,
        "circuit": None if settings is None else settings.as_dict(),
        "decay": _decay_settings() if learner == DECAYED else None,
    }


def _decay_settings() -> list[float]:
    settings = make_settings(**DECAY)
    return [settings.alignment_decay, settings.alignment_time]


def run_cell(dataset: str, learner: str, seed: int) -> dict[str, Any]:
    """
    Train one learner on one set.

    :return: Test error relative to the variance of the targets at the end; for circuits, at each of
        ``CHECKPOINTS`` a list over layers of the cosine of the updates with the gradient
        (``cosines``) and of ``W`` with ``E.T`` (``alignments``)
    """
    x, y, x_test, y_test = DATASETS[dataset](seed)
    th.manual_seed(seed)
    sizes = [x.shape[1], *HIDDEN, y.shape[1]]
    options = LEARNERS[learner]
    # Backpropagation starts from the same draw of weights: it differentiates the circuit's twin.
    circuit = NGCCircuit(sizes, **(options or {"preset": "released"}))
    network = _twin(circuit) if options is None else None
    parameters = list((network or circuit).parameters())
    optimizer = th.optim.Adam(parameters, lr=LEARNING_RATE)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    decay = AlignmentDecay(network) if network is not None and learner == DECAYED else None
    batches = th.Generator().manual_seed(seed)
    cosines: dict[int, list[float | None]] = {}
    alignments: dict[int, list[float | None]] = {}
    for step in range(STEPS + 1):
        indices = th.randint(len(x), (BATCH_SIZE,), generator=batches)
        if network is None and step in CHECKPOINTS:
            figures = diagnose(circuit, x[indices], y[indices], with_gradient=True)
            cosines[step], alignments[step] = figures.gradient_cosine, figures.feedback_alignment
        if step == STEPS:
            break
        if network is None:
            learn({circuit: circuit.local_updates(circuit.settle(x[indices], y[indices]))}, optimizer)
        else:
            optimizer.zero_grad()
            loss = 0.5 * (network(x[indices]) - y[indices]).square().sum(1).mean()
            loss.backward()
            optimizer.step()
            if decay is not None:
                decay.step(optimizer.param_groups[0]["lr"])
        schedule.step()
    with th.no_grad():
        predict = circuit.infer if network is None else network
        error = ((predict(x_test) - y_test).square().mean() / y_test.var()).item()
    return {
        "dataset": dataset,
        "learner": learner,
        "seed": seed,
        "setup": setup(learner),
        "test_error": error,
        "cosines": cosines,
        "alignments": alignments,
    }


class AlignmentDecay:
    """
    The decay of the learner "settled, decay", on the weights that it reaches: all matrices but the first.

    :param network: Linear layers with activations between them
    """

    def __init__(self, network: nn.Sequential) -> None:
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        self.weights = [layer.weight for layer in linear[1:]]
        self.decay, self.time = _decay_settings()
        self.learning_time = 0.0

    def step(self, learning_rate: float) -> None:
        """Shrink the weights after a step of the optimizer."""
        rate = self.decay * math.exp(-self.learning_time / self.time)
        with th.no_grad():
            for weight in self.weights:
                weight.mul_(max(1 - learning_rate * rate, 0))
        self.learning_time += learning_rate


def main(arguments: list[str]) -> int:
    """Run the missing cells and print the table."""
    options = read("regression", arguments)
    cells = {}
    for seed, dataset, learner in product(options.seeds, DATASETS, LEARNERS):
        path = options.output / f"{dataset}--{slug(learner)}--{seed}.json"
        cells[dataset, learner, seed] = kept_or_measured(
            path, setup(learner), partial(run_cell, dataset, learner, seed)
        )
    table = report(cells, options.seeds)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    if options.output.resolve() == FOLDER:
        pages.fill(pages.DOCS / "circuit.md", {"regression": table})
    print(table)
    return 0


def report(cells: dict[tuple[str, str, int], dict[str, Any]], seeds: list[int]) -> str:
    """:return: Tables of test errors and of cosines, in Markdown"""
    shown = "Mean and 95 % t-interval over seeds" if len(seeds) > 1 else "One seed"
    lines = [
        f"{shown} {seeds}; {HIDDEN} relu units, Adam, learning rate "
        f"{LEARNING_RATE} falling to 0, {STEPS} steps of {BATCH_SIZE}. "
        "Command: `python -m benchmarks regression`.",
        "",
        "Test error (mean squared error / variance of the targets), in brackets the ratio of the "
        "means to backpropagation's:",
        "",
        "| learner | " + " | ".join(DATASETS) + " |",
        "|---" * (1 + len(DATASETS)) + "|",
    ]
    for learner in LEARNERS:
        row = [learner]
        for dataset in DATASETS:
            errors, reference = (
                np.array([cells[dataset, name, seed]["test_error"] for seed in seeds])
                for name in (learner, "backprop")
            )
            row.append(f"{_mean_and_interval(errors)} ({errors.mean() / reference.mean():.3f})")
        lines.append("| " + " | ".join(row) + " |")
    circuits = {name: make_settings(**options) for name, options in LEARNERS.items() if options is not None}
    learned = [name for name, settings in circuits.items() if settings.feedback == "learned"]
    for key, names, title in (
        ("cosines", list(circuits), "Cosine of the updates with the gradient, by layer from the input,"),
        ("alignments", learned, "Cosine of `W` and `E.T`, from the second layer on,"),
    ):
        lines += ["", f"{title} mean over sets and seeds:", ""]
        lines += ["| learner | " + " | ".join(f"step {step}" for step in CHECKPOINTS) + " |"]
        lines += ["|---" * (1 + len(CHECKPOINTS)) + "|"]
        for learner in names:
            row = [learner]
            for step in CHECKPOINTS:
                lists = [cells[d, learner, seed][key][str(step)] for d in DATASETS for seed in seeds]
                means = np.mean([[v for v in values if v is not None] for values in lists], axis=0)
                row.append(" / ".join(f"{mean:.2f}" for mean in means))
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _split(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], seed: int, test_share: float = 1 / 6) -> Split:
    """Shuffle, split, and scale by the training part's statistics."""
    order = np.random.default_rng(seed).permutation(len(x))
    n_test = int(len(x) * test_share)
    test, train = order[:n_test], order[n_test:]
    x = (x - x[train].mean(0)) / np.maximum(x[train].std(0), 1e-6)
    y = (y - y[train].mean(0)) / y[train].std()
    parts = (x[train], y[train], x[test].clip(-10, 10), y[test])
    return tuple(th.as_tensor(part, dtype=th.float32) for part in parts)  # type: ignore[return-value]


def _twin(circuit: NGCCircuit) -> nn.Sequential:
    """The same layers and weights as an ordinary torch network."""
    layers: list[nn.Module] = []
    for bundle in circuit.bundles:
        linear = nn.Linear(bundle.in_features, bundle.out_features)
        linear.load_state_dict({"weight": bundle.weight, "bias": bundle.bias})
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _mean_and_interval(values: np.ndarray[Any, Any]) -> str:
    from scipy import stats

    if len(values) == 1:  # which tells nothing of others
        return f"{values.mean():.4f}"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.4f} +/- {half:.4f}"
