"""
The projection of inputs that differ in nothing but how they end, where what they share is computed once.

An agent that sees its action as an input asks for each of its actions after the same observation.
docs/lab_notes.md, "Actions as inputs", has the time that this saves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch as th
from torch.nn import functional as F

from sb3_angc.circuit.activations import get_activation
from sb3_angc.circuit.layers import Bundle
from sb3_angc.circuit.settings import CircuitSettings
from sb3_angc.circuit.synapses import DenseSynapses, ParallelSynapses


def project_with_each(
    bundles: Sequence[Bundle], settings: CircuitSettings, x: th.Tensor, endings: th.Tensor
) -> th.Tensor:
    """
    The projections of each row of ``x`` followed by each ending. Where the input has parts side by side,
    endings are of the last: the others depend on ``x`` alone, and so does what they add to the first layer
    that is one.

    :param bundles: The circuit's synapses, from input to output
    :param settings: The circuit's settings
    :param x: The beginnings of inputs, ``(batch, n)``
    :param endings: ``(n_endings, n_in - n)``
    :return: Outputs, ``(batch, n_endings, n_out)``
    """
    phi = get_activation(settings.activation).function
    first = bundles[0]
    n_own = first.in_sizes[-1] if isinstance(first, ParallelSynapses) else endings.shape[1]
    shared, rest = x.tensor_split([first.in_features - n_own], dim=1)
    own = th.cat(
        [rest.unsqueeze(1).expand(-1, len(endings), -1), endings.expand(len(x), -1, -1)], dim=2
    ).flatten(0, 1)
    if settings.activate_input:
        shared, own = phi(shared), phi(own)
    *before, output = bundles
    apart = [bundle for bundle in before if isinstance(bundle, ParallelSynapses)]
    for side_by_side in apart:
        *parts, last = side_by_side
        rows = th.split(shared, side_by_side.in_sizes[:-1], dim=1)
        predictions = [part.predict(part_rows) for part, part_rows in zip(parts, rows, strict=True)]
        shared, own = phi(th.cat(predictions, dim=1)), phi(last.predict(own))
    joining, *others = [*before[len(apart) :], output]
    joined = _predict_joined(joining, shared, own, len(endings))
    for bundle in others:
        joined = bundle.predict(phi(joined))
    return joined.view(len(x), len(endings), -1)


def _predict_joined(bundle: Bundle, shared: th.Tensor, own: th.Tensor, n_endings: int) -> th.Tensor:
    """The prediction from each row of ``shared`` beside each of its rows of ``own``."""
    if type(bundle) is DenseSynapses:  # a subclass may predict in another way
        of_shared, of_own = bundle.weight.tensor_split([shared.shape[1]], dim=1)
        from_shared = F.linear(shared, of_shared, bundle.bias).unsqueeze(1)
        from_own = F.linear(own, of_own).view(len(shared), n_endings, -1)
        return (from_shared + from_own).flatten(0, 1)
    return bundle.predict(th.cat([shared.repeat_interleave(n_endings, dim=0), own], dim=1))
