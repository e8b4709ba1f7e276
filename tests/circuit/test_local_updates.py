"""Local updates and learning steps against autograd, hand-worked values and locality itself."""

import copy
from typing import Any

import pytest
import torch as th
from torch.nn import functional as F

from sb3_angc.circuit import NGCCircuit, learn
from sb3_angc.circuit.synapses.dense import DenseSynapses


def autograd_updates(circuit: NGCCircuit, x: th.Tensor, y: th.Tensor) -> dict[str, th.Tensor]:
    """Minus the gradient of half the mean squared error, by torch."""
    functions: dict[str, Any] = {
        "relu": th.relu,
        "tanh": th.tanh,
        "elu": F.elu,
        "softplus": F.softplus,
        "identity": lambda z: z,
    }
    phi = functions[str(circuit.settings.activation)]
    parameters = {
        name: value.clone().requires_grad_() for name, value in circuit.prediction_parameters().items()
    }
    activity = x
    for index in range(len(circuit.bundles)):
        bias = parameters.get(f"synapses.{index}.bias")
        prediction = F.linear(activity, parameters[f"synapses.{index}.weight"], bias)
        activity = phi(prediction)
    loss = 0.5 * (prediction - y).square().sum(dim=1).mean()
    gradients = th.autograd.grad(loss, list(parameters.values()))
    return {name: -gradient for name, gradient in zip(parameters, gradients, strict=True)}


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "softplus", "identity"])
@pytest.mark.parametrize("sizes", [[5, 3], [5, 7, 3], [5, 7, 6, 3], [5, 4, 6, 7, 5, 3]])
def test_scheduled_updates_equal_the_gradient(sizes: list[int], activation: str) -> None:
    th.manual_seed(0)
    circuit = NGCCircuit(sizes, preset="released", activation=activation).double()
    x, y = th.randn(9, sizes[0], dtype=th.float64), th.randn(9, sizes[-1], dtype=th.float64)
    updates = circuit.local_updates(circuit.settle(x, y))
    expected = autograd_updates(circuit, x, y)
    assert set(updates) == set(expected)
    for name, update in updates.items():
        th.testing.assert_close(update, expected[name], rtol=1e-9, atol=1e-12)


def test_settled_updates_tend_to_the_gradient_as_the_output_error_vanishes() -> None:
    """
    To first order in the output error, the settled errors of a circuit with tied feedback are
    e_l = J_l.T (I + sum_k J_k J_k.T)^-1 delta: for one output, each sample's gradient times
    1 / (1 + sum_k |J_k|^2).
    """
    th.manual_seed(1)
    settings: dict[str, Any] = {"activation": "tanh", "inference_steps": 400, "output_precision": 1.0}
    circuit = NGCCircuit([4, 6, 5, 1], feedback="tied", **settings).double()
    x = th.randn(1, 4, dtype=th.float64)
    y = circuit.project(x) + 1e-6
    expected = autograd_updates(circuit, x, y)
    # |J_k|^2 of hidden layer k: the bias gradient of layer k is J_k * delta.
    jacobians = sum(float((expected[f"synapses.{k}.bias"] / 1e-6).square().sum()) for k in (0, 1))
    updates = circuit.local_updates(circuit.settle(x, y))
    for name, update in updates.items():
        th.testing.assert_close(update * (1 + jacobians), expected[name], rtol=1e-4, atol=1e-12)


