"""What a layer, a neuron and a sample know of the others, in the preset ``ngc``."""

from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.inference import step_simultaneously, step_sizes
from sb3_angc.circuit.layers import Convolution
from tests.circuit.states import predictions_of, start

SIZES = [3, 7, 6, 5, 4, 2]
RULES = ["spectral", "neuron"]


def example(**settings: Any) -> tuple[NGCCircuit, th.Tensor, th.Tensor]:
    th.manual_seed(0)
    circuit = NGCCircuit(SIZES, "ngc", **settings).double()
    return circuit, th.randn(9, SIZES[0]).double(), th.randn(9, SIZES[-1]).double()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_news_of_the_output_travel_one_layer_a_step(steps: int) -> None:
    """After t steps the t layers next to the output have moved, and no other."""
    circuit, x, y = example(inference_steps=steps)
    before, after = start(circuit, x, y), circuit.settle(x, y)
    has_moved = [not th.equal(a, b) for a, b in zip(after.potentials, before.potentials, strict=True)]
    assert has_moved == [layer >= 4 - steps for layer in range(4)]
    # Before they arrive, a synapse has nothing to learn from.
    updates = circuit.local_updates(after)
    learns = [bool(updates[f"synapses.{layer}.weight"].any()) for layer in range(5)]
    assert learns == [*has_moved, True]


def test_an_error_is_felt_by_its_own_layer_and_by_the_one_that_predicts_it() -> None:
    circuit, x, y = example(inference_steps=1)
    state = circuit.settle(x, y)
    same = step_simultaneously(circuit.bundles, circuit.settings, state, 1)
    state.errors[2].normal_()  # of the third hidden layer
    other = step_simultaneously(circuit.bundles, circuit.settings, state, 1)
    has_changed = [not th.equal(a, b) for a, b in zip(same.potentials, other.potentials, strict=True)]
    assert has_changed == [False, True, True, False]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bundle", [1, 2, 3, 4])
def test_steps_depend_on_the_synapses_of_a_layer_alone(rule: str, bundle: int) -> None:
    circuit, _, _ = example(step_rule=rule)
    before = step_sizes(circuit.bundles, circuit.settings)
    circuit.bundles[bundle].weight.mul_(1.5)
    after = step_sizes(circuit.bundles, circuit.settings)
    differs = [not th.equal(th.as_tensor(a), th.as_tensor(b)) for a, b in zip(before, after, strict=True)]
    assert differs == [layer in (bundle - 1, bundle) for layer in range(4)]


def test_a_neuron_knows_its_own_synapses_and_how_much_arrives_where_they_lead() -> None:
    circuit, _, _ = example(step_rule="neuron")
    weight = circuit.bundles[2].weight
    weight[1:, 3] = 0  # neuron 3 of hidden layer 1 leads to neuron 0 of hidden layer 2 alone
    before = step_sizes(circuit.bundles, circuit.settings)
    weight[1:, 0] *= 2  # which these synapses do not reach
    after = step_sizes(circuit.bundles, circuit.settings)
    same = th.as_tensor(before[1] == after[1])[0]
    assert same.tolist() == [False, False, False, True, False, False]
    assert th.as_tensor(before[2] == after[2])[0].tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("rule", RULES)
