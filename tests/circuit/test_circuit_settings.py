"""Presets, overrides, and what is refused."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_angc.circuit import PRESETS, Activation, CircuitSettings, Convolution, NGCCircuit
from sb3_angc.circuit.layers import Layer


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_built_and_overridden(preset: str) -> None:
    circuit = NGCCircuit([2, 3, 1], preset=preset, inference_steps=7, leak=0.25)
    assert (circuit.settings.inference_steps, circuit.settings.leak) == (7, 0.25)
    assert circuit.settings.order == PRESETS[preset].order


def test_default_has_no_weight_transport() -> None:
    assert NGCCircuit([2, 4, 1]).settings == PRESETS["settled"]
    assert PRESETS["settled"].feedback == "learned"
    circuit = NGCCircuit([2, 64, 64, 1], mirror_patterns=0)
    for bundle in circuit.bundles[1:]:
        assert bundle.feedback is not None
        # Independent draws: for 64 weights and more, a correlation of 0.6 has odds below 1e-6.
        correlation = (bundle.weight * bundle.feedback).sum() / (
            bundle.weight.norm() * bundle.feedback.norm()
        )
        assert abs(correlation) < 0.6


@pytest.mark.parametrize("mirror_patterns", [0, 20_000])
def test_initial_weights_scale(mirror_patterns: int) -> None:
    """The same draws, smaller; with the mirror phase ``E`` follows what ``W`` is."""
    circuits = []
    for scale in (1.0, 0.25):
        th.manual_seed(0)
        layers: list[Layer] = [(2, 6, 6), Convolution(8, 3), 64, 5]
        circuits.append(NGCCircuit(layers, init_scale=scale, mirror_patterns=mirror_patterns))
    for (name, large), small in zip(circuits[0].named_parameters(), circuits[1].parameters(), strict=True):
        th.testing.assert_close(small, 0.25 * large, msg=name)
    deviations = [bundle.weight.std().item() for bundle in circuits[1].bundles]
    assert deviations == pytest.approx([0.25 * (2 / n) ** 0.5 for n in (18, 128, 64)], rel=0.15)


def test_output_starts_smaller_alone() -> None:
    """The same draws, those of the last bundle smaller, of each part where there are several."""
    circuits = []
    for scale in (1.0, 0.25):
        th.manual_seed(0)
        layers: list[Layer] = [[3, 4], [5, 6], [2, 1]]
        circuits.append(NGCCircuit(layers, output_init_scale=scale, mirror_patterns=0))
    for (name, large), small in zip(circuits[0].named_parameters(), circuits[1].parameters(), strict=True):
        th.testing.assert_close(small, (0.25 if name.startswith("synapses.1.") else 1) * large, msg=name)


def test_tied_feedback_has_no_error_weights() -> None:
    assert not [
        name for name, _ in NGCCircuit([2, 3, 1], feedback="tied").named_parameters() if "feedback" in name
    ]


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"inference_steps": 0}, "inference_steps=0 is not allowed: it must be None or an integer of at least 1"),
    ({"inference_steps": 2.0}, "inference_steps=2.0 is not allowed"),
    ({"inference_steps": True}, "inference_steps=True is not allowed"),
    ({"step_size": 0}, "step_size=0 is not allowed: it must be a finite number above 0"),
    ({"step_size": 2.5}, "step_size=2.5 is not allowed: it must be at most 2 with step_rule='line_search'"),
    ({"error_scale": math.inf}, "error_scale=inf is not allowed"),
    ({"feedback_rate": math.inf}, "feedback_rate=inf is not allowed"),
    ({"output_precision": math.inf}, "output_precision=inf is not allowed"),
    ({"step_size": math.nan}, "step_size=nan is not allowed"),
    ({"leak": -0.1}, "leak=-0.1 is not allowed: it must be a finite number of at least 0"),
    ({"leak": math.inf}, "leak=inf is not allowed"),
    ({"weight_norm": math.inf}, "weight_norm=inf is not allowed: it must be None or a finite number above 0"),
    ({"max_discrepancy": math.inf}, "max_discrepancy=inf is not allowed"),
    *(
        ({name: "False"}, f"{name}='False' is not allowed: it must be True or False")
        for name in ("activate_input", "use_derivatives", "modulation", "normalize_updates", "bias")
    ),
    ({"error_scale": 0.0}, "error_scale=0.0 is not allowed"),
    ({"output_precision": 0}, "output_precision=0 is not allowed: it must be a finite number above 0"),
    ({"mirror_patterns": -1}, "mirror_patterns=-1 is not allowed: it must be an integer of at least 0"),
    ({"feedback_rate": -1}, "feedback_rate=-1 is not allowed"),
    ({"alignment_decay": "fast"}, "alignment_decay='fast' is not allowed"),
    ({"alignment_time": 0}, "alignment_time=0 is not allowed"),
    ({"weight_norm": 0}, "weight_norm=0 is not allowed"),
    ({"output_init_scale": 0}, "output_init_scale=0 is not allowed: it must be a finite number above 0"),
    ({"output_init_scale": 0.5, "weight_norm": 2.0}, "output_init_scale=0.5 is not allowed"),
    ({"init_scale": 0}, "init_scale=0 is not allowed: it must be a finite number above 0"),
    (
        {"init_scale": 0.5, "weight_norm": 2.0},
        "init_scale=0.5 is not allowed: it must be 1 where a norm is set",
    ),
    ({"init_scale": math.inf}, "init_scale=inf is not allowed"),
    (
        {"max_discrepancy": 0.0},
        "max_discrepancy=0.0 is not allowed: it must be None or a finite",
    ),
    (
        {"order": "outward"},
        "order='outward' is not allowed: it must be one of sweep, simultaneous, scheduled",
    ),
    ({"step_rule": "newton"}, "step_rule='newton' is not allowed"),
    ({"feedback": "none"}, "feedback='none' is not allowed: it must be one of learned, tied"),
    ({"error_on": "z"}, "error_on='z' is not allowed"),
    ({"initial_state": "ones"}, "initial_state='ones' is not allowed"),
    ({"activation": "swish"}, "activation='swish' is unknown: choose one of identity"),
    (
        {"order": "simultaneous"},
        "step_rule='line_search' is not allowed: it must be 'fixed' or 'spectral' or 'neuron'",
    ),
    (
        {"order": "scheduled", "step_rule": "spectral"},
        "step_rule='spectral' is not allowed: it must be 'fixed' with order='scheduled'",
    ),
    (
        {"step_rule": "spectral"},
        "step_rule='spectral' is not allowed: it must be 'line_search' with order='sweep'",
    ),
    ({"initial_state": "zeros"}, "initial_state='zeros' is not allowed: it must be 'projection' with order"),
    (
        {"order": "scheduled", "step_rule": "fixed", "initial_state": "zeros"},
        "initial_state='zeros' is not allowed: it must be 'projection' with order='scheduled'",
    ),
    ({"steps": 3}, "'steps' is not a circuit setting: choose from inference_steps, order"),
    ({"preset": "best"}, "preset='best' is unknown: choose one of settled, paper, ngc, released"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=[str(case[0]) for case in BAD_SETTINGS])
def test_bad_setting_is_named_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        NGCCircuit([2, 3, 1], **settings)


@pytest.mark.parametrize("sizes", [[], [3], [3, 0], [3, -1, 2], [3, 2.5, 1]])
def test_bad_layer_sizes(sizes: list[Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"layers={sizes} is not allowed")):
        NGCCircuit(sizes)


def test_layer_sizes_of_numpy() -> None:
    two, three = np.int64(2), np.int32(3)
    alone: list[Any] = [two, three, two]
    beside: list[Any] = [[two, (1, 2, 2)], [three, Convolution(1, 1)], two]
    for layers, sizes in ((alone, [2, 3, 2]), (beside, [6, 7, 2])):
        circuit = NGCCircuit(layers)
        assert circuit.layer_sizes == sizes
        assert all(type(size) is int for size in circuit.layer_sizes)


@pytest.mark.parametrize("name", ["y", "clamped"])
@pytest.mark.parametrize("shape", [(5,), (1,), (5, 2), (4, 1), ()])
def test_an_output_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    """It would be spread over a batch by broadcasting."""
    arguments = {"y": th.zeros(5, 1), "clamped": th.ones(5, 1), name: th.ones(shape)}
    for layers in ([2, 1], [2, 3, 1]):
        message = re.escape(f"{name} of shape {shape} is not allowed: it must be (5, 1)")
        with pytest.raises(ValueError, match=message):
            NGCCircuit(layers).settle(th.zeros(5, 2), **arguments)


def test_settings_as_a_dictionary_make_the_same_settings() -> None:
    own = Activation("sine", math.sin, math.cos)  # type: ignore[arg-type]
    for settings in (*PRESETS.values(), CircuitSettings(leak=0.5, activation=own)):
        assert CircuitSettings(**settings.as_dict()) == settings
    assert CircuitSettings(leak=0.5).as_dict()["leak"] == 0.5


def test_table_in_the_docs_has_every_symbol() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:1] == "|"]
    symbols = " ".join(cells[0] for cells in rows)
    for symbol in ("L + 1", "J_l", "T", "gamma_v", "beta_e", "beta", "gamma_e", "phi", "g", "W", "E", "d"):
        assert f"`{symbol}`" in symbols
    assert all(f"`{symbol}`" in symbols for symbol in ("M_W", "M_E", "dW", "dE", "z", "zbar", "e"))
