"""Environments of the studies. Importing this package registers those that need no further package."""

from benchmarks.environments import everyday, sparse  # noqa: F401 -- registers
