"""The default preset settles downhill whatever the weights: searched for by Hypothesis."""

import math

import torch as th
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sb3_angc.circuit import ACTIVATIONS, NGCCircuit

# 1e-3 to 1e3 times the initial weights, of W and E apart.
SCALES = st.floats(-3, 3).map(lambda exponent: 10**exponent)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    batch=st.integers(1, 16),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    rule=st.sampled_from(
        [("sweep", "line_search"), ("inward", "line_search"), ("inward", "spectral"), ("inward", "fixed")]
    ),
    feedback=st.sampled_from(["learned", "tied"]),
    weight_scale=SCALES,
    feedback_scale=SCALES,
    leak=st.sampled_from([0.0, 0.1]),
    output_precision=st.sampled_from([0.01, 1.0, 10.0]),
    free_outputs=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_energy_never_rises_and_states_stay_finite(
    sizes: list[int],
    batch: int,
    activation: str,
    rule: tuple[str, str],
    feedback: str,
    weight_scale: float,
    feedback_scale: float,
    leak: float,
    output_precision: float,
    free_outputs: bool,
    seed: int,
) -> None:
    th.manual_seed(seed)
    order, step_rule = rule
    circuit = NGCCircuit(
        sizes,
        activation=activation,
        order=order,
        step_rule=step_rule,
        feedback=feedback,
        leak=leak,
        output_precision=output_precision,
        inference_steps=5,
    )
    for bundle in circuit.bundles:
        bundle.weight.mul_(weight_scale)
        if bundle.feedback is not None:
            bundle.feedback.mul_(feedback_scale)
    x, y = th.randn(batch, sizes[0]), th.randn(batch, sizes[-1])
    clamped = th.randint(0, 2, y.shape).float() if free_outputs else None
    state = circuit.settle(x, y, clamped)
    energies = th.stack(state.energies)
    # float32 rounding of sums of up to 200 squares, and nothing more
    assert (energies[1:] <= energies[:-1] * (1 + 1e-5)).all()
    assert state.settled_downhill == bool((energies[1:] <= energies[:-1] * (1 + 16 * 2**-23)).all())
    for values in (state.potentials, state.activities, state.predictions, state.errors):
        assert all(th.isfinite(value).all() for value in values)


def test_default_takes_most_of_what_settling_can_take() -> None:
    """Two sweeps at initial weights remove over nine tenths of the energy that 200 sweeps remove."""
    th.manual_seed(0)
    circuit = NGCCircuit([8, 256, 256, 4], feedback="tied", inference_steps=200)
    x = th.randn(64, 8)
    y = circuit.project(x) + th.randn(64, 4)
    energies = [energy.mean().item() for energy in circuit.settle(x, y).energies]
    assert (energies[2] - energies[-1]) / (energies[0] - energies[-1]) < 0.1


def test_a_rise_is_reported_where_it_is_not_prevented() -> None:
    """The paper's fixed step has no guard: with large weights its energy rises, and the state says so."""
    th.manual_seed(0)
    circuit = NGCCircuit([4, 16, 16, 2], preset="paper", weight_norm=30.0, step_size=1.0, inference_steps=2)
    state = circuit.settle(th.randn(8, 4), th.randn(8, 2))
    assert not state.settled_downhill
    assert math.isfinite(state.energies[-1].sum())
