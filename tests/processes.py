"""Processes of the tests."""

import os
from collections.abc import Callable


def in_a_fork(action: Callable[[], object]) -> int:
    """Exit status of a copy of this process that does something."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]
