"""The circuits: what leads from ``paper`` to ``ngc`` and on to ``settled``, and what is tried beside them."""

from __future__ import annotations

from typing import Any

from sb3_angc.circuit.settings import PRESETS, CircuitSettings, make_settings

Changes = dict[str, Any]

# What leads from `paper` to `ngc` ...
NGC = PRESETS["ngc"]
TO_NGC: dict[str, Changes] = {
    "identity at the input": {"activate_input": False},
    "biases": {"bias": True},
    "no norms": {"weight_norm": None, "normalize_updates": False},
    "start at the projection": {"initial_state": "projection"},
    "error on the potential": {"error_on": "potential"},
    "phi'": {"use_derivatives": True},
    "a bound on the step": {"step_rule": NGC.step_rule, "step_size": NGC.step_size},
    "small initial weights": {"init_scale": NGC.init_scale},
    "five steps": {"inference_steps": NGC.inference_steps},
    "no leak": {"leak": 0.0},
    "gamma_e 1": {"feedback_rate": 1.0},
    "no modulation": {"modulation": False},
}
# ... and from there to `settled`
TO_SETTLED: dict[str, Changes] = {
    "a mirror phase": {"mirror_patterns": PRESETS["settled"].mirror_patterns},
    "output precision 0.1": {"output_precision": PRESETS["settled"].output_precision},
    "He's initial weights": {"init_scale": PRESETS["settled"].init_scale},
    "one sweep with a line search": {"order": "sweep", "step_rule": "line_search", "inference_steps": 1},
}


# Numbers of settling steps that `ngc` is tried with beside its own
OTHER_STEPS = (1, 2, 3, 20)
# What `paper` is tried with where the papers are silent: the step, the start and the scale of the weights
SILENT: dict[str, Changes] = {
    "beta 0.3": {"step_size": 0.3},
    "beta 1": {"step_size": 1.0},
    "weights of norm 8": {"weight_norm": 8.0},
    "start at the projection": {"initial_state": "projection"},
    "start at the projection, beta 0.3": {"initial_state": "projection", "step_size": 0.3},
    "start at the projection, weights of norm 8": {"initial_state": "projection", "weight_norm": 8.0},
}


def rungs() -> dict[str, tuple[str, Changes]]:
    """:return: By label, the preset to start from and what is changed in it"""
    ladder: dict[str, tuple[str, Changes]] = {"paper": ("paper", {})}
    changes: Changes = {}
    for name, change in TO_NGC.items():
        changes = {**changes, **change}
        ladder[f"+ {name}"] = ("paper", changes)
    changes = {}
    for name, change in TO_SETTLED.items():
        changes = {**changes, **change}
        ladder[f"+ {name}"] = ("ngc", changes)
    paper = PRESETS["paper"].as_dict()
    for name, change in TO_NGC.items():
        back = {setting: paper[setting] for setting in change}
        if back.get("weight_norm") is not None:
            back["init_scale"] = 1.0  # a norm takes no other
        ladder[f"ngc without: {name}"] = ("ngc", back)
    return ladder


def circuits() -> dict[str, tuple[str, Changes]]:
    """
    :return: The rungs, ``ngc`` with other numbers of settling steps and ``paper`` with other values of what
        the papers do not give, as :func:`rungs`
    """
    steps = {f"ngc, steps: {n}": ("ngc", {"inference_steps": n}) for n in OTHER_STEPS}
    silent = {f"paper, {name}": ("paper", changes) for name, changes in SILENT.items()}
    return {**rungs(), **steps, **silent}


def settings_of(label: str) -> CircuitSettings:
    """:return: The settings of one of :func:`circuits`"""
    preset, changes = circuits()[label]
    return make_settings(preset, **changes)


def by_steps() -> dict[int, str]:
    """:return: The label of ``ngc`` with each number of settling steps"""
    labels = (f"+ {list(TO_NGC)[-1]}", "ngc without: five steps", *(f"ngc, steps: {n}" for n in OTHER_STEPS))
    return dict(sorted((settings_of(label).inference_steps or 0, label) for label in labels))
