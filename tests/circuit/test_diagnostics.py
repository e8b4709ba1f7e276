"""Diagnostics against values known beforehand."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.logger import configure

from sb3_angc import ANGC
from sb3_angc.circuit import NGCCircuit, diagnose
from sb3_angc.diagnostics import CircuitDiagnosticsCallback
from tests.agents import TINY


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


def test_figures_by_hand() -> None:
    """
    The two sweeps worked in test_settling: z1 = (-1, 4), E2 = (5, -7), e2 = 9 at the start; at the end
    e1 = (0, -3.6), e2 = 1.8, phi(z1) = (0, 0.4), and q1 = (0, -12.6), so that p1 = (0, -9) of 63 is left.
    """
    circuit = NGCCircuit([2, 2, 1], bias=False, inference_steps=2, output_precision=1.0).double()
    first, second = circuit.bundles
    first.weight.copy_(th.tensor([[1.0, -1.0], [2.0, 1.0]]))
    second.weight.copy_(th.tensor([[3.0, -2.0]]))
    second.feedback.copy_(th.tensor([[5.0, -7.0]]))  # type: ignore[union-attr]
    x, y = th.tensor([[1.0, 2.0]]).double(), th.tensor([[1.0]]).double()
    figures = diagnose(circuit, x, y, with_gradient=True)
    assert figures.energy == pytest.approx([6.48, 1.62])
    assert figures.error_norm == pytest.approx([3.6, 1.8])
    assert figures.energy_by_step == pytest.approx([40.5, 8.1, 8.1])
    assert figures.dead_units == [0.5]
    assert figures.settling_residual == pytest.approx([1 / 7])
    # cosine((3, -2), (5, -7)) = 29 / sqrt(13 * 74)
    assert figures.feedback_alignment == [None, pytest.approx(29 / (13 * 74) ** 0.5)]
    # dW1 = x.T (0, -3.6), minus the gradient is x.T (0, 9 * -2); dW2 = 1.8 (0, 0.4), and 9 (0, 4)
    assert figures.gradient_cosine == pytest.approx([1.0, 1.0])
    second.feedback.copy_(th.tensor([[5.0, 7.0]]))  # type: ignore[union-attr]
    # E2 points the wrong way: nothing moves, and nothing is learned in the first layer.
    figures = diagnose(circuit, x, y, with_gradient=True)
    assert figures.energy == pytest.approx([0.0, 40.5])
    assert figures.settling_residual == pytest.approx([1.0])
    assert figures.gradient_cosine == pytest.approx([0.0, 1.0])


def test_energy_counts_the_precision_of_the_output() -> None:
    circuit = NGCCircuit([3, 8, 6, 2], output_precision=0.2, error_scale=0.7).double()
    figures = diagnose(circuit, th.randn(10, 3).double(), th.randn(10, 2).double())
    assert sum(figures.energy) == pytest.approx(figures.energy_by_step[-1])


def test_update_against_the_gradient_has_cosine_minus_one() -> None:
    """Tied feedback over W2 of the wrong sign: with E = -W, the first layer's errors are turned round."""
    circuit = NGCCircuit([3, 8, 1]).double()
    circuit.bundles[1].feedback.copy_(-circuit.bundles[1].weight)  # type: ignore[union-attr]
    # A sweep does not go up: the first layer's errors stay at 0, without a direction.
    x, y = th.randn(10, 3).double(), 5 + th.randn(10, 1).double()
    assert diagnose(circuit, x, y, with_gradient=True).gradient_cosine == pytest.approx([0.0, 1.0])
    circuit = NGCCircuit(
        [3, 8, 1], order="simultaneous", step_rule="fixed", step_size=1e-6, inference_steps=1
    ).double()
    circuit.bundles[1].feedback.copy_(-circuit.bundles[1].weight)  # type: ignore[union-attr]
    cosines = diagnose(circuit, x, y, with_gradient=True).gradient_cosine
    assert cosines == pytest.approx([-1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"preset": "paper"}, {"order": "simultaneous", "step_rule": "spectral"}],
    ids=str,
)
def test_diagnosing_changes_nothing_in_a_circuit(settings: dict[str, Any]) -> None:
    circuit = NGCCircuit([3, 8, 6, 2], **settings)
    before = copy.deepcopy(circuit.state_dict())
    x, y = th.randn(10, 3), th.randn(10, 2)
    diagnose(circuit, x, y, with_gradient=True)
    for name, value in circuit.state_dict().items():
        assert th.equal(value, before[name]), name


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


def test_callback_measures_again_when_training_starts_anew() -> None:
    callback = CircuitDiagnosticsCallback(frequency=60)
    model = ANGC("CartPole-v1", **TINY)
    model.learn(200, callback=callback)
    model.learn(120, callback=callback)  # from step 0 again
    model.learn(60, callback=callback, reset_num_timesteps=False)  # from step 120 on
    assert [steps for steps, _ in callback.history] == [60, 120, 180, 60, 120, 180]


def test_frequency_that_is_no_number_of_steps() -> None:
    with pytest.raises(ValueError, match="frequency=0 is not allowed: it must be an integer of at least 1"):
        CircuitDiagnosticsCallback(frequency=0)
