"""Inference against equations worked by hand, closed forms and the energy's own gradient."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch as th
from torch.nn import functional as F

from sb3_angc.circuit import ACTIVATIONS, Activation, NGCCircuit
from sb3_angc.circuit.inference import pressure, pressures
from tests.circuit.states import predictions_of, start

LINEAR_FIELDS: dict[str, Any] = {"activation": "identity", "bias": False, "output_precision": 1.0}

# The small circuit as the default settles: from the projection, with errors on the potential
FROM_PROJECTION: dict[str, Any] = {
    "error_on": "potential",
    "use_derivatives": True,
    "initial_state": "projection",
    "activation": "relu",
    "weight_norm": None,
}


def small_circuit(**settings: Any) -> NGCCircuit:
    """The 2-2-1 net of the hand-worked examples: W1 = [[1, -1], [2, 1]], W2 = [3, -2], E2 = [5, 7]."""
    circuit = NGCCircuit([2, 2, 1], preset="paper", **settings).double()
    first, second = circuit.bundles
    first.weight.copy_(th.tensor([[1.0, -1.0], [2.0, 1.0]]))
    second.weight.copy_(th.tensor([[3.0, -2.0]]))
    if second.feedback is not None:
        second.feedback.copy_(th.tensor([[5.0, 7.0]]))
    return circuit


X = th.tensor([[1.0, 2.0]], dtype=th.float64)
Y = th.tensor([[1.0]], dtype=th.float64)


def test_two_steps_of_the_paper_by_hand() -> None:
    """
    Zero start, T = 2, beta = 0.1, gamma_v = 0.5, beta_e = 1 (errors halved), relu.

    zbar1 = phi(x) W1 = (1 - 2, 2 + 2) = (-1, 4), always.
    t = 1: z1 = 0: zbar2 = 0; e1 = (0 - (-1, 4)) / 2 = (0.5, -2); e2 = 1 / 2;
           d = -e1 + e2 E = (-0.5, 2) + (2.5, 3.5) = (2, 5.5); z1 = 0.1 * d = (0.2, 0.55)
    t = 2: zbar2 = 3 * 0.2 - 2 * 0.55 = -0.5; e1 = ((1.2, -3.45)) / 2 = (0.6, -1.725);
           e2 = (1 + 0.5) / 2 = 0.75; d = (-0.6, 1.725) + (3.75, 5.25) = (3.15, 6.975);
           z1 += 0.1 * (-0.5 * (0.2, 0.55) + d) = (0.2 + 0.305, 0.55 + 0.67) = (0.505, 1.22)
    """
    circuit = small_circuit(
        inference_steps=2, step_size=0.1, leak=0.5, error_scale=1.0, activation="relu", weight_norm=None
    )
    state = circuit.settle(X, Y)
    th.testing.assert_close(state.potentials[0], th.tensor([[0.505, 1.22]], dtype=th.float64))
    # zbar2 = 3 * 0.505 - 2 * 1.22 = -0.925; e2 = 1.925 / 2; e1 = (0.505 + 1, 1.22 - 4) / 2
    th.testing.assert_close(predictions_of(circuit, state)[1], th.tensor([[-0.925]], dtype=th.float64))
    th.testing.assert_close(state.errors[0], th.tensor([[0.7525, -1.39]], dtype=th.float64))
    th.testing.assert_close(state.errors[1], th.tensor([[0.9625]], dtype=th.float64))
    # F = beta_e * sum e^2 + gamma_v / 2 * sum z^2, before: 0.25 + 4 + 0.25
    assert state.energies[0].item() == pytest.approx(4.5)
    after = 0.7525**2 + 1.39**2 + 0.9625**2 + 0.25 * (0.505**2 + 1.22**2)
    assert state.energies[2].item() == pytest.approx(after)


def test_derivative_gates_the_feedback_only_with_errors_on_the_potential() -> None:
    """
    Projection start: z1 = (-1, 4), phi(z1) = (0, 4), zbar2 = -8, e2 = 9, e1 = 0.
    phi' = (0, 1): d = phi' * e2 E = (0, -63); one step of beta = 0.001.
    """
    circuit = small_circuit(
        inference_steps=1,
        order="simultaneous",
        step_rule="fixed",
        step_size=0.001,
        leak=0.0,
        error_scale=0.5,
        **FROM_PROJECTION,
    )
    circuit.bundles[1].feedback.copy_(th.tensor([[5.0, -7.0]]))  # type: ignore[union-attr]
    state = circuit.settle(X, Y)
    # d = (0, -63): z1 = (-1, 4 - 0.063); zbar2 = -2 * 3.937
    th.testing.assert_close(state.potentials[0], th.tensor([[-1.0, 3.937]], dtype=th.float64))
    th.testing.assert_close(state.errors[0], th.tensor([[0.0, -0.063]], dtype=th.float64))
    th.testing.assert_close(state.errors[1], th.tensor([[1 + 2 * 3.937]], dtype=th.float64))


def test_sweep_that_would_raise_the_energy_is_not_taken() -> None:
    """As above with E of the wrong sign: the minimum along the sweep lies behind, so nothing moves."""
    circuit = small_circuit(
        inference_steps=3,
        order="sweep",
        step_rule="line_search",
        step_size=1.0,
        leak=0.0,
        **FROM_PROJECTION,
    )
    state = circuit.settle(X, Y)
    th.testing.assert_close(state.potentials[0], th.tensor([[-1.0, 4.0]], dtype=th.float64))
    assert [energy.item() for energy in state.energies] == [40.5] * 4
    assert state.settled_downhill


def test_one_hidden_layer_and_one_output_are_solved_in_one_sweep() -> None:
    """The line search is exact for one output: e_out = delta / (1 + |w|^2)."""
    circuit = NGCCircuit([3, 6, 1], feedback="tied", inference_steps=1, **LINEAR_FIELDS).double()
    x, y = th.randn(4, 3, dtype=th.float64), th.randn(4, 1, dtype=th.float64)
    delta = y - circuit.project(x)
    weight = circuit.bundles[1].weight
    state = circuit.settle(x, y)
    th.testing.assert_close(state.errors[1], delta / (1 + weight.square().sum()))
    th.testing.assert_close(state.errors[0], state.errors[1] @ weight)


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
def test_one_sweep_settles_any_depth_if_one_output_is_clamped(activation: str) -> None:
    """
    On the tangents of phi, with one output clamped, the equilibrium is known: with g_l the gradient of
    that output with respect to z_l, e_l = g_l e_out and e_out = pi delta / (1 + pi sum_l |g_l|^2).
    """
    th.manual_seed(0)
    settings: dict[str, Any] = {"activation": activation, "output_precision": 0.3}
    circuit = NGCCircuit([3, 7, 6, 5, 4], feedback="tied", inference_steps=1, **settings).double()
    x, y = th.randn(9, 3, dtype=th.float64), th.randn(9, 4, dtype=th.float64)
    clamped = th.zeros(9, 4, dtype=th.float64)
    clamped[:, 1] = 1
    state = circuit.settle(x, y, clamped)

    phi = ACTIVATIONS[activation].function
    potentials, activity = [], x
    for bundle in circuit.bundles:
        potentials.append(bundle.predict(activity).requires_grad_())
        activity = phi(potentials[-1])
    output = potentials[-1][:, 1]
    gradients = th.autograd.grad(output.sum(), potentials[:-1])
    delta = y[:, 1] - output.detach()
    e_out = 0.3 * delta / (1 + 0.3 * sum(g.square().sum(1) for g in gradients))
    th.testing.assert_close(state.errors[-1][:, 1], e_out)
    for error, gradient in zip(state.errors[:-1], gradients, strict=True):
        th.testing.assert_close(error, gradient * e_out.unsqueeze(1))


def test_a_sweep_by_hand() -> None:
    """
    Projection: z1 = (-1, 4), phi(z1) = (0, 4), zbar2 = -8, e2 = 9, e1 = 0, phi' = (0, 1).
    Inward, E2 = (5, -7): q1 = phi' * 9 E2 = (0, -63) = p1. Outward: dz1 = (0, -63), dzbar2 = -2 * -63 = 126.
    F'(0) = -e2 * dzbar2 = -1134, F'' = 63^2 + 126^2 = 19845, gain = 1134 / 19845 = 2 / 35.
    e1 = (0, -3.6), z1 = (-1, 0.4), zbar2 = -8 + 7.2 = -0.8, e2 = 1.8.
    Second sweep: q1 = (0, 1.8 * -7) = (0, -12.6), p1 = (0, -9), dzbar2 = 18,
    F' = e1 p1 - e2 dzbar2 = 32.4 - 32.4 = 0: the minimum along E is reached.
    """
    circuit = small_circuit(
        inference_steps=2,
        order="sweep",
        step_rule="line_search",
        step_size=1.0,
        leak=0.0,
        error_scale=0.5,
        **FROM_PROJECTION,
    )
    circuit.bundles[1].feedback.copy_(th.tensor([[5.0, -7.0]]))  # type: ignore[union-attr]
    state = circuit.settle(X, Y)
    for values, expected in (
        (state.errors, [[0.0, -3.6], [1.8]]),
        (state.potentials, [[-1.0, 0.4]]),
        (predictions_of(circuit, state), [[-1.0, 4.0], [-0.8]]),
        (state.activities, [[1.0, 2.0], [0.0, 0.4]]),
    ):
        for value, row in zip(values, expected, strict=True):
            th.testing.assert_close(value, th.tensor([row], dtype=th.float64))
    assert [energy.item() for energy in state.energies] == pytest.approx([40.5, 8.1, 8.1])


@pytest.mark.parametrize("steps", [1, 2])
def test_a_sample_whose_sweep_overflows_stays_where_it_is(steps: int) -> None:
    """
    One neuron a layer, W1 = 1, W2 = 1e10, E2 = 1e12, pi = 0.1, in float32. First sample: x = 1, y = 0,
    e2 = -1e9, p1 = -1e21, whose square is infinite. Second: x = 0, y = 1e-3, settles at its
    equilibrium, e2 = pi y / (1 + pi W2^2) = 1e-23, z1 = e2 W2 = 1e-13.
    """
    circuit = NGCCircuit([1, 1, 1], activation="identity", bias=False, inference_steps=steps)
    first, second = circuit.bundles
    first.weight.fill_(1.0)
    second.weight.fill_(1e10)
    second.feedback.fill_(1e12)  # type: ignore[union-attr]
    state = circuit.settle(th.tensor([[1.0], [0.0]]), th.tensor([[0.0], [1e-3]]))
    assert state.potentials[0][0].item() == 1.0
    assert state.errors[0][0].item() == 0.0
    assert [error.item() for error in (state.errors[1][0], predictions_of(circuit, state)[1][0])] == [
        -1e9,
        1e10,
    ]
    assert all(energy[0] == state.energies[0][0] for energy in state.energies)
    assert state.total_discrepancy[0].item() == pytest.approx(1e18)
    assert state.potentials[0][1].item() == pytest.approx(1e-13)
    assert state.energies[-1][1] < 1e-6 * state.energies[0][1]


@pytest.mark.parametrize("activation", ["tanh", "elu", "identity"])
def test_a_sweep_follows_the_gradient_in_the_errors(activation: str) -> None:
    """
    With tied feedback the drives are minus the energy's gradient in the hidden errors, where each
    potential is its prediction plus its error and activities lie on their tangents; the gain is
    the energy's minimum along them: its slope there is 0.
    """
    th.manual_seed(1)
    circuit = NGCCircuit(
        [3, 5, 4, 2],
        feedback="tied",
        activation=activation,
        leak=0.3,
        error_scale=0.8,
        output_precision=0.25,
        inference_steps=1,
    ).double()
    x, y = th.randn(6, 3, dtype=th.float64), th.randn(6, 2, dtype=th.float64)
    clamped = th.tensor([[1.0, 0.0]] * 6, dtype=th.float64)
    phi = ACTIVATIONS[activation]

    def energy_of(hidden_errors: Sequence[th.Tensor]) -> th.Tensor:
        """F of each sample as a function of the hidden errors e (discrepancies are 1.6 e)."""
        energy, activity, projected = th.zeros(6, dtype=th.float64), x, x
        for index, bundle in enumerate(circuit.bundles):
            start = F.linear(projected, bundle.weight, bundle.bias)
            prediction = start + F.linear(activity - projected, bundle.weight)
            if index == 2:
                return energy + 0.25 * 0.8 * ((y - prediction) / 1.6 * clamped).square().sum(1)
            potential = prediction + 1.6 * hidden_errors[index]
            energy = energy + 0.8 * hidden_errors[index].square().sum(1) + 0.15 * potential.square().sum(1)
            projected = phi.function(start)
            activity = projected + phi.derivative(start) * (potential - start)
        raise AssertionError

    before = [th.zeros(6, 5, dtype=th.float64), th.zeros(6, 4, dtype=th.float64)]
    before = [error.requires_grad_() for error in before]
    gradients = th.autograd.grad(energy_of(before).sum(), before)
    at_start = start(circuit, x, y, clamped)
    drives = pressures(circuit.bundles, circuit.settings, at_start)
    for drive, gradient in zip(drives, gradients, strict=True):
        th.testing.assert_close(1.6 * drive, -gradient)
    state = circuit.settle(x, y, clamped)
    after = [error.clone().requires_grad_() for error in state.errors[:-1]]
    th.testing.assert_close(state.energies[1], energy_of(after).detach())
    gradients = th.autograd.grad(energy_of(after).sum(), after)
    slope = sum((gradient * drive).sum(1) for gradient, drive in zip(gradients, drives, strict=True))
    th.testing.assert_close(slope, th.zeros(6, dtype=th.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("error_on", ["potential", "activity"])
@pytest.mark.parametrize("activation", ["tanh", "softplus", "identity", "elu"])
def test_drive_is_minus_the_gradient_of_the_energy(error_on: str, activation: str) -> None:
    """With tied feedback, in every hidden layer, with leak, scaled errors and free outputs."""
    th.manual_seed(0)
    settings: dict[str, Any] = {
        "error_on": error_on,
        "activation": activation,
        "leak": 0.3,
        "error_scale": 0.8,
        "order": "simultaneous",
        "step_rule": "fixed",
        "step_size": 0.1,
        "output_precision": 0.25,
    }
    circuit = NGCCircuit([3, 5, 4, 2], feedback="tied", initial_state="zeros", **settings).double()
    x, y = th.randn(6, 3, dtype=th.float64), th.randn(6, 2, dtype=th.float64)
    clamped = th.tensor([[1.0, 0.0]] * 6, dtype=th.float64)
    state = circuit.settle(x, y, clamped)
    potentials = [z.clone().requires_grad_() for z in state.potentials]
    phi = ACTIVATIONS[activation].function
    activity, energy = x, th.zeros((), dtype=th.float64)
    for bundle, potential in zip(circuit.bundles, [*potentials, y], strict=True):
        is_output = potential is y
        value = potential if is_output or error_on == "potential" else phi(potential)
        error = (value - bundle.predict(activity)) / 1.6
        if is_output:
            error = error * clamped * 0.25**0.5
        else:
            energy = energy + 0.15 * potential.square().sum()
        energy = energy + 0.8 * error.square().sum()
        activity = phi(potential)
    gradients = th.autograd.grad(energy, potentials)
    for hidden, gradient in enumerate(gradients):
        th.testing.assert_close(pressure(circuit.bundles, circuit.settings, state, hidden), -gradient)
    th.testing.assert_close(state.energies[-1].sum(), energy.detach())


def test_free_outputs_have_no_error_and_their_targets_do_not_matter() -> None:
    circuit = NGCCircuit([3, 8, 8, 4]).double()
    x, y = th.randn(5, 3, dtype=th.float64), th.randn(5, 4, dtype=th.float64)
    clamped = th.zeros(5, 4, dtype=th.float64)
    clamped[:, 2] = 1
    state = circuit.settle(x, y, clamped)
    assert th.equal(state.errors[-1][:, [0, 1, 3]], th.zeros(5, 3, dtype=th.float64))
    other = circuit.settle(x, th.where(clamped > 0, y, y + 100), clamped)
    for error, other_error in zip(state.errors, other.errors, strict=True):
        assert th.equal(error, other_error)


@pytest.mark.parametrize("preset", ["settled", "released"])
def test_projection_is_the_settled_output_when_the_output_is_free(preset: str) -> None:
    circuit = NGCCircuit([3, 8, 8, 4], preset=preset).double()
    x = th.randn(5, 3, dtype=th.float64)
    state = circuit.settle(x, th.zeros(5, 4, dtype=th.float64), th.zeros(5, 4, dtype=th.float64))
    th.testing.assert_close(predictions_of(circuit, state)[-1], circuit.project(x), rtol=0, atol=0)
    assert state.total_discrepancy.abs().max() == 0


@pytest.mark.parametrize("settings", [{}, {"preset": "released"}, {"preset": "paper"}], ids=str)
def test_total_discrepancy_is_the_sum_of_squared_errors(settings: dict[str, Any]) -> None:
    circuit = NGCCircuit([3, 5, 2], **settings)
    state = circuit.settle(th.randn(4, 3), th.randn(4, 2))
    expected = [sum(float(e[row].square().sum()) for e in state.errors) for row in range(4)]
    th.testing.assert_close(state.total_discrepancy, th.tensor(expected))


def test_divergence_names_circuit_and_layer() -> None:
    circuit = NGCCircuit([3, 4, 4, 2], preset="paper", name="controller", weight_norm=None, step_size=1.0)
    for bundle in circuit.bundles:
        bundle.weight.mul_(1e18)
    with pytest.raises(ValueError, match=r"controller diverged in layer \d of 3"):
        circuit.settle(th.randn(4, 3), th.randn(4, 2))


@pytest.mark.parametrize(("argument", "message"), [(0, "input"), (1, "output to clamp")])
@pytest.mark.parametrize("limit", [{}, {"max_discrepancy": 2.0}])
@pytest.mark.parametrize("bad", [th.nan, th.inf, -th.inf])
def test_bad_input_is_named(argument: int, message: str, limit: dict[str, Any], bad: float) -> None:
    circuit = NGCCircuit([3, 4, 2], **limit)
    values = [th.zeros(2, 3), th.zeros(2, 2)]
    values[argument][1, 1] = bad
    with pytest.raises(ValueError, match=f"received an {message} that is not finite"):
        circuit.settle(*values)


def test_an_own_pair_is_not_taken_for_another_of_its_name() -> None:
    own = Activation("identity", th.tanh, ACTIVATIONS["tanh"].derivative)
    circuit = NGCCircuit([3, 5, 2], activation=own)
    tanh = NGCCircuit([3, 5, 2], activation="tanh")
    tanh.load_state_dict(circuit.state_dict())
    x, y = th.randn(4, 3), th.randn(4, 2)
    for error, expected in zip(circuit.settle(x, y).errors, tanh.settle(x, y).errors, strict=True):
        assert th.equal(error, expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_activities_potentials_and_errors_belong_together(steps: int) -> None:
    """Activities move along phi's tangent at the projection; errors are what separates z and zbar."""
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 5, 4, 2], activation="tanh", inference_steps=steps, error_scale=0.8).double()
    x, y = th.randn(7, 3).double(), th.randn(7, 2).double()
    state, at_start = circuit.settle(x, y), start(circuit, x, y)
    predictions = predictions_of(circuit, state)
    phi = ACTIVATIONS["tanh"]
    for layer in range(3):
        z0, z = at_start.potentials[layer], state.potentials[layer]
        expected = phi.function(z0) + phi.derivative(z0) * (z - z0)
        th.testing.assert_close(state.activities[layer + 1], expected)
        # e = (z - zbar) / (2 beta_e)
        th.testing.assert_close(state.errors[layer], (z - predictions[layer]) / 1.6)
        assert float((z - z0).abs().max()) > 1e-3
    precision = circuit.settings.output_precision
    th.testing.assert_close(state.errors[-1], precision * (y - predictions[-1]) / 1.6)
    total = sum(error.square().sum(1) for error in state.errors)
    th.testing.assert_close(state.total_discrepancy, total)


