"""Diagnostics against values known beforehand."""

from pathlib import Path

import pytest
import torch as th
from stable_baselines3.common.logger import configure

from sb3_angc import ANGC
from sb3_angc.callbacks import CircuitDiagnosticsCallback
from sb3_angc.circuit import NGCCircuit, diagnose
from tests.test_angc import TINY


def test_released_updates_have_cosine_one_with_the_gradient() -> None:
    circuit = NGCCircuit([3, 8, 6, 2], preset="released").double()
    x, y = th.randn(10, 3).double(), th.randn(10, 2).double()
    clamped = th.ones_like(y)
    clamped[:, 0] = 0
    figures = diagnose(circuit, x, y, clamped, with_gradient=True)
    assert figures.gradient_cosine == pytest.approx([1.0, 1.0, 1.0])
    assert figures.feedback_alignment == [None, None, None]
    assert diagnose(circuit, x, y).gradient_cosine == [None, None, None]


def test_alignment_is_the_cosine_of_w_and_e() -> None:
    circuit = NGCCircuit([3, 8, 6, 2])
    first, second = circuit.bundles[1:]
    first.feedback.copy_(3 * first.weight)  # type: ignore[union-attr]
    second.feedback.copy_(-second.weight)  # type: ignore[union-attr]
    figures = diagnose(circuit, th.randn(10, 3), th.randn(10, 2))
    assert figures.feedback_alignment[0] is None
    assert figures.feedback_alignment[1:] == pytest.approx([1.0, -1.0], abs=1e-5)


def test_energy_is_split_over_the_layers() -> None:
    circuit = NGCCircuit([3, 8, 6, 2], inference_steps=2)
    figures = diagnose(circuit, th.randn(10, 3), th.randn(10, 2))
    assert sum(figures.energy) == pytest.approx(figures.energy_by_step[-1], rel=1e-5)
    assert len(figures.energy_by_step) == 3
    assert len(figures.error_norm) == 3


def test_dead_units_and_residual() -> None:
    circuit = NGCCircuit([3, 8, 2], feedback="tied", inference_steps=200).double()
    circuit.bundles[0].bias[:2] = -1e3  # type: ignore[index]
    figures = diagnose(circuit, th.randn(10, 3).double(), th.randn(10, 2).double())
    assert figures.dead_units[0] >= 0.25
    # A smooth activation settles all the way; relu may stop at a kink.
    circuit = NGCCircuit([3, 8, 2], feedback="tied", activation="tanh", inference_steps=200).double()
    figures = diagnose(circuit, th.randn(10, 3).double(), th.randn(10, 2).double())
    assert figures.settling_residual[0] < 1e-6
    circuit = NGCCircuit([3, 8, 2]).double()
    circuit.bundles[0].bias[:] = -1e3  # type: ignore[index]
    assert diagnose(circuit, th.randn(10, 3).double(), th.randn(10, 2).double()).dead_units == [1.0]


def test_callback_logs_and_leaves_training_alone(tmp_path: Path) -> None:
    models = []
    for callback in (None, CircuitDiagnosticsCallback(frequency=50, with_gradient=True)):
        model = ANGC("CartPole-v1", **TINY)
        model.set_logger(configure(str(tmp_path), ["csv"]))
        models.append(model.learn(300, callback=callback, log_interval=1))
    header = set((tmp_path / "progress.csv").read_text().splitlines()[0].split(","))
    for circuit in ("controller", "generator"):
        assert {f"{circuit}/energy_{layer}" for layer in (1, 2, 3)} <= header
        assert {f"{circuit}/feedback_alignment_{layer}" for layer in (2, 3)} <= header
        assert f"{circuit}/gradient_cosine_1" in header
        assert f"{circuit}/dead_units_2" in header
        assert f"{circuit}/settling_residual_2" in header
    states = [model.policy.state_dict() for model in models]
    assert all(th.equal(states[0][key], states[1][key]) for key in states[0])
