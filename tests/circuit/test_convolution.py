"""Convolutional and parallel synapses against torch's convolution, autograd and hand-worked values."""

import math
import re
from typing import Any

import pytest
import torch as th
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sb3_angc.circuit import Convolution, NGCCircuit, diagnose, learn
from sb3_angc.circuit.layers import synapses_by_name
from sb3_angc.circuit.synapses.convolutional import ConvSynapses
from sb3_angc.circuit.synapses.dense import DenseSynapses
from sb3_angc.circuit.synapses.parallel import ParallelSynapses

SEES_MINATAR: list[Any] = [(4, 10, 10), Convolution(5, 3), 7, 3]
STRIDES_AND_PADDING: list[Any] = [(2, 11, 8), Convolution(3, 4, 2, 1), Convolution(4, 3, 2, 2), 6, 3]
CONVOLUTION_LAST: list[Any] = [(2, 6, 5), Convolution(3, 3, 1, 1), Convolution(2, 2, 3)]
PARTS: list[Any] = [[(2, 9, 9), 3, (1, 8, 8)], [Convolution(3, 3, 2), 4, Convolution(2, 4, 3)], 6, 2]
ARCHITECTURES = [SEES_MINATAR, STRIDES_AND_PADDING, CONVOLUTION_LAST, PARTS]


def torch_network(circuit: NGCCircuit, layers: list[Any]) -> nn.ModuleList:
    """The same layers as torch's own modules, one list of parts for each layer, with the same weights."""
    network = nn.ModuleList()
    parts = circuit.prediction_parameters()
    for index, layer in enumerate(layers[1:]):
        modules: list[nn.Module] = []
        for number, part in enumerate(layer if isinstance(layer, list) else [layer]):
            name = f"synapses.{index}" + (f".parts.{number}" if isinstance(layer, list) else "")
            weight, bias = parts[f"{name}.weight"], parts[f"{name}.bias"]
            module: nn.Conv2d | nn.Linear
            if isinstance(part, Convolution):
                in_channels = weight.shape[1] // part.kernel_size**2
                module = nn.Conv2d(
                    in_channels, part.channels, part.kernel_size, part.stride, part.padding, dtype=th.float64
                )
            else:
                module = nn.Linear(weight.shape[1], part, dtype=th.float64)
            module.weight.data = weight.detach().reshape(module.weight.shape).clone()
            assert module.bias is not None
            module.bias.data = bias.detach().clone()
            modules.append(module)
        network.append(nn.ModuleList(modules))
    return network


def run_torch(network: nn.ModuleList, first: Any, x: th.Tensor) -> th.Tensor:
    """Forward through torch's modules; relu between the layers."""
    extents = first if isinstance(first, list) else [first]
    sizes = [math.prod(extent) if isinstance(extent, tuple) else extent for extent in extents]
    activities = [
        th.unflatten(rows, 1, extent) if isinstance(extent, tuple) else rows
        for rows, extent in zip(th.split(x, sizes, dim=1), extents, strict=True)
    ]
    for index, layer in enumerate(network):
        assert isinstance(layer, nn.ModuleList)
        if len(layer) == 1 and isinstance(layer[0], nn.Linear):
            activities = [th.cat([activity.flatten(1) for activity in activities], dim=1)]
        outputs = [module(activity) for module, activity in zip(layer, activities, strict=True)]
        activities = outputs if index == len(network) - 1 else [th.relu(output) for output in outputs]
    return th.cat([activity.flatten(1) for activity in activities], dim=1)


def random_batch(circuit: NGCCircuit, n: int = 5) -> tuple[th.Tensor, th.Tensor]:
    return (
        th.randn(n, circuit.layer_sizes[0], dtype=th.float64),
        th.randn(n, circuit.layer_sizes[-1], dtype=th.float64),
    )