@pytest.mark.parametrize("n_hidden", [1, 2, 3])
@pytest.mark.parametrize(
    ("order", "step_rule"),
    [
        ("sweep", "line_search"),
        ("simultaneous", "spectral"),
        ("simultaneous", "neuron"),
    ],
)
def test_linear_circuit_settles_at_its_closed_form(n_hidden: int, order: str, step_rule: str) -> None:
    """
    With identity activations and tied feedback, F is quadratic in z. Its minimum over all hidden
    layers solves one linear system, written here for the stacked vector of all of them.
    """
    th.manual_seed(n_hidden)
    sizes = [3] + [4] * n_hidden + [2]
    circuit = NGCCircuit(
        sizes, feedback="tied", inference_steps=3000, order=order, step_rule=step_rule, **LINEAR_FIELDS
    ).double()
    x, y = th.randn(5, 3, dtype=th.float64), th.randn(5, 2, dtype=th.float64)
    state = circuit.settle(x, y)

    total = 4 * n_hidden
    residual_rows, constants = [], []
    for index, bundle in enumerate(circuit.bundles):
        rows = th.zeros(bundle.out_features, total, dtype=th.float64)
        constant = th.zeros(5, bundle.out_features, dtype=th.float64)
        if index < n_hidden:
            rows[:, 4 * index : 4 * index + 4] = th.eye(4, dtype=th.float64)
        else:
            constant += y
        if index > 0:
            rows[:, 4 * index - 4 : 4 * index] = -bundle.weight
        else:
            constant -= x @ bundle.weight.T
        residual_rows.append(rows)
        constants.append(constant)
    matrix, constant = th.cat(residual_rows), th.cat(constants, dim=1)
    solution = th.linalg.lstsq(matrix, -constant.T).solution.T
    th.testing.assert_close(th.cat(state.potentials, dim=1), solution, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", ["simultaneous", "sweep"])
def test_drives_without_derivatives_by_hand(order: str) -> None:
    """
    Projection: z1 = (-1, 4), zbar2 = -8, e2 = 9, e1 = 0. With phi' = (0, 1) the drive would be
    (0, 63); left out, it is all that comes back: d = 9 * (5, 7) = (45, 63).
    """
    line_search = {"step_rule": "line_search", "step_size": 1.0}
    circuit = small_circuit(
        **(line_search if order == "sweep" else {"step_rule": "fixed", "step_size": 0.1}),
        order=order,
        leak=0.0,
        error_scale=0.5,
        **{**FROM_PROJECTION, "use_derivatives": False},
    )
    (drive,) = pressures(circuit.bundles, circuit.settings, start(circuit, X, Y))
    th.testing.assert_close(drive, th.tensor([[45.0, 63.0]], dtype=th.float64))
