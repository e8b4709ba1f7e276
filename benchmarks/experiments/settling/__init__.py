"""
``python -m benchmarks settling``: how a circuit's hidden layers are best moved. Rules of settling, their
cost against what energy they leave.
"""

from benchmarks.experiments.settling.command import main

__all__ = ["main"]