def test_hebbian_product_by_hand() -> None:
    """dW = phi(z).T e: batch of one, phi(z) = (1, 2), e = y - x W = (10 - 5, 20 - 11) = (5, 9)."""
    circuit = NGCCircuit([2, 2], bias=True, output_precision=1.0).double()
    bundle = circuit.bundles[0]
    bundle.weight.copy_(th.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x, y = th.tensor([[1.0, 2.0]]).double(), th.tensor([[10.0, 20.0]]).double()
    updates = circuit.local_updates(circuit.settle(x, y))
    th.testing.assert_close(updates["synapses.0.weight"], th.tensor([[5.0, 10.0], [9.0, 18.0]]).double())
    th.testing.assert_close(updates["synapses.0.bias"], th.tensor([5.0, 9.0]).double())
    # The mean over the batch, not the sum:
    doubled = circuit.local_updates(circuit.settle(x.repeat(2, 1), y.repeat(2, 1)))
    th.testing.assert_close(doubled["synapses.0.weight"], updates["synapses.0.weight"])


@pytest.mark.parametrize("sizes", [(3, 24), (3, 25), (1, 9), (25, 3)], ids=str)
def test_hebbian_product_of_any_shape(sizes: tuple[int, int]) -> None:
    """Both ways round the product is the mean over the batch of e_j phi(z)_i, in the weights' layout."""
    bundle = DenseSynapses(*sizes, bias=True, learned_feedback=False).double()
    activity, error = (th.randn(4, size, dtype=th.float64) for size in sizes)
    changes = bundle.hebbian(activity, error)
    expected = sum(th.outer(e, a) for e, a in zip(error, activity, strict=True)) / 4
    th.testing.assert_close(changes["weight"], expected)
    th.testing.assert_close(changes["bias"], error.mean(0))
    assert changes["weight"].is_contiguous()


def test_sgd_step_adds_the_update_and_gives_the_error_weights_the_same_change() -> None:
    circuit = NGCCircuit([3, 5, 2], alignment_decay=0.0, feedback_rate=0.9).double()
    before = {name: value.clone() for name, value in circuit.named_parameters()}
    optimizer = th.optim.SGD(circuit.parameters(), lr=0.1)
    state = circuit.settle(th.randn(4, 3, dtype=th.float64), th.randn(4, 2, dtype=th.float64))
    updates = circuit.local_updates(state)
    learn({circuit: updates}, optimizer)
    updates["synapses.1.feedback"] = 0.9 * updates["synapses.1.weight"]
    for name, value in circuit.named_parameters():
        th.testing.assert_close(value, before[name] + 0.1 * updates[name])


def test_feedback_changes_by_the_optimizers_step_not_by_the_raw_update() -> None:
    circuit = NGCCircuit([3, 5, 2], alignment_decay=0.0).double()
    bundle = circuit.bundles[1]
    difference = bundle.weight - bundle.feedback  # type: ignore[operator]
    optimizer = th.optim.Adam(circuit.parameters(), lr=0.1)
    for _ in range(3):
        state = circuit.settle(th.randn(4, 3, dtype=th.float64), th.randn(4, 2, dtype=th.float64))
        learn({circuit: circuit.local_updates(state)}, optimizer)
    th.testing.assert_close(bundle.weight - bundle.feedback, difference)  # type: ignore[operator]


def test_alignment_decay_by_hand() -> None:
    """Without errors, only the decay acts: after k steps of lr 0.1, prod(1 - 0.1 * 2 * exp(-0.1 k / 0.5))."""
    circuit = NGCCircuit([3, 5, 2], alignment_decay=2.0, alignment_time=0.5).double()
    first, second = (bundle.weight.clone() for bundle in circuit.bundles)
    feedback = circuit.bundles[1].feedback.clone()  # type: ignore[union-attr]
    optimizer = th.optim.SGD(circuit.parameters(), lr=0.1)
    x = th.randn(4, 3, dtype=th.float64)
    factor = 1.0
    for k in range(3):
        learn({circuit: circuit.local_updates(circuit.settle(x, circuit.project(x)))}, optimizer)
        factor *= 1 - 0.1 * 2 * float(th.exp(th.tensor(-0.1 * k / 0.5, dtype=th.float64)))
    th.testing.assert_close(circuit.bundles[1].weight.data, factor * second)
    th.testing.assert_close(circuit.bundles[1].feedback.data, factor * feedback)  # type: ignore[union-attr]
    assert th.equal(circuit.bundles[0].weight, first)  # no feedback runs beside it: nothing to align


def test_weight_mirror_finds_the_weights_from_activity() -> None:
    """E is the mean of (noise W).T noise: each entry is that of W give or take |w_row| / sqrt(n)."""
    th.manual_seed(0)
    bundle = NGCCircuit([3, 40, 30, 2], mirror_patterns=10_000).bundles[1]
    assert bundle.feedback is not None
    difference = bundle.feedback - bundle.weight
    expected = bundle.weight.norm(dim=1, keepdim=True) / 10_000**0.5
    assert (difference / expected).square().mean().item() == pytest.approx(1, abs=0.15)
    assert (difference / expected).abs().max() < 6
    # It used responses alone: synapses that transmit nothing mirror nothing.
    bundle.weight[3] = 0
    bundle.mirror(1000)
    assert th.equal(bundle.feedback[3], th.zeros(40))


def test_mirrored_feedback_stays_aligned() -> None:
    """Equal changes: the difference of W and E.T stays what it was."""
    th.manual_seed(0)
    circuit = NGCCircuit([4, 32, 32, 2]).double()
    differences = [bundle.weight - bundle.feedback for bundle in circuit.bundles[1:]]  # type: ignore[operator]
    optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)
    x = th.randn(64, 4, dtype=th.float64)
    for _ in range(50):
        learn({circuit: circuit.local_updates(circuit.settle(x, x[:, :2] * x[:, 2:]))}, optimizer)
    for bundle, difference in zip(circuit.bundles[1:], differences, strict=True):
        th.testing.assert_close(bundle.weight - bundle.feedback, difference)  # type: ignore[operator]


