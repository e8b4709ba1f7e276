"""The settling study: its reference rules against closed forms and the circuit's own rules."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch as th

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.experiments.settling import circuits, command, measure, rules
from benchmarks.experiments.settling.problem import Problem, State
from sb3_angc.circuit import NGCCircuit


def make_problem(one_output: bool = False, feedback: str = "tied", seed: int = 0) -> Problem:
    th.manual_seed(seed)
    circuit = NGCCircuit(circuits.SIZES, feedback=feedback, **circuits.BASE).double()
    x = th.randn(6, circuits.SIZES[0]).double()
    y = circuit.project(x) + th.randn(6, circuits.SIZES[-1]).double()
    clamped = th.ones_like(y)
    if one_output:
        clamped[:, 1:] = 0
    return Problem(circuit, x, y, clamped)


@pytest.mark.parametrize("one_output", [False, True])
def test_drive_is_minus_the_gradient_of_the_energy(one_output: bool) -> None:
    problem = make_problem(one_output)
    potentials = [z + 0.3 * th.randn_like(z) for z in problem.project()]
    leaves = [z.clone().requires_grad_() for z in potentials]
    gradients = th.autograd.grad(State(problem, leaves).energy().sum(), leaves)
    state = State(problem, potentials)
    for layer, gradient in enumerate(gradients):
        th.testing.assert_close(state.drive(layer), -gradient)


@pytest.mark.parametrize(
    "rule", [rules.inward_line_search, rules.inward_spectral, rules.last_solved, rules.own_step]
)
def test_guarded_rules_never_raise_the_energy(rule: rules.Rule) -> None:
    problem = make_problem()
    before = State(problem, problem.project()).energy()
    for potentials in islice(rule(problem), 10):
        energy = State(problem, potentials).energy()
        assert (energy <= before * (1 + 1e-12)).all()
        before = energy
    assert (before < 0.9 * State(problem, problem.project()).energy()).any()


@pytest.mark.parametrize("one_output", [False, True])
def test_last_layer_is_solved(one_output: bool) -> None:
    """Where no unit crosses its kink, the last hidden layer has no gradient after its solve."""
    problem = make_problem(one_output)
    problem.y = problem.circuit.project(problem.x) + 1e-4 * th.randn(6, 4).double()  # too little to cross
    state = State(problem, problem.project())
    solved = State(problem, [state.potentials[0], next(rules.last_solved(problem))[1]])
    before, after = state.drive(1), solved.drive(1)
    assert before.norm() > 0
    assert after.norm() < 1e-9 * before.norm()


@pytest.mark.parametrize("rule", ["inward, line search", "inward, spectral", "simultaneous, spectral"])
def test_minimum_is_below_what_every_rule_reaches(rule: str) -> None:
    """And the rules come near it: with many steps, little is left of what could be removed."""
    problem = make_problem()
    start = State(problem, problem.project()).energy()
    lowest = State(problem, next(islice(rules.momentum(problem), 800, None))).energy()
    reached = State(problem, rules.make_settler(rule, problem, 300)()).energy()
    # relu has kinks, where a rule can come to rest a little lower than another
    assert (reached - lowest).mean() > -1e-3 * (start - lowest).mean()
    assert (reached - lowest).mean() < 0.05 * (start - lowest).mean()


@pytest.mark.parametrize("rule", [rule for rule in rules.RULES if "sweep" not in rule])
def test_energy_is_the_circuits(rule: str) -> None:
    """Every rule starts where the circuit starts, and is judged by the energy that the circuit tells."""
    problem = make_problem(feedback="learned")
    definition = rules.RULES[rule]
    if isinstance(definition, dict):
        settings = {**circuits.BASE, **definition, "inference_steps": 3}
        circuit = NGCCircuit(circuits.SIZES, **settings).double()
        circuit.load_state_dict(problem.circuit.state_dict())
        told = circuit.settle(problem.x, problem.y, problem.clamped).energies
        th.testing.assert_close(State(problem, problem.project()).energy(), told[0])
        reached = State(problem, rules.make_settler(rule, problem, 3)()).energy()
        th.testing.assert_close(reached, told[-1])
    else:
        settle = rules.make_settler(rule, problem, 3)
        expected = next(islice(definition(problem), 2, None))
        for z, other in zip(settle(), expected, strict=True):
            assert th.equal(z, other)


def test_of_equal_samples_each_goes_on_from_its_own_state() -> None:
    problem = make_problem()
    problem.x, problem.y = problem.x[:1].expand(6, -1), problem.y[:1].expand(6, -1)
    settled = rules.make_settler("simultaneous, each neuron's bound", problem, steps=8)()
    went_on = rules.make_settler("the same, from another sample's state", problem, steps=3)()
    for z, other in zip(went_on, settled, strict=True):
        th.testing.assert_close(z, other)


def test_products_are_counted_as_worked_by_hand() -> None:
    """A step of a simultaneous rule: two predictions and two ways back, of 256 x 256 and 256 x 4."""
    problem = make_problem()
    problem.x = problem.x.expand(1, -1, -1).reshape(6, -1)
    products = measure._products("simultaneous, fixed at 0.1", problem)
    share_of_batch = 6 / circuits.BATCH_SIZE
    assert products == pytest.approx(2 * (1 + 4 / 256) * share_of_batch)


def test_study_writes_table_and_figure_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "STEPS", (1, 2, 5, 20))
    monkeypatch.setattr(circuits, "TRAINING_STEPS", 2)
    monkeypatch.setattr(measure, "MINIMUM_STEPS", 25)
    monkeypatch.setattr(circuits, "BATCH_SIZE", 2)
    arguments = ["--seeds", "0", "--output", str(tmp_path)]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.count(": done") == len(circuits.CONDITIONS)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(circuits.CONDITIONS)
    for file in files:
        for measured in json.loads(file.read_text())["rules"].values():
            assert all(share is None or share >= 0 for share in measured["remaining"])
    table = (tmp_path / "README.md").read_text()
    assert all(f"| {rule} |" in table for rule in rules.RULES)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"settling.{suffix}").stat().st_size > 5000
    contents = json.loads(files[0].read_text())
    contents["setup"]["steps"] = [1]
    files[0].write_text(json.dumps(contents))
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.count(": done") == 1