def test_a_sample_settles_as_if_it_were_alone(rule: str) -> None:
    circuit, x, y = example(step_rule=rule)
    together = circuit.settle(x, y)
    for row in range(len(x)):
        alone = circuit.settle(x[row : row + 1], y[row : row + 1])
        for one, all_rows in zip(alone.potentials, together.potentials, strict=True):
            th.testing.assert_close(one[0], all_rows[row])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_bound_is_above_the_curvature(rule: str, scale: float, activation: str) -> None:
    """``diag(h)`` minus the Hessian of ``F``, by autograd at random potentials, has no eigenvalue below 0."""
    circuit, x, y = example(
        step_rule=rule,
        activation=activation,
        init_scale=scale,
        leak=0.2,
        error_scale=0.8,
        output_precision=0.3,
        step_size=0.5,
    )
    converge(circuit)
    phi = th.relu if activation == "relu" else lambda z: z
    hidden = SIZES[1:-1]

    def energy(stacked: th.Tensor) -> th.Tensor:
        value, activity = 0.1 * stacked.square().sum(), x[0]
        for bundle, z in zip(circuit.bundles, [*th.split(stacked, hidden), y[0]], strict=True):
            precision = 0.3 if z is y[0] or len(z) == SIZES[-1] else 1.0
            value = value + precision * (z - bundle.predict(activity)).square().sum() / (4 * 0.8)
            activity = phi(z)
        return value

    hessian = th.autograd.functional.hessian(energy, th.randn(sum(hidden)).double())  # type: ignore[no-untyped-call]
    sizes = step_sizes(circuit.bundles, circuit.settings)
    bounds = th.cat(
        [0.5 / th.as_tensor(s).double().expand(1, n)[0] for s, n in zip(sizes, hidden, strict=True)]
    )
    assert th.linalg.eigvalsh(th.diag(bounds) - hessian).min() > -1e-9 * bounds.max()
    # and is no larger than the bound that one number for all layers would need
    if rule == "spectral":
        sigma = max(float(th.linalg.matrix_norm(bundle.weight, 2)) for bundle in circuit.bundles[1:])
        assert bounds.max() <= (1 + sigma) ** 2 / 1.6 + 0.2 + 1e-9


def test_bounds_by_hand() -> None:
    """
    One neuron a layer; W2 = 3, W3 = -2, pi = 0.5, errors not scaled. First layer: 1 + 3 (1 + 3) = 13; second:
    (1 + 3) + 0.5 * 2 * 2 = 6. With single neurons both rules are the same.
    """
    for rule in RULES:
        circuit = NGCCircuit([1, 1, 1, 1], "ngc", step_rule=rule, output_precision=0.5).double()
        for bundle, weight in zip(circuit.bundles, (5.0, 3.0, -2.0), strict=True):
            bundle.weight.fill_(weight)
        sizes = [float(size) for size in step_sizes(circuit.bundles, circuit.settings)]
        assert sizes == pytest.approx([1 / 13, 1 / 6])


def test_sums_of_weights_of_all_kinds_of_synapses() -> None:
    """Against the unrolled matrix; of a convolution with padding, what arrives is that of a whole patch."""
    th.manual_seed(0)
    layers: list[Any] = [[(2, 6, 6), 3], [Convolution(3, 3, 1, 0), 4], [Convolution(2, 2, 2, 1), 5], 2]
    circuit = NGCCircuit(layers, "ngc", step_rule="neuron").double()
    for bundle in circuit.bundles:
        matrix = bundle.predict_change(th.eye(bundle.in_features).double()).abs()
        incoming = bundle.incoming()
        assert (incoming >= matrix.sum(0) - 1e-12).all()
        if bundle is not circuit.bundles[1]:
            th.testing.assert_close(incoming[0], matrix.sum(0))
        th.testing.assert_close(bundle.outgoing(incoming)[0], matrix @ incoming[0])


@pytest.mark.parametrize("rule", RULES)
def test_with_the_transpose_as_feedback_no_step_raises_the_energy(rule: str) -> None:
    circuit, x, y = example(
        step_rule=rule, feedback="tied", inference_steps=50, init_scale=3.0, activation="identity"
    )
    converge(circuit)
    state = circuit.settle(x, y)
    assert state.settled_downhill
    assert state.energies[-1].sum() < 0.9 * state.energies[0].sum()