def test_learned_feedback_aligns_from_a_random_start() -> None:
    th.manual_seed(0)
    circuit = NGCCircuit([4, 32, 32, 2], mirror_patterns=0, alignment_decay=3.0)
    x = th.randn(256, 4)
    y = th.stack([x[:, 0] * x[:, 1], th.sin(x[:, 2])], dim=1)
    optimizer = th.optim.Adam(circuit.parameters(), lr=1e-2)

    def alignments() -> list[float]:
        return [
            F.cosine_similarity(bundle.weight.flatten(), bundle.feedback.flatten(), dim=0).item()
            for bundle in circuit.bundles
            if bundle.feedback is not None
        ]

    assert max(map(abs, alignments())) < 0.3
    for _ in range(600):
        learn({circuit: circuit.local_updates(circuit.settle(x, y))}, optimizer)
    assert min(alignments()) > 0.9


def test_locality() -> None:
    """A change of synapses that do not touch a bundle's two layers leaves its update unchanged."""
    th.manual_seed(0)
    circuit = NGCCircuit([3, 6, 6, 6, 2], inference_steps=1).double()
    x, y = th.randn(5, 3, dtype=th.float64), th.randn(5, 2, dtype=th.float64)
    state = circuit.settle(x, y)
    updates = circuit.local_updates(state)
    for changed in range(4):
        other = copy.deepcopy(circuit)
        for parameter in other.bundles[changed].parameters():
            parameter.add_(th.randn_like(parameter))
        for name, update in other.local_updates(state).items():
            assert th.equal(update, updates[name])  # an update reads no weights at all
    # ... and of the state, it reads its own two ends alone:
    for changed in range(4):
        other_state = copy.deepcopy(state)
        other_state.errors[changed].add_(1)
        moved = {
            name
            for name, update in circuit.local_updates(other_state).items()
            if not th.equal(update, updates[name])
        }
        assert {name.split(".")[1] for name in moved} == {str(changed)}


def test_modulation_by_hand() -> None:
    """c = sums of |W| into each neuron: (1 + 2, 1 + 0, 2 + 4) -> M_W = min(2c / 6, 1) = (1, 1/3, 1)."""
    circuit = NGCCircuit([2, 3], modulation=True).double()
    circuit.bundles[0].weight.copy_(th.tensor([[1.0, -2.0], [1.0, 0.0], [2.0, 4.0]]))
    into, back = circuit.bundles[0].modulation()
    th.testing.assert_close(into, th.tensor([[1.0], [1 / 3], [1.0]]).double())
    # and out of each neuron, through W's transpose: (4, 6) -> (1, 1)
    th.testing.assert_close(back, th.tensor([[1.0, 1.0]]).double())
    plain = NGCCircuit([2, 3]).double()
    plain.load_state_dict(circuit.state_dict())
    x, y = th.randn(4, 2, dtype=th.float64), th.randn(4, 3, dtype=th.float64)
    expected = plain.local_updates(plain.settle(x, y))["synapses.0.weight"] * into
    th.testing.assert_close(circuit.local_updates(circuit.settle(x, y))["synapses.0.weight"], expected)


def test_modulated_feedback_by_hand() -> None:
    """
    M_E of E = [[1, -2, 4], [0, 1, -4]]: columns sum to c = (1, 3, 8), min(2c / 8, 1) = (1/4, 3/4, 1).
    dE = 0.5 dW * M_E, of the optimizer's change of W.
    """
    circuit = NGCCircuit([2, 3, 2], modulation=True, feedback_rate=0.5).double()
    bundle = circuit.bundles[1]
    assert bundle.feedback is not None
    bundle.feedback.copy_(th.tensor([[1.0, -2.0, 4.0], [0.0, 1.0, -4.0]]))
    modulation = th.tensor([[0.25, 0.75, 1.0]], dtype=th.float64)
    weight, feedback = bundle.weight.clone(), bundle.feedback.clone()
    updates = circuit.local_updates(circuit.settle(th.randn(4, 2).double(), th.randn(4, 2).double()))
    learn({circuit: updates}, th.optim.Adam(circuit.prediction_parameters().values(), lr=0.1))
    th.testing.assert_close(bundle.feedback.data, feedback + 0.5 * (bundle.weight - weight) * modulation)


def test_paper_normalises_updates_and_weights() -> None:
    circuit = NGCCircuit([4, 8, 8, 2], preset="paper").double()
    optimizer = th.optim.SGD(circuit.parameters(), lr=0.1)
    x, y = th.randn(16, 4, dtype=th.float64), th.randn(16, 2, dtype=th.float64)
    state = circuit.settle(x, y)
    updates = circuit.local_updates(state)
    for index in range(3):
        assert updates[f"synapses.{index}.weight"].norm().item() == pytest.approx(1.0)
    learn({circuit: updates}, optimizer)
    for bundle in circuit.bundles:
        assert bundle.weight.norm().item() == pytest.approx(2.0)