@pytest.mark.parametrize("layers", ARCHITECTURES, ids=str)
def test_scheduled_updates_equal_the_gradient(layers: list[Any]) -> None:
    """Through convolution, stride, padding, flattening and parts side by side."""
    th.manual_seed(0)
    circuit = NGCCircuit(layers, preset="released").double()
    x, y = random_batch(circuit)
    network = torch_network(circuit, layers)
    output = run_torch(network, layers[0], x)
    th.testing.assert_close(circuit.project(x), output.detach())
    loss = 0.5 * (output - y).square().sum(1).mean()
    gradients = th.autograd.grad(loss, list(network.parameters()))
    updates = list(circuit.local_updates(circuit.settle(x, y)).values())
    assert len(updates) == len(gradients)
    for update, gradient in zip(updates, gradients, strict=True):
        th.testing.assert_close(update, -gradient.reshape(update.shape), rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    in_channels=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    out_channels=st.integers(1, 4),
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
)
def test_feedback_is_the_exact_adjoint(
    in_channels: int, height: int, width: int, out_channels: int, kernel_size: int, stride: int, padding: int
) -> None:
    """<change W, e> = <change, e E> with E = W, and hebbian is the derivative of both by W."""
    assume(min(height, width) + 2 * padding >= kernel_size)
    th.manual_seed(0)
    shape = (in_channels, height, width)
    synapses = ConvSynapses(shape, out_channels, kernel_size, stride, padding, True, False).double()
    change = th.randn(1, synapses.in_features, dtype=th.float64)
    error = th.randn(1, synapses.out_features, dtype=th.float64)
    product = th.linalg.vecdot(synapses.predict_change(change), error)
    th.testing.assert_close(product, th.linalg.vecdot(change, synapses.feed_back(error)))
    # The product is linear in W, so it equals <W, its derivative by W>.
    th.testing.assert_close(product[0], (synapses.weight * synapses.hebbian(change, error)["weight"]).sum())


def test_hebbian_correlation_by_hand() -> None:
    """
    Image (1, 2, 3 / 4, 5, 6), kernel 2, stride 1: two patches, (1, 2, 4, 5) and (2, 3, 5, 6), with
    errors 10 and -1: dW = 10 (1, 2, 4, 5) - (2, 3, 5, 6) = (8, 17, 35, 44), db = 9; mean over a batch.
    """
    synapses = ConvSynapses((1, 2, 3), 1, 2, 1, 0, True, False)
    activity, error = th.arange(1.0, 7.0).unsqueeze(0), th.tensor([[10.0, -1.0]])
    updates = synapses.hebbian(activity.repeat(2, 1), error.repeat(2, 1))
    assert updates["weight"].tolist() == [[8.0, 17.0, 35.0, 44.0]]
    assert updates["bias"].tolist() == [9.0]


def test_feedback_weights_carry_errors_and_prediction_weights_do_not() -> None:
    """One error of 1 at the first patch: what comes back is E's kernel, whatever W is."""
    synapses = ConvSynapses((1, 2, 3), 1, 2, 1, 0, False, True)
    synapses.feedback.copy_(th.tensor([[1.0, 2.0, 3.0, 4.0]]))  # type: ignore[union-attr]
    assert synapses.feed_back(th.tensor([[1.0, 0.0]])).tolist() == [[1.0, 2.0, 0.0, 3.0, 4.0, 0.0]]


def test_modulation_by_hand() -> None:
    """
    Channels' summed absolute incoming weights 10 and 2 -> (1, 0.4). Returning to the two input
    channels: 1 + 2 + 0 + 1 = 4 and 3 + 4 + 1 + 0 = 8 -> both 1 after doubling 0.5 and 1.
    """
    synapses = ConvSynapses((2, 1, 2), 2, 1, 1, 0, False, False)
    synapses.weight.copy_(th.tensor([[4.0, -6.0], [0.0, 2.0]]))
    into, back = synapses.modulation()
    th.testing.assert_close(into, th.tensor([[1.0], [0.4]]))
    th.testing.assert_close(back, th.tensor([[1.0, 1.0]]))  # 4 and 8: 2 * 4 / 8 = 1
    synapses.weight.copy_(th.tensor([[1.0, -6.0], [0.0, 2.0]]))
    th.testing.assert_close(synapses.modulation()[1], th.tensor([[0.25, 1.0]]))  # 1 and 8
    wide = ConvSynapses((2, 2, 2), 1, 2, 1, 0, False, False)  # all four synapses of a channel alike
    wide.weight.copy_(th.tensor([[1.0, 0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0]]))
    th.testing.assert_close(wide.modulation()[1], th.tensor([[0.25] * 4 + [1.0] * 4]))