def test_feedback_starts_at_random_and_takes_the_changes_of_the_weights() -> None:
    circuit, _, _ = example()
    for bundle in circuit.bundles[1:]:
        cosine = th.cosine_similarity(bundle.weight.flatten(), bundle.error_weight.flatten(), dim=0)
        assert abs(float(cosine)) < 0.5
    assert circuit.settings.feedback == "learned"
    assert circuit.settings.feedback_rate == 1.0


@pytest.mark.parametrize("preset", ["settled", "released", "ngc"])
def test_read_out_by_the_projection_where_nothing_moves_a_free_circuit(preset: str) -> None:
    th.manual_seed(0)
    circuit = NGCCircuit(SIZES, preset).double()
    x = th.randn(9, SIZES[0]).double()
    free = th.zeros(9, SIZES[-1]).double()
    state = circuit.settle(x, free, free)
    assert state.total_discrepancy.max() == 0
    assert th.equal(predictions_of(circuit, state)[-1], circuit.infer(x))
    assert th.equal(circuit.project(x), circuit.infer(x))


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "paper"},
        {"preset": "ngc", "initial_state": "zeros"},
        {"preset": "ngc", "leak": 0.1},
        {"preset": "ngc", "error_on": "activity"},
    ],
    ids=str,
)
def test_read_out_by_settling_where_the_projection_is_not_where_a_free_circuit_ends(
    settings: dict[str, Any],
) -> None:
    th.manual_seed(0)
    circuit = NGCCircuit(SIZES, **settings).double()
    x = th.randn(9, SIZES[0]).double()
    free = th.zeros(9, SIZES[-1]).double()
    expected = predictions_of(circuit, circuit.settle(x, free, free))[-1]
    assert th.equal(circuit.infer(x), expected)
    assert (circuit.infer(x) - circuit.project(x)).abs().max() > 1e-6


def test_paper_from_zeros_is_read_out_by_hand() -> None:
    """
    One neuron a layer, identity, W1 = 2, W2 = 3, x = 1, beta = 0.5, two steps, no leak:
    z = 0, then 0 + 0.5 * 2 = 1, then 1 + 0.5 * (2 - 1) = 1.5; the output is 3 * 1.5.
    """
    circuit = NGCCircuit(
        [1, 1, 1],
        "paper",
        activation="identity",
        weight_norm=None,
        leak=0.0,
        step_size=0.5,
        inference_steps=2,
    )
    for bundle, weight in zip(circuit.bundles, (2.0, 3.0), strict=True):
        bundle.weight.fill_(weight)
    assert circuit.infer(th.ones(1, 1)).item() == pytest.approx(4.5)


def converge(circuit: NGCCircuit) -> None:
    """Let the power iterations find the singular values."""
    for bundle in circuit.plain_synapses.values():
        for _ in range(500):
            bundle.track_norm()


def sigma(circuit: NGCCircuit) -> float:
    return float(circuit.bundles[1].squared_spectral_norm().sqrt())


def test_a_copy_knows_its_largest_singular_values() -> None:
    circuit, copy = (NGCCircuit([3, 20, 20, 2], "ngc", step_rule="spectral", leak=0.01) for _ in range(2))
    circuit.bundles[1].weight.mul_(3).add_(1)
    for _ in range(10):
        circuit.track_norms()
    copy.move_towards(circuit, 1)
    assert sigma(copy) == sigma(circuit)
    assert sigma(copy) == pytest.approx(float(th.linalg.matrix_norm(copy.bundles[1].weight, ord=2)), rel=1e-3)


def test_largest_singular_values_are_found_again_after_weights_of_0() -> None:
    circuit = NGCCircuit([3, 20, 20, 2], "ngc", step_rule="spectral", init_scale=1e-15)
    weight = circuit.bundles[1].weight.clone()
    for factor in (0.0, 1e15):
        circuit.bundles[1].weight.copy_(factor * weight)
        for _ in range(100):
            circuit.track_norms()
    assert sigma(circuit) == pytest.approx(float(th.linalg.matrix_norm(1e15 * weight, ord=2)), rel=1e-2)
