"""The arithmetic of the speed measurements, and a short run of the whole command."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch as th
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.__main__ import main
from benchmarks.experiments.speed import (
    agents,
    breakdown,
    command,
    compiled,
    figure,
    gpu,
    growth,
    page,
    products,
    timing,
)
from benchmarks.experiments.speed.command import FOLDER, PAGE, SECTIONS
from benchmarks.experiments.speed.plan import FULL, QUICK
from benchmarks.experiments.speed.products import Product
from benchmarks.experiments.speed.timing import Pairs, Sample
from benchmarks.report import pages
from sb3_angc.circuit import NGCCircuit


def test_ratio_is_the_median_of_pairs_not_the_ratio_of_medians() -> None:
    """Pairs 1/1, 4/2, 9/3: ratios 1, 2, 3, quartiles 1.5 and 2.5; processor 3/1, 1/1, 2/1: 1, 2, 3 too."""
    ours = [Sample(1.0, 3.0), Sample(4.0, 1.0), Sample(9.0, 2.0)]
    theirs = [Sample(1.0, 1.0), Sample(2.0, 1.0), Sample(3.0, 1.0)]
    pairs = Pairs(ours, theirs)
    assert pairs.ratio() == timing.Ratio(median=2.0, low=1.5, high=2.5)
    # A machine that is 10 times slower during one pair moves no ratio.
    slowed = Pairs([ours[0], ours[1], Sample(90.0, 20.0)], [theirs[0], theirs[1], Sample(30.0, 10.0)])
    assert slowed.ratio() == pairs.ratio()
    assert slowed.ratio("processor") == pairs.ratio("processor")
    assert pairs.as_dict()["ours"] == {"wall": 4.0, "processor": 2.0}
    assert pairs.as_dict()["theirs"] == {"wall": 2.0, "processor": 1.0}
    assert pairs.as_dict()["pairs"] == 3


def test_samples_are_taken_in_turn_and_for_one_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the work moves: ours takes 6, theirs 2, three units in each call."""
    now, order = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: now[0] / 2)

    def work(name: str, seconds: float) -> timing.Work:
        def do() -> None:
            order.append(name)
            now[0] += seconds

        return do

    # A sample of 6 processor seconds: 2 calls of ours (3 each), 6 of theirs (1 each).
    pairs = timing.in_turn(work("a", 6.0), work("b", 2.0), pairs=2, seconds=6.0, units=3)
    assert "".join(order) == "aaa" + "bbb" + ("aa" + "b" * 6) * 2
    assert pairs.ours == (Sample(2.0, 1.0),) * 2
    assert pairs.theirs == (Sample(2 / 3, 1 / 3),) * 2
    assert pairs.ratio().median == pytest.approx(3)


def test_products_of_a_settled_update_by_hand() -> None:
    """Sizes 8-5-6-4, batch 3, T = 2: 3 predictions, twice 2 in and 2 out, 3 Hebbian products."""
    counted = products.settled([8, 5, 6, 4], batch=3, sweeps=2)
    sweep = [Product(3, 4, 6), Product(3, 6, 5), Product(3, 5, 6, "second"), Product(3, 6, 4, "second")]
    assert counted == [
        Product(3, 8, 5, "second"),
        Product(3, 5, 6, "second"),
        Product(3, 6, 4, "second"),
        *sweep,
        *sweep,
        Product(5, 3, 8, "first"),
        Product(6, 3, 5, "first"),
        Product(4, 3, 6, "first"),
    ]
    # 2 * 3 * (40 + 30 + 24) forward and Hebbian each, 2 * 3 * 2 * (30 + 24) for each sweep
    assert sum(product.flops for product in counted) == 2 * 564 + 2 * 648


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("sizes", [[8, 4], [8, 5, 4], [8, 5, 6, 4], [3, 7, 6, 5, 2]], ids=str)
def test_floor_is_what_torch_counts_in_a_circuit(sizes: list[int], steps: int) -> None:
    x, y = th.randn(3, sizes[0]), th.randn(3, sizes[-1])
    for circuit, counted in (
        (NGCCircuit(sizes, "settled", inference_steps=steps), products.settled(sizes, 3, steps)),
        (NGCCircuit(sizes, "released"), products.scheduled(sizes, 3)),
    ):
        with FlopCounterMode(display=False) as counter:
            circuit.local_updates(circuit.settle(x, y))
        assert sum(product.flops for product in counted) == counter.get_total_flops()


