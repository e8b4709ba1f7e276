"""
The projection of inputs that differ in nothing but how they end, where what they share is computed once.

An agent that sees its action as an input asks for each of its actions after the same observation.
docs/lab_notes.md, "Actions as inputs", has the time that this saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

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
    that is one. What endings add does not depend on ``x``.

    :param bundles: The circuit's synapses, from input to output
    :param settings: The circuit's settings
    :param x: The beginnings of inputs, ``(batch, n)``
    :param endings: The rest of the last part or a piece of it, ``(n_endings, n_in - n)``
    :return: Outputs, ``(batch, n_endings, n_out)``
    """
    phi = get_activation(settings.activation).function
    if settings.activate_input:
        x, endings = phi(x), phi(endings)
    side_by_side = list(takewhile(lambda bundle: isinstance(bundle, ParallelSynapses), bundles[:-1]))
    shared, own = x, endings.unsqueeze(0)  # (batch, n), and (batch or 1, n_endings, n)
    for bundle in side_by_side:
        assert isinstance(bundle, ParallelSynapses)
        *parts, last = bundle
        *rows, beginning = shared.tensor_split(list(accumulate(bundle.in_sizes[:-1])), dim=1)
        predictions = [part.predict(part_rows) for part, part_rows in zip(parts, rows, strict=True)]
        own = phi(_predict_joined(last, beginning, own))  # of later layers nothing is left at the beginning
        shared = phi(th.cat([x[:, :0], *predictions], dim=1))
    joining, *others = bundles[len(side_by_side) :]
    joined = _predict_joined(joining, shared, own)
    rows_and_endings = joined.shape[:2]
    joined = joined.flatten(0, 1)
    for bundle in others:
        joined = bundle.predict(phi(joined))
    return joined.view(*rows_and_endings, -1).expand(x.shape[0], -1, -1)


def _predict_joined(bundle: Bundle, shared: th.Tensor, own: th.Tensor) -> th.Tensor:
    """
    The prediction from each row of ``shared``, ``(batch, n)``, beside each of ``own``,
    ``(batch or 1, n_endings, m)``: ``(batch, n_endings, out_features)``.
    """
    if shared.shape[1] == 0:  # what comes of the endings alone stays one row for all
        return bundle.predict(own.flatten(0, 1)).view(*own.shape[:2], -1)
    if type(bundle) is DenseSynapses:  # a subclass may predict in another way
        of_shared, of_own = bundle.weight.tensor_split([shared.shape[1]], dim=1)
        return F.linear(shared, of_shared, bundle.bias).unsqueeze(1) + F.linear(own, of_own)
    size = shared.shape[0], own.shape[1], -1
    rows = th.cat([shared.unsqueeze(1).expand(size), own.expand(size)], dim=2)
    return bundle.predict(rows.flatten(0, 1)).view(*rows.shape[:2], -1)
