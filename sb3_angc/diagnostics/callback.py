"""Callbacks for ANGC."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from sb3_angc.angc.angc import ANGC
from sb3_angc.circuit import CircuitDiagnostics
from sb3_angc.common.checks import check_positive_integer


class MeasuringCallback(BaseCallback):
    """
    Calls :meth:`measure` now and then, once the agent has learned something.

    :param frequency: Environment steps between two calls
    :param verbose: Verbosity level: 0 for no output, 1 for info messages, 2 for debug messages
    :raises ValueError: If ``frequency`` is not an integer of at least 1
    """

    model: ANGC

    def __init__(self, frequency: int, verbose: int) -> None:
        super().__init__(verbose)
        check_positive_integer("frequency", frequency)
        self.frequency = frequency
        self._last_measured = 0

    def _on_training_start(self) -> None:
        # With `reset_num_timesteps` a second call of learn() counts from 0 again.
        self._last_measured = min(self._last_measured, self.num_timesteps)

    def _on_step(self) -> bool:
        if self.model._n_updates > 0 and self.num_timesteps - self._last_measured >= self.frequency:
            self._last_measured = self.num_timesteps
            self.measure()
        return True

    def measure(self) -> None:
        """What is done at these steps."""
        raise NotImplementedError


class CircuitDiagnosticsCallback(MeasuringCallback):
    """
    Writes what both circuits are doing to SB3's logger, under ``controller/`` and ``generator/``:
    for each layer ``energy``, ``error_norm``, ``feedback_alignment``, ``dead_units`` and
    ``settling_residual``, numbered from 1, the first hidden layer.

    ``history`` keeps all measurements, each as the number of environment steps and the figures of
    ``"controller"`` and ``"generator"``: what :mod:`sb3_angc.diagnostics.plots` draws.

    :param frequency: Environment steps between two measurements
    :param with_gradient: Whether to add ``gradient_cosine``, the cosine of each layer's update
        with the true gradient; this alone uses autograd
    :param verbose: Verbosity level: 0 for no output, 1 for info messages, 2 for debug messages
    """

    def __init__(self, frequency: int = 1000, with_gradient: bool = False, verbose: int = 0) -> None:
        super().__init__(frequency, verbose)
        self.with_gradient = with_gradient
        self.history: list[tuple[int, dict[str, CircuitDiagnostics]]] = []

    def measure(self) -> None:
        """Diagnose both circuits."""
        figures = self.model.diagnose(self.with_gradient)
        self.history.append((self.num_timesteps, figures))
        for name, diagnostics in figures.items():
            self._record(name, diagnostics)

    def _record(self, circuit: str, diagnostics: CircuitDiagnostics) -> None:
        for key in (
            "energy",
            "error_norm",
            "feedback_alignment",
            "gradient_cosine",
            "dead_units",
            "settling_residual",
        ):
            for layer, value in enumerate(getattr(diagnostics, key), start=1):
                if value is not None:
                    self.logger.record(f"{circuit}/{key}_{layer}", value)
