"""A circuit alone, without reinforcement learning: regression, beside backpropagation on the same data."""

import argparse
from itertools import pairwise

import torch as th
from torch import nn

from sb3_angc import NGCCircuit
from sb3_angc.circuit import learn

SIZES = [2, 64, 64, 1]


def target(x: th.Tensor) -> th.Tensor:
    return th.sin(3 * x[:, :1]) * x[:, 1:]


def train_circuit(x: th.Tensor, y: th.Tensor, steps: int) -> nn.Module:
    circuit = NGCCircuit(SIZES)
    optimizer = th.optim.Adam(circuit.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = th.randint(len(x), (64,))
        state = circuit.settle(x[batch], y[batch])  # hidden layers between clamped input and output
        learn({circuit: circuit.local_updates(state)}, optimizer)
    return circuit


def train_backpropagation(x: th.Tensor, y: th.Tensor, steps: int) -> nn.Module:
    first, second, third = (nn.Linear(n_in, n_out) for n_in, n_out in pairwise(SIZES))
    network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
    optimizer = th.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = th.randint(len(x), (64,))
        loss = 0.5 * (network(x[batch]) - y[batch]).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    th.set_num_threads(1)  # more threads only slow small layers down
    th.manual_seed(arguments.seed)
    x, x_test = 2 * th.rand(1024, 2) - 1, 2 * th.rand(1024, 2) - 1
    y, y_test = target(x), target(x_test)
    print(f"variance of the target   {y_test.var():.5f}")
    for name, train in (("circuit", train_circuit), ("backpropagation", train_backpropagation)):
        th.manual_seed(arguments.seed)
        with th.no_grad() if train is train_circuit else th.enable_grad():
            model = train(x, y, arguments.steps)
        with th.no_grad():
            print(f"{name + ', test error':24} {(model(x_test) - y_test).square().mean():.5f}")


if __name__ == "__main__":
    main()
