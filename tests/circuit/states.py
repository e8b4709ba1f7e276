"""What tests ask of a circuit's state."""

import torch as th

from sb3_angc.circuit import CircuitState, NGCCircuit
from sb3_angc.circuit.inference import initial_state


def start(circuit: NGCCircuit, x: th.Tensor, y: th.Tensor, clamped: th.Tensor | None = None) -> CircuitState:
    """The state before settling."""
    return initial_state(circuit.bundles, circuit.settings, x, y, clamped)


def predictions_of(circuit: NGCCircuit, state: CircuitState) -> list[th.Tensor]:
    """What each layer is predicted to be."""
    return [bundle.predict(a) for bundle, a in zip(circuit.bundles, state.activities, strict=True)]