def test_max_norm_scales_all_updates_alike() -> None:
    circuits = [NGCCircuit([3, 5, 2], preset="released").double() for _ in range(2)]
    circuits[1].load_state_dict(circuits[0].state_dict())
    x, y = th.randn(4, 3, dtype=th.float64), 10 * th.randn(4, 2, dtype=th.float64)
    before = {name: value.clone() for name, value in circuits[0].named_parameters()}
    for circuit, max_norm in zip(circuits, (float("inf"), 0.5), strict=True):
        updates = circuit.local_updates(circuit.settle(x, y))
        learn({circuit: updates}, th.optim.SGD(circuit.parameters(), lr=1.0), max_norm)
    changes = [
        th.cat([(value - before[name]).flatten() for name, value in circuit.named_parameters()])
        for circuit in circuits
    ]
    assert changes[1].norm().item() == pytest.approx(0.5)
    th.testing.assert_close(changes[0] / changes[0].norm(), changes[1] / changes[1].norm())


def test_transformed_output_is_predicted_and_sends_back_what_its_weights_say() -> None:
    circuit = NGCCircuit([3, 5, 2]).double()
    x, error = th.randn(4, 3, dtype=th.float64), th.randn(4, 2, dtype=th.float64)
    before, returning = circuit.project(x), circuit.bundles[-1].feed_back(error)
    circuit.transform_output(th.tensor(0.25), th.tensor(-3.0))
    th.testing.assert_close(circuit.project(x), 0.25 * before - 3)
    th.testing.assert_close(circuit.bundles[-1].feed_back(error), 0.25 * returning)


def test_updates_that_overflow_change_nothing() -> None:
    circuit = NGCCircuit([3, 4, 2], name="generator")
    before = {name: value.clone() for name, value in circuit.named_parameters()}
    updates = circuit.local_updates(circuit.settle(th.randn(4, 3), th.randn(4, 2)))
    updates["synapses.1.weight"][0, 0] = th.inf
    with pytest.raises(ValueError, match="generator diverged: its local updates are not finite"):
        learn({circuit: updates}, th.optim.Adam(circuit.parameters()))
    for name, value in circuit.named_parameters():
        assert th.equal(value, before[name])


@pytest.mark.parametrize("optimizer_class", [th.optim.SGD, th.optim.Adam, th.optim.RMSprop, th.optim.AdamW])
def test_any_torch_optimizer_lowers_the_energy(optimizer_class: type[th.optim.Optimizer]) -> None:
    th.manual_seed(0)
    circuit = NGCCircuit([3, 16, 16, 2])
    x, y = th.randn(64, 3), th.randn(64, 2)
    optimizer = optimizer_class(circuit.parameters(), lr=1e-3)  # type: ignore[call-arg]
    start = (circuit.project(x) - y).square().mean().item()
    for _ in range(200):
        learn({circuit: circuit.local_updates(circuit.settle(x, y))}, optimizer)
    assert (circuit.project(x) - y).square().mean().item() < 0.95 * start


def test_nothing_can_be_differentiated() -> None:
    circuit = NGCCircuit([3, 4, 2])
    with pytest.raises(RuntimeError, match="does not require grad"):
        circuit.project(th.randn(2, 3)).sum().backward()  # type: ignore[no-untyped-call]


def test_replaced_synapses_are_mirrored_and_learn() -> None:
    th.manual_seed(0)
    circuit = NGCCircuit([3, 40, 30, 2])
    bundle = DenseSynapses(40, 30, bias=True, learned_feedback=True)
    start = bundle.weight.clone()
    circuit.replace_synapses(1, bundle)
    assert bundle.feedback is not None
    assert F.cosine_similarity(start.flatten(), bundle.feedback.flatten(), dim=0) > 0.99
    optimizer = th.optim.SGD(circuit.prediction_parameters().values(), lr=0.1)
    updates = circuit.local_updates(circuit.settle(th.randn(8, 3), th.randn(8, 2)))
    learn({circuit: updates}, optimizer)
    th.testing.assert_close(bundle.weight.data, start + 0.1 * updates["synapses.1.weight"])
    with pytest.raises(
        ValueError, match="bundle of 40 to 31 neurons is not allowed: bundle 1 connects 40 to 30"
    ):
        circuit.replace_synapses(1, DenseSynapses(40, 31, bias=True, learned_feedback=True))
    for index in (-1, 3):
        with pytest.raises(
            ValueError, match=f"index={index} is not allowed: it must be an integer from 0 to 2"
        ):
            circuit.replace_synapses(index, bundle)
