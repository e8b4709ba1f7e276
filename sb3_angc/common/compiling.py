"""The fast path: a function compiled by torch.compile where that works, and as it is where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch as th

P = ParamSpec("P")
R = TypeVar("R")


class CompiledIfPossible(Generic[P, R]):
    """
    Compiles a function of tensors when it is called first. Where that fails (no C++ compiler, a part
    that cannot be compiled), one warning says why, and the function runs as it is from then on.

    :param function: The function. It must not depend on the values of its tensors, but by operations
        on tensors
    :param backend: torch.compile's
    """

    def __init__(self, function: Callable[P, R], backend: str = "inductor") -> None:
        self.function = function
        self.backend = backend
        self._callable: Callable[P, R] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What torch compiled cannot be pickled; a copy compiles anew.
        return {**vars(self), "_callable": None}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if self._callable is None:
                self._callable = th.compile(
                    self.function, fullgraph=True, dynamic=False, backend=self.backend
                )
            return self._callable(*args, **kwargs)
        except Exception as error:  # torch has many for that
            if self._callable is self.function:
                raise
            reason = " ".join(str(error).split("\n", 2)[:2])  # the first line may only name the backend
            warnings.warn(
                f"torch.compile does not work here: {type(error).__name__}: {reason}. "
                "Updates run as they are, which gives the same results in more time.",
                stacklevel=2,
            )
            self._callable = self.function
        # What was not the compiler's fault comes out again.
        return self.function(*args, **kwargs)
