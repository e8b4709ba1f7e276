"""What an agent's circuits are doing: logged during training, and drawn (``sb3_angc.diagnostics.plots``)."""

from sb3_angc.diagnostics.callback import CircuitDiagnosticsCallback

__all__ = ["CircuitDiagnosticsCallback"]
