"""
``python -m benchmarks ladder``: from the papers' equations to the presets that learn, one change at a time,
and each taken back alone from ``ngc``: test error, cosine of the updates with the gradient and of ``W`` with
``E.T``, energy left, activity left. The same rungs with returns are ``benchmarks/studies/ladder.yml``.
"""

from benchmarks.experiments.ladder.command import main

__all__ = ["main"]
