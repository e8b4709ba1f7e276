"""
A circuit alone, without reinforcement learning: regression, beside backpropagation on the same data.

Both start from the same weights: without noise in the data, what is left of the error depends on them more
than on how the weights are learned, as the last line shows.
"""

import argparse
from itertools import pairwise

import torch as th
from torch import nn

from sb3_angc import NGCCircuit
from sb3_angc.circuit import learn

SIZES = [2, 64, 64, 1]
LEARNING_RATE = 3e-3  # falls to 0


def target(x: th.Tensor) -> th.Tensor:
    return th.sin(3 * x[:, :1]) * x[:, 1:]


def make_network(circuit: NGCCircuit | None) -> nn.Sequential:
    """An ordinary network, with the weights of a circuit or with torch's own."""
    first, second, third = (nn.Linear(n_in, n_out) for n_in, n_out in pairwise(SIZES))
    if circuit is not None:
        for layer, synapses in zip((first, second, third), circuit.bundles, strict=True):
            layer.load_state_dict({"weight": synapses.weight, "bias": synapses.bias})
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def train(model: nn.Module, x: th.Tensor, y: th.Tensor, steps: int) -> None:
    optimizer = th.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        batch = th.randint(len(x), (64,))
        if isinstance(model, NGCCircuit):
            with th.no_grad():
                state = model.settle(x[batch], y[batch])  # hidden layers between clamped input and output
                learn({model: model.local_updates(state)}, optimizer)
        else:
            loss = 0.5 * (model(x[batch]) - y[batch]).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    th.manual_seed(arguments.seed)
    x, x_test = 2 * th.rand(1024, 2) - 1, 2 * th.rand(1024, 2) - 1
    y, y_test = target(x), target(x_test)
    circuit = NGCCircuit(SIZES)
    models: dict[str, nn.Module] = {
        "circuit": circuit,
        "backpropagation": make_network(circuit),
        "backpropagation, torch's initial weights": make_network(None),
    }
    print("test error, as share of the target's variance")
    for name, model in models.items():
        th.manual_seed(arguments.seed)  # the same batches
        train(model, x, y, arguments.steps)
        with th.no_grad():
            print(f"{name:42} {(model(x_test) - y_test).square().mean() / y_test.var():.5f}")


if __name__ == "__main__":
    main()
