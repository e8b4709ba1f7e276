"""
How a circuit's hidden layers are best moved: rules of settling, their cost against what energy they leave.

``python -m benchmarks settling`` measures what is missing and writes tables and a figure beside the
raw results. The rules are the circuit's own settings, and three that it does not offer, written here
as plain reference code: their times are those of plain code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from matplotlib import style
from matplotlib.figure import Figure
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import figures, pages
from benchmarks.errors import Parser
from benchmarks.provenance import provenance
from benchmarks.results import read_json, write_json
from sb3_angc.circuit import NGCCircuit, diagnose
from sb3_angc.circuit.settings import make_settings

SIZES = [8, 256, 256, 4]
BATCH_SIZE = 128
STEPS = (1, 2, 3, 5, 10, 20, 50)
TRAINING_STEPS = 2000
MINIMUM_STEPS = 2000
REPEATS = 20
# The energy that is judged, whatever the defaults are.
BASE: dict[str, Any] = {"activation": "relu", "leak": 0.0, "error_scale": 0.5, "output_precision": 1.0}
FOLDER = Path(__file__).parent / "results" / "settling"

Potentials = list[th.Tensor]


# --- what is settled ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """
    A circuit and what is clamped.

    :param trained: Whether the circuit has learned from a teacher network
    :param scale: Factor of all weights, ``E`` included
    :param feedback: As the circuit's setting
    :param one_output: Whether a single output is clamped, as in a controller
    """

    trained: bool
    scale: float
    feedback: str = "tied"
    one_output: bool = False

    @property
    def name(self) -> str:
        """The name of the raw results."""
        parts = ["trained" if self.trained else "untrained", f"{self.scale:g}", self.feedback]
        return "-".join([*parts, "one" if self.one_output else "all"])

    @property
    def title(self) -> str:
        """The name for readers."""
        title = f"{'trained' if self.trained else 'untrained'}, weights x {self.scale:g}"
        if self.feedback == "learned":
            title += ", learned E"
        return title + (", one output" if self.one_output else "")


CONDITIONS = (
    *(Condition(trained, scale) for trained, scale in product((False, True), (0.5, 1.0, 2.0))),
    Condition(True, 1.0, "learned"),
    Condition(True, 1.0, "tied", one_output=True),
    Condition(True, 1.0, "learned", one_output=True),
)


def make_circuit(condition: Condition, seed: int) -> NGCCircuit:
    """:return: The circuit, trained with the preset ``settled`` if at all, weights scaled"""
    th.manual_seed(seed)
    circuit = NGCCircuit(SIZES, feedback=condition.feedback, **BASE)
    if condition.trained:
        target = _teacher(seed)
        optimizer = th.optim.Adam(circuit.parameters(), lr=1e-3)
        schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, TRAINING_STEPS)
        for _ in range(TRAINING_STEPS):
            x = th.randn(BATCH_SIZE, SIZES[0])
            circuit.step(circuit.local_updates(circuit.settle(x, target(x))), optimizer)
            schedule.step()
    for bundle in circuit.bundles:
        bundle.weight.mul_(condition.scale)
        if bundle.feedback is not None:
            bundle.feedback.mul_(condition.scale)
    return circuit


def _teacher(seed: int) -> Callable[[th.Tensor], th.Tensor]:
    """A random network of two hidden layers of 32 tanh units, outputs of deviation about 1."""
    generator = th.Generator().manual_seed(seed)
    weights = [
        th.randn(n_in, n_out, generator=generator) * (1.5 / n_in**0.5)
        for n_in, n_out in ((SIZES[0], 32), (32, 32), (32, SIZES[-1]))
    ]
    return lambda x: th.tanh(th.tanh(x @ weights[0]) @ weights[1]) @ weights[2]


@dataclass
class Problem:
    """
    A circuit of relu units clamped to a batch, in plain tensors.

    :param circuit: The circuit
    :param x: Clamped input, ``(batch, n_in)``
    :param y: Clamped output, ``(batch, n_out)``
    :param clamped: 1 where an output is clamped, 0 where it is free, ``(batch, n_out)``
    """

    circuit: NGCCircuit
    x: th.Tensor
    y: th.Tensor
    clamped: th.Tensor
    weights: list[th.Tensor] = field(init=False)
    feedbacks: list[th.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [bundle.weight.detach() for bundle in self.circuit.bundles]
        self.feedbacks = [
            bundle.weight.detach() if bundle.feedback is None else bundle.feedback.detach()
            for bundle in self.circuit.bundles
        ]
        largest = max(float(th.linalg.matrix_norm(weight, 2)) for weight in self.weights[1:])
        self.bound = 1 / (1 + largest) ** 2  # over the largest curvature of all layers together
        self.own_bounds = [1 / (1 + weight.square().sum(0)) for weight in self.weights]

    def double(self) -> Problem:
        """The same in float64."""
        circuit = NGCCircuit(SIZES, feedback=self.circuit.settings.feedback).double()
        circuit.load_state_dict(self.circuit.state_dict())
        return Problem(circuit, self.x.double(), self.y.double(), self.clamped.double())

    def predict(self, layer: int, potentials: Potentials) -> th.Tensor:
        """What a layer is predicted to be, by the layer before it or the input."""
        activity = self.x if layer == 0 else th.relu(potentials[layer - 1])
        return F.linear(activity, self.weights[layer], self.circuit.bundles[layer].bias)

    def project(self) -> Potentials:
        """The hidden layers at the projection of the input."""
        potentials: Potentials = []
        for layer in range(len(self.weights) - 1):
            potentials.append(self.predict(layer, potentials))
        return potentials


class State:
    """
    Hidden layers and their predictions; no product is taken twice. Every rule is judged by this
    energy, ``F = 0.5 sum_l |z_l - phi(z_{l-1}) W_l - b_l|^2``.

    :param problem: The circuit and what is clamped
    :param potentials: The hidden layers
    """

    def __init__(self, problem: Problem, potentials: Potentials) -> None:
        self.problem = problem
        self.potentials = list(potentials)
        self.predictions = [problem.predict(layer, potentials) for layer in range(len(problem.weights))]

    def error(self, layer: int) -> th.Tensor:
        """A layer's mismatch with its prediction."""
        if layer == len(self.potentials):
            return (self.problem.y - self.predictions[layer]) * self.problem.clamped
        return self.potentials[layer] - self.predictions[layer]

    def slope(self, layer: int) -> th.Tensor:
        """``phi'(z)``"""
        return (self.potentials[layer] > 0).to(self.potentials[layer].dtype)

    def energy(self, layers: Iterable[int] | None = None) -> th.Tensor:
        """``F`` of each sample, ``(batch,)``, or the terms of some layers."""
        errors = [self.error(layer) for layer in layers or range(len(self.predictions))]
        return 0.5 * th.stack([error.square().sum(1) for error in errors]).sum(0)

    def drive(self, layer: int) -> th.Tensor:
        """The pressure on a hidden layer, ``phi'(z) * (e_next E) - e``."""
        returning = self.error(layer + 1) @ self.problem.feedbacks[layer + 1]
        return returning * self.slope(layer) - self.error(layer)

    def move(self, layer: int, change: th.Tensor) -> None:
        """Move a layer in the samples whose energy does not rise by it."""
        moved = copy(self)
        moved.potentials, moved.predictions = list(self.potentials), list(self.predictions)
        moved.potentials[layer] = self.potentials[layer] + change
        moved.predictions[layer + 1] = self.problem.predict(layer + 1, moved.potentials)
        terms = (layer, layer + 1)
        falls = (moved.energy(terms) <= self.energy(terms)).unsqueeze(1)
        for new, old, index in (
            (moved.potentials, self.potentials, layer),
            (moved.predictions, self.predictions, layer + 1),
        ):
            old[index] = th.where(falls, new[index], old[index])


