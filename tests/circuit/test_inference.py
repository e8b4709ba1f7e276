"""The functions that settling is made of, each by itself, against finite differences and properties."""

from typing import Any

import pytest
import torch as th

from sb3_angc.circuit import NGCCircuit
from sb3_angc.circuit.inference import Change, energy, inward, line_search, outward, pressures
from sb3_angc.circuit.state import total
from tests.circuit.states import predictions_of, start


def example(**settings: Any) -> tuple[NGCCircuit, th.Tensor, th.Tensor]:
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 5, 2], **settings).double()
    return circuit, th.randn(4, 3).double(), th.randn(4, 2).double()


def test_outward_is_how_predictions_change_with_the_potentials() -> None:
    """With linear layers, exactly: of a circuit started at the moved potentials."""
    circuit, x, y = example(activation="identity")
    state = start(circuit, x, y)
    moves = [th.randn_like(z) for z in state.potentials]
    change = outward(circuit.bundles, state, moves)
    before = predictions_of(circuit, state)
    activities = [x, *(z + dz for z, dz in zip(state.potentials, change.potentials, strict=True))]
    after = [bundle.predict(a) for bundle, a in zip(circuit.bundles, activities, strict=True)]
    # z moves by p and by what its prediction moves
    th.testing.assert_close(change.potentials[0], moves[0])
    th.testing.assert_close(change.potentials[1], moves[1] + after[1] - before[1])
    th.testing.assert_close(change.mismatches[-1], before[2] - after[2])
    for mismatch, move in zip(change.mismatches, moves, strict=False):
        assert th.equal(mismatch, move)


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_line_search_finds_the_lowest_energy(leak: float) -> None:
    circuit, x, y = example(leak=leak, error_scale=0.8)
    state = circuit.settle(x, y)  # where hidden errors are not zero
    change = outward(circuit.bundles, state, inward(circuit.bundles, circuit.settings, state))
    gain = line_search(circuit.settings, state, change)
    assert gain.shape == (4, 1)
    assert (gain > 0).any()
    gains = [circuit.settings.hidden_gain] * 2 + [circuit.settings.output_gain]

    def energy_at(step: th.Tensor) -> th.Tensor:
        errors = zip(gains, state.errors, change.mismatches, strict=True)
        moved = [squares(e + step * g * d) / (2 * g) for g, e, d in errors]
        pairs = zip(state.potentials, change.potentials, strict=True)
        return total([*moved, *(leak / 2 * squares(z + step * dz) for z, dz in pairs)])

    th.testing.assert_close(energy_at(0 * gain), energy(circuit.settings, state))
    for other in (0.9, 1.1):
        assert (energy_at(gain) <= energy_at(other * gain)).all()


def squares(rows: th.Tensor) -> th.Tensor:
    return rows.square().sum(1)


def test_line_search_stays_where_the_way_leads_up() -> None:
    circuit, x, y = example()
    state = start(circuit, x, y)
    change = outward(circuit.bundles, state, inward(circuit.bundles, circuit.settings, state))
    back = Change(*([-part for part in parts] for parts in change))
    assert (line_search(circuit.settings, state, change) > 0).all()
    assert (line_search(circuit.settings, state, back) == 0).all()


@pytest.mark.parametrize("preset", ["settled", "paper", "released"])
def test_settling_leaves_its_start_as_it_was(preset: str) -> None:
    circuit, x, y = example(preset=preset)
    state = start(circuit, x, y)
    before = [value.clone() for value in (*state.activities, *state.potentials, *state.errors, x, y)]
    settled = circuit.settle(x, y)
    for value, copy in zip((*state.activities, *state.potentials, *state.errors, x, y), before, strict=True):
        assert th.equal(value, copy)
    assert len(settled.energies) == 1 + (circuit.settings.inference_steps or 3)


def test_nothing_presses_where_a_circuit_has_settled() -> None:
    circuit, x, y = example(feedback="tied", inference_steps=200)
    at_start, settled = start(circuit, x, y), circuit.settle(x, y)
    first, last = (
        [float(p.norm()) for p in pressures(circuit.bundles, circuit.settings, state)]
        for state in (at_start, settled)
    )
    assert max(first) > 0.01
    assert max(last) < 1e-6 * max(first)
