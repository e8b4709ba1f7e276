"""Neural generative coding circuits. Knows nothing of reinforcement learning."""

from sb3_angc.circuit.activations import ACTIVATIONS, Activation
from sb3_angc.circuit.circuit import NGCCircuit
from sb3_angc.circuit.diagnostics import CircuitDiagnostics, diagnose
from sb3_angc.circuit.layers import Convolution
from sb3_angc.circuit.learning import learn
from sb3_angc.circuit.settings import PRESETS, CircuitSettings
from sb3_angc.circuit.state import CircuitState

__all__ = [
    "ACTIVATIONS",
    "PRESETS",
    "Activation",
    "CircuitDiagnostics",
    "CircuitSettings",
    "CircuitState",
    "Convolution",
    "NGCCircuit",
    "diagnose",
    "learn",
]