Rule = Callable[[Problem], Iterator[Potentials]]


# --- rules that the circuit does not offer -------------------------------------------------------


def own_step(problem: Problem) -> Iterator[Potentials]:
    """Inward; each neuron's step is over 1 + the sum of its squared outgoing weights."""
    state = State(problem, problem.project())
    while True:
        for layer in reversed(range(len(state.potentials))):
            state.move(layer, problem.own_bounds[layer + 1] * state.drive(layer))
        yield list(state.potentials)


def last_solved(problem: Problem) -> Iterator[Potentials]:
    """
    Inward; the last hidden layer is solved for on the tangent of ``phi``, others by line search.
    With ``A = phi' W`` of the clamped outputs, ``z = zbar + (1 + A.T A)^-1 r`` along ``A``, a system
    only as wide as the output. Uses ``W``, whatever the feedback.
    """
    state = State(problem, problem.project())
    last = len(state.potentials) - 1
    identity = th.eye(len(problem.weights[-1]), dtype=problem.x.dtype)
    while True:
        own = state.error(last)
        gated = problem.weights[-1] * state.slope(last).unsqueeze(1) * problem.clamped.unsqueeze(2)
        right = state.error(last + 1) + (gated @ own.unsqueeze(2)).squeeze(2)
        solved = th.linalg.solve(identity + gated @ gated.transpose(1, 2), right)
        state.move(last, (solved.unsqueeze(1) @ gated).squeeze(1) - own)
        for layer in reversed(range(last)):
            change = state.drive(layer)
            effect = (change * state.slope(layer)) @ problem.weights[layer + 1].T
            fall = (effect * state.error(layer + 1)).sum(1) - (change * state.error(layer)).sum(1)
            curvature = change.square().sum(1) + effect.square().sum(1)
            gain = (fall / curvature.clamp(min=1e-30)).clamp(min=0)
            state.move(layer, gain.unsqueeze(1) * change)
        yield list(state.potentials)