@pytest.mark.parametrize("circuit", ["settled", "released"])
@pytest.mark.parametrize("alpha_epistemic", [0.0, 0.1])
def test_floor_is_what_torch_counts_in_train(circuit: str, alpha_epistemic: float) -> None:
    agent = agents.angc(100, circuit, alpha_epistemic=alpha_epistemic, policy_kwargs={"net_arch": [7, 6]})
    counted = products.agent_update(agent.policy, 5, with_generator=alpha_epistemic > 0)
    with FlopCounterMode(display=False) as counter:
        agent.train(gradient_steps=2, batch_size=5)
    assert 2 * sum(product.flops for product in counted) == counter.get_total_flops()


def test_bare_products_have_the_shapes_and_layouts_of_the_circuit() -> None:
    for product in products.settled([8, 5, 6, 4], 3, 1):
        first, second = product.operands()
        assert (first @ second).shape == (product.rows, product.columns)
        assert first.is_contiguous() == (product.transposed != "first")
        assert second.is_contiguous() == (product.transposed != "second")
    with FlopCounterMode(display=False) as counter:
        products.bare(products.settled([8, 5, 6, 4], 3, 2))()
    assert counter.get_total_flops() == 2 * 564 + 2 * 648


def test_agents_have_equal_settings_and_buffers_of_real_transitions() -> None:
    angc, dqn = agents.angc(200), agents.dqn(200)
    for agent in (angc, dqn):
        assert agent.batch_size == 128
        assert agent.train_freq.frequency == 4  # type: ignore[union-attr]
        assert agent.gradient_steps == 4
        buffer = agent.replay_buffer
        assert buffer is not None
        assert buffer.size() == 200
        # What was seen after a step is what the next step starts from, within an episode.
        goes_on = buffer.dones[:199, 0] == 0
        assert goes_on.sum() > 190
        assert (buffer.next_observations[:199][goes_on] == buffer.observations[1:200][goes_on]).all()
    assert angc.policy.controller.layer_sizes == [8, 256, 256, 4]
    assert [layer.out_features for layer in dqn.q_net.q_net if hasattr(layer, "out_features")] == [
        256,
        256,
        4,
    ]
    assert angc._n_updates == dqn._n_updates == 0


class Event:
    """What ``shares`` reads of a profiler's event."""

    def __init__(self, name: str, own: float, parent: "Event | None" = None) -> None:
        self.name, self.self_cpu_time_total, self.cpu_parent = name, own, parent


def test_shares_of_a_profile_by_hand() -> None:
    """
    An update of 100: 5 + 3 of sampling, 30 + 20 in products, 10 of optimizer and 2 of its mul, 8 + 2
    of other operations, 20 of its own; an event outside of it does not count.
    """
    update = Event("update", 20)
    sampling, step = Event("sampling", 5, update), Event("Optimizer.step#Adam.step", 10, update)
    linear = Event("aten::linear", 2, update)
    events = [
        update,
        sampling,
        Event("aten::to", 3, sampling),
        linear,
        Event("aten::addmm", 30, linear),
        Event("aten::mm", 20, update),
        step,
        Event("aten::mul", 2, step),
        Event("aten::mul", 8, update),
        Event("aten::mul", 1000),
    ]
    assert breakdown.shares(events) == pytest.approx(
        {"products": 0.5, "other operations": 0.1, "optimizer": 0.12, "sampling": 0.08, "Python": 0.2}
    )


