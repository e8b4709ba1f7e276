"""``python -m benchmarks speed``: what an update, a prediction and a run cost beside their peers'."""

from benchmarks.experiments.speed.command import main

__all__ = ["main"]