def momentum(problem: Problem) -> Iterator[Potentials]:
    """Simultaneous and spectral with Nesterov's momentum of 0.9, dropped in samples that turn back."""
    potentials = problem.project()
    velocities = [th.zeros_like(z) for z in potentials]
    while True:
        ahead = State(problem, [z + 0.9 * v for z, v in zip(potentials, velocities, strict=True)])
        drives = [ahead.drive(layer) for layer in range(len(potentials))]
        along = th.stack([(d * v).sum(1) for d, v in zip(drives, velocities, strict=True)]).sum(0)
        keep = 0.9 * (along >= 0).to(along.dtype).unsqueeze(1)
        velocities = [keep * v + problem.bound * drive for v, drive in zip(velocities, drives, strict=True)]
        potentials = [z + v for z, v in zip(potentials, velocities, strict=True)]
        yield potentials


# Settings of the circuit, or a rule of this module.
RULES: dict[str, dict[str, Any] | Rule] = {
    "sweep, line search (default)": {"order": "sweep", "step_rule": "line_search"},
    "inward, line search": {"order": "inward", "step_rule": "line_search"},
    "inward, last layer solved": last_solved,
    "inward, spectral": {"order": "inward", "step_rule": "spectral"},
    "inward, each neuron's own": own_step,
    "simultaneous, spectral": {"order": "simultaneous", "step_rule": "spectral"},
    "simultaneous, momentum": momentum,
    "simultaneous, fixed at 0.1": {"order": "simultaneous", "step_rule": "fixed", "step_size": 0.1},
}


def make_settler(rule: str, problem: Problem, steps: int) -> Callable[[], Potentials]:
    """:return: A call that settles for a number of steps and gives the hidden potentials"""
    definition = RULES[rule]
    if callable(definition):
        reference = definition
        return lambda: next(islice(reference(problem), steps - 1, None))
    settings = {**BASE, **definition, "inference_steps": steps}
    circuit = NGCCircuit(SIZES, feedback=problem.circuit.settings.feedback, **settings).to(problem.x.dtype)
    circuit.load_state_dict(problem.circuit.state_dict())
    clamped = None if bool(problem.clamped.all()) else problem.clamped
    return lambda: circuit.settle(problem.x, problem.y, clamped).potentials[:-1]


# --- measuring -----------------------------------------------------------------------------------


def setup() -> dict[str, Any]:
    """:return: What all cells depend on; results of another setup are measured again"""
    return {
        "sizes": SIZES,
        "batch_size": BATCH_SIZE,
        "steps": list(STEPS),
        "training_steps": TRAINING_STEPS,
        "minimum_steps": MINIMUM_STEPS,
        "base": make_settings(**BASE).as_dict(),
        "rules": {name: rule if isinstance(rule, dict) else rule.__name__ for name, rule in RULES.items()},
    }