def test_grid_covers_every_size_once() -> None:
    cells = growth.grid(FULL)
    assert len({tuple(cell.items()) for cell in cells}) == len(cells) == 3 * 3 + 3 * 2 + 2
    axes = {
        "steps": FULL.growth_steps,
        "width": FULL.widths,
        "batch": FULL.batches,
        "depth": FULL.depths,
    }
    for axis, sizes in axes.items():
        assert [cell[axis] for cell in figure.along(cells, axis)] == list(sizes)
        others = set(growth.BASE) - {axis}
        assert all(cell[name] == growth.BASE[name] for cell in figure.along(cells, axis) for name in others)


def test_a_machine_that_cannot_compile_is_told() -> None:
    [row] = compiled.measure(replace(QUICK, compiler="no_such_compiler"), print)
    assert "traced, not compiled (no_such_compiler) / as it is" in row["name"]
    assert FULL.compiled == "compiled"
    assert "torch.compile does not work here" in row["missing"]
    assert "no_such_compiler" in row["missing"]
    assert row["missing"] in page.table({"rows": [row], **command.conditions(), "load": 0.0})


def test_where_there_is_no_gpu_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.cuda, "is_available", lambda: False)
    (row,) = gpu.measure(FULL, print)
    assert "no GPU" in row["missing"]


def test_quick_run_writes_complete_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--quick", "--output", str(tmp_path)]) == 0
    results: dict[str, Any] = json.loads((tmp_path / "speed.json").read_text())
    assert set(results) == set(SECTIONS)
    for section in results.values():
        assert {"versions", "hardware", "git", "date", "load"} <= set(section)
    names = " ".join(row["name"] for row in results["table"]["rows"])
    for part in ("settled", "released", "128", "10", "predict", "time", "memory"):
        assert part in names
    for row in results["table"]["rows"]:
        if "missing" in row:
            assert "sbx" in row["missing"]
            assert not agents.has_sbx()
            continue
        clock = "bytes" if "memory" in row["name"] else "wall"
        assert row["ours"][clock] > 0
        assert row["ratio"][clock]["low"] <= row["ratio"][clock]["median"] <= row["ratio"][clock]["high"]
    assert [row["name"].split(" / ")[1] for row in results["gpu"]["rows"]] == [
        "SB3 DQN, width 16, batch 8, on cpu",
        "SB3 DQN, images of 36 x 36 x 4, batch 32, on cpu",
    ]
    assert all(row["ours"]["wall"] > 0 for row in results["gpu"]["rows"])
    assert [row["name"].split(", ")[3] for row in results["images"]["rows"]] == [
        "as it is / SB3 DQN",
        "traced",
    ]
    assert [row["name"].split(" / ")[1] for row in results["continuous"]["rows"]] == [
        "SB3 SAC",
        "SB3 TD3",
    ] * 2
    memory = results["table"]["rows"][-1]
    assert 100 * 2**20 < memory["ours"]["bytes"] < 4 * 2**30  # torch alone is more than 100 MiB
    assert len(results["growth"]["rows"]) == len(growth.grid(QUICK))
    for shares in results["profile"]["profiles"].values():
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share > 0 for share in shares.values())
    assert len(results["compiled"]["rows"]) == 2 + 5 + len(
        QUICK.steps
    )  # and the updates of the table, and of `ngc`
    for row in results["compiled"]["rows"]:  # torch's eager backend compiles nothing
        assert ", traced, not compiled (eager)" in row["name"]
        assert "compile_seconds" not in row
    written = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text().strip() == written.strip()
    for suffix in ("png", "svg"):
        assert (tmp_path / f"growth.{suffix}").stat().st_size > 5000
    # What is there can be shown again without measuring.
    before = (tmp_path / "speed.json").read_bytes()
    assert main(["speed", "--show", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == written
    assert (tmp_path / "speed.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["colour"], "colour"), (["--show", "--output", "nowhere"], "nowhere"), (["--slow"], "--slow")],
)
def test_bad_arguments_are_refused(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["speed", *arguments]) == 2
    assert named in capsys.readouterr().err


def test_docs_show_the_committed_results(tmp_path: Path) -> None:
    results = json.loads((FOLDER / "speed.json").read_text(encoding="utf-8"))
    copy = tmp_path / "performance.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    pages.fill(copy, page.texts(results))
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