def test_feedback_is_modulated_by_what_comes_back_over_it() -> None:
    """Two input channels, kernels of 1 x 1: E of the first sums to 1, of the second to 8."""
    synapses = ConvSynapses((2, 3, 3), 2, 1, 1, 0, bias=False, learned_feedback=True)
    assert synapses.feedback is not None
    synapses.feedback.copy_(th.tensor([[1.0, -4.0], [0.0, 4.0]]))
    th.testing.assert_close(synapses.modulation()[1], th.tensor([[0.25, 1.0]]))


def test_squared_spectral_norm_is_that_of_the_unrolled_matrix() -> None:
    th.manual_seed(0)
    bundles: list[Any] = [ConvSynapses((2, 6, 5), 3, 3, 2, 1, True, True), DenseSynapses(4, 5, True, False)]
    joint = ParallelSynapses(bundles).double()
    for bundle in (*bundles, joint):
        matrix = bundle.predict_change(th.eye(bundle.in_features, dtype=th.float64))
        for part in synapses_by_name(bundle).values():
            for _ in range(300):
                part.track_norm()
        estimate = bundle.squared_spectral_norm()
        th.testing.assert_close(estimate, th.linalg.matrix_norm(matrix, 2).square())


def test_learned_feedback_aligns_from_a_random_start() -> None:
    th.manual_seed(0)
    layers: list[Any] = [[(1, 8, 8), 2], [Convolution(8, 3), 8], [Convolution(8, 3, 2), 8], 32, 2]
    circuit = NGCCircuit(layers, mirror_patterns=0, alignment_decay=3.0, alignment_time=5.0)
    x = th.randn(128, 66)
    y = th.stack([x[:, :8].sum(1) / 4, x[:, -1] * x[:, 10]], dim=1)
    optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)

    def alignments() -> list[float]:
        return [a for a in diagnose(circuit, x, y).feedback_alignment if a is not None]

    assert len(alignments()) == 3
    assert max(map(abs, alignments())) < 0.3
    start = (circuit.project(x) - y).square().mean()
    for _ in range(300):
        learn({circuit: circuit.local_updates(circuit.settle(x, y))}, optimizer)
    assert min(alignments()) > 0.9
    assert (circuit.project(x) - y).square().mean() < 0.1 * start


@pytest.mark.parametrize("padding", [0, 2])
def test_mirror_gives_feedback_what_prediction_transmits(padding: int) -> None:
    """With noise of variance 1 the mean correlation is W itself, at the border as well."""
    th.manual_seed(0)
    synapses = ConvSynapses((3, 7, 6), 4, 3, 2, padding, True, True)
    feedback = synapses.feedback
    assert feedback is not None
    errors = []
    for n_patterns in (1_000, 100_000):
        synapses.mirror(n_patterns)
        errors.append(((feedback - synapses.weight).norm() / synapses.weight.norm()).item())
    assert errors[0] < 0.4  # about sqrt(27 / 1000), and less for the patches' overlap
    assert errors[1] < 0.04  # 100 times the patterns: a tenth of the error


def test_circuits_mirror_every_part() -> None:
    th.manual_seed(0)
    circuit = NGCCircuit([[(2, 9, 9), 3], [Convolution(3, 3, 2), 4], [Convolution(2, 2), 4], 6, 2])
    x, y = (rows.float() for rows in random_batch(circuit))
    alignments = diagnose(circuit, x, y).feedback_alignment
    assert alignments[0] is None
    assert min(a for a in alignments if a is not None) > 0.98


def test_diagnosed_cosine_with_the_gradient_is_one_where_updates_are_the_gradient() -> None:
    circuit = NGCCircuit(PARTS, preset="released").double()
    cosines = diagnose(circuit, *random_batch(circuit), with_gradient=True).gradient_cosine
    assert cosines == pytest.approx([1.0, 1.0, 1.0])