def run_cell(condition: Condition, seed: int) -> dict[str, Any]:
    """
    Settle one circuit by every rule.

    :return: For each rule the energy above the minimum after each number of ``STEPS``, as a share
        of that at the projection (mean over the batch; ``None`` where it diverged), time and
        products a step, a product being one of the batch with a 256 x 256 matrix
    """
    circuit = make_circuit(condition, seed)
    th.manual_seed(1000 + seed)
    x = th.randn(BATCH_SIZE, SIZES[0])
    y = circuit.project(x) + th.randn(BATCH_SIZE, SIZES[-1])
    clamped = th.ones_like(y)
    if condition.one_output:
        clamped = F.one_hot(th.randint(SIZES[-1], (BATCH_SIZE,)), SIZES[-1]).float()
    problem = Problem(circuit, x, y, clamped)
    in_double = problem.double()

    # The bound's power iteration goes on from batch to batch: here it has had its batches.
    warm = NGCCircuit(
        SIZES, feedback=condition.feedback, order="inward", step_rule="spectral", inference_steps=50
    )
    warm.load_state_dict(circuit.state_dict())
    warm.settle(x, y)
    circuit.load_state_dict(warm.state_dict())

    start = State(in_double, in_double.project()).energy()
    tied = Problem(in_double.circuit, in_double.x, in_double.y, in_double.clamped)
    tied.feedbacks = tied.weights  # the minimum does not depend on E
    lowest = State(tied, next(islice(momentum(tied), MINIMUM_STEPS - 1, None))).energy()
    energies: dict[str, list[th.Tensor]] = {}
    costs = {}
    for rule in RULES:
        energies[rule] = [State(in_double, _settle(rule, problem, steps)).energy() for steps in STEPS]
        for energy in energies[rule]:
            lowest = th.minimum(lowest, th.nan_to_num(energy, nan=th.inf))
        costs[rule] = _cost(rule, problem)
    rules = {}
    for rule, values in energies.items():
        shares = [float((energy - lowest).mean() / (start - lowest).mean()) for energy in values]
        rules[rule] = {
            "remaining": [share if np.isfinite(share) else None for share in shares],
            **costs[rule],
        }
    alignment = diagnose(circuit, x, y).feedback_alignment
    return {
        "condition": condition.name,
        "seed": seed,
        "removable": float(((start - lowest) / start).mean()),
        "alignment": alignment,
        "setup": setup(),
        "rules": rules,
        "provenance": provenance(),
    }


def _settle(rule: str, problem: Problem, steps: int) -> Potentials:
    try:
        return [z.double() for z in make_settler(rule, problem, steps)()]
    except ValueError:  # diverged
        return [th.full_like(z, th.nan).double() for z in problem.project()]


def _cost(rule: str, problem: Problem) -> dict[str, float | None]:
    """Time and products of one further step: those of 10 less those of 5, over 5."""
    times, products = [], []
    for steps in (5, 10):
        settle = make_settler(rule, problem, steps)
        try:
            with FlopCounterMode(display=False) as counter:
                settle()
        except ValueError:
            return {"milliseconds": None, "products": None}
        products.append(counter.get_total_flops() / (2 * BATCH_SIZE * SIZES[1] * SIZES[2]))
        durations = []
        for _ in range(REPEATS):
            started = time.process_time()
            settle()
            durations.append(1000 * (time.process_time() - started))
        times.append(min(durations))  # what else the machine does only ever adds
    return {"milliseconds": (times[1] - times[0]) / 5, "products": (products[1] - products[0]) / 5}


# --- reporting -----------------------------------------------------------------------------------

Cells = dict[tuple[Condition, int], dict[str, Any]]


def remaining(cells: Cells, condition: Condition, rule: str) -> list[float | None]:
    """:return: For each of ``STEPS`` the mean over seeds; ``None`` where a seed diverged"""
    lists = [cell["rules"][rule]["remaining"] for (which, _), cell in cells.items() if which == condition]
    return [None if None in values else float(np.mean(values)) for values in zip(*lists, strict=True)]


