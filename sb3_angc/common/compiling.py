"""The fast path: a function compiled by torch.compile, where that works."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar

import torch as th

P = ParamSpec("P")
R = TypeVar("R")

# For how many keys a function is compiled. Where each call has a key of its own, as where an episode's
# length says how many updates follow it, compiling would never end.
MOST_KEYS = 8


class CompiledIfPossible(Generic[P, R]):
    """
    Compiles a function of tensors when it is first called with a key, for up to :data:`MOST_KEYS` keys; with
    others the caller takes the function itself. It does so everywhere once compiling has failed (no C++
    compiler, a part that cannot be compiled): one warning says why, and ``works`` is false from then on.

    torch.compile asks before each call whether anything that it found while compiling has changed: of a
    circuit's many tensors and settings that takes a tenth of an update. The key is asked instead.

    :param function: The function. It must not depend on the values of its tensors, but by operations
        on tensors
    :param backend: torch.compile's
    """

    def __init__(self, function: Callable[P, R], backend: str = "inductor") -> None:
        self.function = function
        self.backend = backend
        self.works = True
        self._compiled: dict[Hashable, Callable[P, R]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What torch compiled cannot be pickled; a copy compiles anew.
        return {**vars(self), "_compiled": {}}

    def takes(self, key: Hashable) -> bool:
        """Whether a call with a key is compiled."""
        return key in self._compiled or self.compiles(key)

    def compiles(self, key: Hashable) -> bool:
        """Whether the next call with a key compiles the function first."""
        return self.works and key not in self._compiled and len(self._compiled) < MOST_KEYS

    def __call__(self, key: Hashable, device: th.device, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """
        :param key: All that the function depends on but the values of tensors, their shapes among it
        :param device: Of the tensors
        :param args: The function's
        :param kwargs: The function's
        :return: The function's; ``None`` where it is not compiled
        """
        if not self.takes(key):
            return None
        try:
            if key not in self._compiled:
                self._compiled[key] = self._compile(device)
            return self._compiled[key](*args, **kwargs)
        except Exception as error:  # torch has many for that
            reason = " ".join(str(error).split("\n", 2)[:2])  # the first line may only name the backend
            warnings.warn(
                f"torch.compile does not work here: {type(error).__name__}: {reason}. "
                "Without it results are the same, and take more time.",
                stacklevel=2,
            )
            self.works = False
            self._compiled.clear()
            return None  # what was not the compiler's fault comes out again when the function is called

    def _compile(self, device: th.device) -> Callable[P, R]:
        options: dict[str, Any] = {"guard_filter_fn": lambda guards: [False] * len(guards)}
        if self.backend == "inductor" and device.type == "cpu":
            options["cpp_wrapper"] = True  # the calls of the compiled pieces compiled as well
        elif self.backend == "inductor" and device.type == "cuda":
            options["triton.cudagraphs"] = True  # the calls recorded once
        return th.compile(
            _own_code(self.function), fullgraph=True, dynamic=False, backend=self.backend, options=options
        )


def _own_code(function: Callable[P, R]) -> Callable[P, R]:
    """A copy of a function: torch finds what it compiled by the code, and would mix up the keys."""
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