SCALES = st.floats(-2, 2).map(lambda exponent: 10**exponent)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    layers=st.sampled_from(ARCHITECTURES),
    feedback=st.sampled_from(["learned", "tied"]),
    weight_scale=SCALES,
    feedback_scale=SCALES,
    seed=st.integers(0, 2**16),
)
def test_energy_never_rises(
    layers: list[Any],
    feedback: str,
    weight_scale: float,
    feedback_scale: float,
    seed: int,
) -> None:
    th.manual_seed(seed)
    circuit = NGCCircuit(layers, feedback=feedback, inference_steps=4).double()
    for name, value in circuit.named_parameters():
        value.mul_(feedback_scale if name.endswith("feedback") else weight_scale)
    energies = th.stack(circuit.settle(*random_batch(circuit, 3)).energies)
    assert th.isfinite(energies).all()
    assert (energies[1:] <= energies[:-1] * (1 + 1e-9)).all()


def test_paper_preset_normalises_each_part_by_itself() -> None:
    circuit = NGCCircuit(PARTS, preset="paper").double()
    state = circuit.settle(*random_batch(circuit))
    updates = circuit.local_updates(state)
    weights = [name for name in updates if name.endswith("weight")]
    assert len(weights) == 5
    assert [updates[name].norm().item() for name in weights] == pytest.approx([1.0] * 5)
    learn({circuit: updates}, th.optim.SGD(circuit.parameters(), lr=0.1))
    norms = [value.norm().item() for name, value in circuit.named_parameters() if name.endswith("weight")]
    assert norms == pytest.approx([2.0] * 5)


def test_parts_do_not_touch() -> None:
    """Another image leaves the updates of the other parts' first synapses unchanged before any feedback."""
    synapses = NGCCircuit(PARTS).bundles[0]
    x = th.randn(2, synapses.in_features)
    other = x.clone()
    other[:, :162] += 1  # the first part, (2, 9, 9)
    changed = (synapses.predict(x) != synapses.predict(other)).any(0)
    assert changed[:48].all()  # (3, 4, 4)
    assert not changed[48:].any()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Convolution(3, 3), 4], "layers=[Convolution("),
        ([(1, 4), 4], "layers=[(1, 4), 4] is not allowed: it must hold at least two integers"),
        ([(1, 4, 4), (1, 2, 2)], "layers=[(1, 4, 4), (1, 2, 2)] is not allowed"),
        ([[3, [4]], 4], "layers=[[3, [4]], 4] is not allowed"),
        ([16, Convolution(3, 3)], "it needs an image before it, not 16"),
        ([[4, 4], [3], 2], "[3] is not allowed here: a layer of 1 parts needs one of as many before it"),
        ([4, [3, 3], 2], "a layer of 2 parts needs one of as many before it"),
        (
            [(1, 4, 2), Convolution(3, 3)],
            "kernel_size=3 is not allowed: it must be at most the image's sides",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named(layers: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        NGCCircuit(layers)


@pytest.mark.parametrize("numbers", [(0, 3), (3, 0), (3, 3, 0), (3, 3, 1, -1), (3, 2.5)])
def test_convolution_of_bad_numbers(numbers: Any) -> None:
    with pytest.raises(ValueError, match="is not allowed: it must be an integer of at least"):
        Convolution(*numbers)


def test_convolution_of_padding_alone() -> None:
    with pytest.raises(ValueError, match=r"padding=3 is not allowed: it must be less than kernel_size=3"):
        Convolution(4, 3, 1, 3)


def test_state_dict_keeps_dense_names() -> None:
    """Files saved by earlier versions stay readable."""
    assert list(NGCCircuit([3, 4, 2]).state_dict()) == [
        "learning_time",
        *("synapses.0.weight", "synapses.0.bias", "synapses.0._singular_vector"),
        *("synapses.1.weight", "synapses.1.bias", "synapses.1.feedback", "synapses.1._singular_vector"),
    ]


def test_normalised_singular_vector_stays_a_unit_vector() -> None:
    synapses = ConvSynapses((1, 5, 5), 2, 3, 1, 0, True, False)
    synapses.squared_spectral_norm()
    th.testing.assert_close(F.normalize(synapses._singular_vector, dim=0), synapses._singular_vector)