def cost(cells: Cells, rule: str, key: str) -> float:
    """:return: The median over all cells of what a step costs"""
    values = [cell["rules"][rule][key] for cell in cells.values()]
    return float(np.median([value for value in values if value is not None]))


def report(cells: Cells) -> str:
    """:return: Tables in Markdown"""
    seeds = sorted({seed for _, seed in cells})
    hardware = {cell["provenance"]["hardware"]["processor"] for cell in cells.values()}
    shown = (1, 2, 5, 20)
    lines = [
        f"Circuits of {SIZES} relu units, batches of {BATCH_SIZE}, targets of deviation 1 around the "
        f"projection, mean over seeds {seeds}; trained ones by {TRAINING_STEPS} steps of Adam on a teacher "
        f"network. One thread of {', '.join(sorted(hardware))}. Command: `python -m benchmarks settling`.",
        "",
        f"Energy above the minimum after {', '.join(map(str, shown[:-1]))} and {shown[-1]} steps, in % of "
        "that at the projection. A product is one of the batch with a 256 x 256 matrix.",
        "",
    ]
    header = ["rule", "products a step", "ms a step", *(condition.title for condition in CONDITIONS)]
    lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for rule in RULES:
        row = [rule, f"{cost(cells, rule, 'products'):.2f}", f"{cost(cells, rule, 'milliseconds'):.2f}"]
        for condition in CONDITIONS:
            shares = dict(zip(STEPS, remaining(cells, condition, rule), strict=True))
            row.append(" / ".join(_percent(shares[steps]) for steps in shown))
        lines.append("| " + " | ".join(row) + " |")
    removable, alignment = (
        ["share of the energy that can be removed", "", ""],
        ["cosine of W and E.T", "", ""],
    )
    for condition in CONDITIONS:
        own = [cell for (which, _), cell in cells.items() if which == condition]
        removable.append(f"{100 * np.mean([cell['removable'] for cell in own]):.0f} %")
        cosines = [[c for c in cell["alignment"] if c is not None] for cell in own]
        alignment.append(" / ".join(f"{c:.3f}" for c in np.mean(cosines, axis=0)) if cosines[0] else "tied")
    lines += ["| " + " | ".join(row) + " |" for row in (removable, alignment)]
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    if share is None:
        return "diverged"
    if share > 10:
        return "> 1000"
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


def draw(cells: Cells) -> Figure:
    """:return: What is left of the energy over the products spent, a panel for each condition"""
    figure = Figure(figsize=(10.5, 9.0), layout="constrained")
    panels = figure.subplots(3, 3, sharex=True, sharey=True).flatten()
    for panel, condition in zip(panels, CONDITIONS, strict=True):
        for index, rule in enumerate(RULES):
            shares = [np.nan if share is None else share for share in remaining(cells, condition, rule)]
            spent = np.array(STEPS) * cost(cells, rule, "products")
            panel.plot(
                spent,
                np.clip(shares, 1e-4, None),
                color=figures.COLORS[index],
                marker=figures.MARKERS[index],
                markersize=4,
                linewidth=1.3,
                label=rule,
            )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(0.8e-4, 3)
        panel.set_title(condition.title, fontsize=10)
    for panel in panels[-3:]:
        panel.set_xlabel("products of the batch with a 256 x 256 matrix")
    for panel in panels[::3]:
        panel.set_ylabel("energy above minimum\n(share of that at the start)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def main(arguments: list[str]) -> int:
    """Run the missing cells, print the table and draw the figure."""
    parser = Parser(prog="python -m benchmarks settling", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of results, table and figure")
    options = parser.parse_args(arguments)
    th.set_num_threads(1)
    cells: Cells = {}
    for condition, seed in product(CONDITIONS, options.seeds):
        path = options.output / f"{condition.name}--{seed}.json"
        if not path.exists() or read_json(path)["setup"] != setup():
            write_json(path, run_cell(condition, seed))
            print(f"{path.name}: done", flush=True)
        cells[condition, seed] = read_json(path)
    table = report(cells)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    if options.output == FOLDER:
        pages.fill(pages.DOCS / "circuit.md", {"settling": table})
    with style.context(["default", figures.STYLE]):
        figures.save(draw(cells), options.output / "settling")
    print(table)
    return 0
