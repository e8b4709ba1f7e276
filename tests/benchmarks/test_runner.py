"""The study runner: real cells in real processes, and its bookkeeping with an engine that pretends."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")
pytest.importorskip("rich", reason="rich is in the extra 'bench'")

import yaml

from benchmarks.__main__ import main
from benchmarks.runner import cell as runner_cell
from benchmarks.runner.cell import merge, run_cell, steps_to_threshold
from benchmarks.runner.engines import Event, failure
from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.ray_engine import check_address
from benchmarks.runner.results import ResultsFolder, write_json
from benchmarks.runner.run import run_study
from benchmarks.runner.study import Cell, parse_study

ROOT = Path(__file__).resolve().parents[2]
ENV = "CartPole-v1"
STUDY: dict[str, Any] = {
    "name": "tiny",
    "algorithms": [{"algorithm": "dqn", "hyperparams": {"learning_starts": 100}}],
    "environments": [ENV],
    "seeds": 1,
    "n_timesteps": 600,
    "evaluations": 3,
    "evaluation_episodes": 2,
    "last_policy_episodes": 4,
}


def study_file(folder: Path, **changes: Any) -> Path:
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


def start(file: Path, results: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks", "run", str(file), "-o", str(results), "--jobs", "1"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def run(file: Path, results: Path) -> tuple[int, str]:
    process = start(file, results)
    _, progress = process.communicate(timeout=240)
    return process.returncode, progress


def test_a_cell_is_the_zoos_own_training_and_a_bad_cell_does_not_stop_it(tmp_path: Path) -> None:
    angc = {
        "algorithm": "angc",
        "label": "tied",
        "preset": "benchmarks/presets/tuned_angc.yml",
        "hyperparams": {"learning_starts": 100, "policy_kwargs": {"circuit_kwargs": {"feedback": "tied"}}},
    }
    bad = {"algorithm": "dqn", "label": "bad", "hyperparams": {"no_such_argument": 1}}
    file = study_file(tmp_path, algorithms=[bad, angc, *STUDY["algorithms"]])
    status, progress = run(file, tmp_path / "results")
    assert status == 1
    assert "2/3 done, 0 running, 1 failed" in progress
    results = ResultsFolder(tmp_path / "results").read()

    failed = results[f"bad--{ENV}--0"]
    assert failed["status"] == "failed"
    assert "unexpected keyword argument 'no_such_argument'" in failed["error"]

    tied = results[f"tied--{ENV}--0"]
    packaged = yaml.safe_load((ROOT / "benchmarks" / "presets" / "tuned_angc.yml").read_text())[ENV]
    # Completed from the preset, not in its place.
    assert tied["settings"]["policy_kwargs"]["net_arch"] == packaged["policy_kwargs"]["net_arch"]
    assert tied["settings"]["policy_kwargs"]["circuit_kwargs"]["feedback"] == "tied"

    result = results[f"dqn--{ENV}--0"]
    logs = tmp_path / "logs"
    command = ["train", "--algo", "dqn", "--env", ENV, "-n", "600", "--seed", "0", "-f", str(logs)]
    command += ["--eval-freq", "200", "--eval-episodes", "2", "--n-eval-envs", "2", "--num-threads", "1"]
    command += ["--device", "cpu", "-params", "learning_starts:100"]
    subprocess.run(
        [sys.executable, "-m", "sb3_angc.zoo", *command], cwd=ROOT, check=True, capture_output=True
    )
    log = np.load(logs / "dqn" / f"{ENV}_1" / "evaluations.npz")
    assert result["curve"]["steps"] == log["timesteps"].tolist() == [200, 400, 600]
    assert result["curve"]["returns"] == log["results"].tolist()
    assert len(result["last_policy"]["returns"]) == 4
    seconds = result["seconds"]
    assert min(seconds.values()) > 0
    assert seconds["collect"] + seconds["train"] + seconds["evaluate"] < seconds["total"]
    assert {"python", "torch", "stable_baselines3", "rl_zoo3"} <= set(result["versions"])

    # A second call does nothing: failures are recorded, not repeated.
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*--*.json")}
    assert run(file, tmp_path / "results")[0] == 1
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*--*.json")} == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the cell's process through /proc")
def test_a_killed_runner_leaves_no_process_and_is_resumed(tmp_path: Path) -> None:
    file = study_file(tmp_path, seeds=2)
    results = tmp_path / "results"
    runner = start(file, results)
    first, second = (results / f"dqn--{ENV}--{seed}.json" for seed in (0, 1))
    wait_for(first.exists)
    cell = wait_for(lambda: children(runner.pid))[0]
    time.sleep(1)
    assert not second.exists()
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    wait_for(lambda: not running(cell))
    done = first.read_bytes(), first.stat().st_mtime_ns
    assert not second.exists()

    status, progress = run(file, results)
    assert status == 0
    assert "2/2 done" in progress
    assert (first.read_bytes(), first.stat().st_mtime_ns) == done
    assert json.loads(second.read_text())["cell"]["seed"] == 1


def wait_for(condition: Any) -> Any:
    """Poll for at most two minutes."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("address", ["auto", "nonsense", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000"])
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(BenchmarkError, match=f"--address {address}: .*HOST:PORT"):
        check_address(address)


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_address(address)
        check_address(f"ray://{address}")
    with pytest.raises(BenchmarkError, match=f"--address {address}: no Ray cluster answers there"):
        check_address(address)


class Pretend:
    """An engine whose cells succeed at once, but for those of the seed 1."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, cells: Sequence[Cell]) -> Generator[Event, None, None]:
        for cell in cells:
            self.ran.append(cell.name)
            yield cell, None
            if cell.seed == 1:
                yield cell, failure(cell, "out of luck")
            else:
                done = {"format": 1, "cell": cell.as_dict(), "status": "done", "seconds": {"total": 1.0}}
                yield cell, done


def test_seeds_are_interleaved_and_only_what_is_missing_runs(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    study = parse_study({**STUDY, "environments": [ENV, "Acrobot-v1"], "seeds": 2})
    engine = Pretend()
    assert run_study(study, folder, engine) == 2
    assert engine.ran == [f"dqn--{env}--{seed}" for seed in (0, 1) for env in (ENV, "Acrobot-v1")]

    folder.discard([f"dqn--{ENV}--0"])
    engine = Pretend()
    run_study(study, folder, engine)
    assert engine.ran == [f"dqn--{ENV}--0"]

    engine = Pretend()
    run_study(study, folder, engine, retry_failed=True)
    assert engine.ran == [f"dqn--{ENV}--1", "dqn--Acrobot-v1--1"]

    # More seeds are added to what is there.
    engine = Pretend()
    run_study(parse_study({**STUDY, "environments": [ENV, "Acrobot-v1"], "seeds": [0, 1, 2]}), folder, engine)
    assert engine.ran == [f"dqn--{ENV}--2", "dqn--Acrobot-v1--2"]


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    run_study(parse_study(STUDY), folder, Pretend())
    for changes, expected in (
        ({"name": "other"}, "holds the study 'tiny'"),
        ({"n_timesteps": 601}, "other settings"),
    ):
        with pytest.raises(BenchmarkError, match=f"{expected}.*--force"):
            run_study(parse_study({**STUDY, **changes}), folder, Pretend())
    folder.clear()
    assert not list(tmp_path.iterdir())


def test_a_finished_cell_of_other_settings_is_named_with_them(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    run_study(parse_study(STUDY), folder, Pretend())
    for hyperparams, changed in (
        ({"learning_starts": 9}, "hyperparams.learning_starts was 100 and is 9"),
        ({"learning_starts": 100, "gamma": 0.9}, "hyperparams.gamma was '(not set)' and is 0.9"),
        ({}, "hyperparams.learning_starts was 100 and is '(not set)'"),
        ({"learning_starts": 100, "tau": None}, "hyperparams.tau was '(not set)' and is None"),
    ):
        other = parse_study({**STUDY, "algorithms": [{"algorithm": "dqn", "hyperparams": hyperparams}]})
        with pytest.raises(BenchmarkError) as refused:
            run_study(other, folder, Pretend())
        name = f"dqn--{ENV}--0"
        assert f"{name} was run with other settings, {changed}: delete {tmp_path / name}.json" in str(
            refused.value
        )


def test_a_cell_that_failed_is_run_with_corrected_settings(tmp_path: Path) -> None:
    """And what did not fail stays."""
    folder = ResultsFolder(tmp_path)
    good = {"algorithm": "dqn"}
    wrong, right = ({"algorithm": "dqn", "label": "other", "hyperparams": {"tau": tau}} for tau in (-1, 1))
    assert run_study(parse_study({**STUDY, "algorithms": [good, wrong], "seeds": [0, 1]}), folder, Pretend())
    folder.discard([f"other--{ENV}--0"])
    engine = Pretend()
    study = parse_study({**STUDY, "algorithms": [good, right], "seeds": [0, 1]})
    assert run_study(study, folder, engine) == 2
    assert engine.ran == [f"other--{ENV}--0", f"other--{ENV}--1"]
    assert folder.read()[f"other--{ENV}--1"]["cell"]["hyperparams"] == {"tau": 1}


def test_force_deletes_nothing_where_the_command_is_refused(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "results")
    run_study(parse_study(STUDY), folder, Pretend())
    kept = {path: path.read_bytes() for path in folder.path.iterdir()}
    command = ["run", str(study_file(tmp_path)), "-o", str(folder.path), "--force"]
    assert main([*command, "--engine", "warp"]) == 2
    assert main([*command, "--jobs", "0"]) == 2
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == kept


def test_a_half_written_result_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    folder = ResultsFolder(tmp_path)
    study = parse_study(STUDY)
    folder.open_for(study)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", power_cut)
        with pytest.raises(KeyboardInterrupt):
            write_json(folder.file(study.cells[0].name), {"format": 1})
    assert folder.read() == {}
    engine = Pretend()
    run_study(study, folder, engine)
    assert engine.ran == [f"dqn--{ENV}--0"]


def test_dictionaries_are_completed_from_the_preset() -> None:
    preset = {
        "gamma": 0.9,
        "policy_kwargs": "dict(net_arch=[256], optimizer_kwargs=dict(eps=1e-3, weight_decay=0))",
    }
    overrides = {"gamma": 0.5, "policy_kwargs": {"circuit": "paper", "optimizer_kwargs": {"eps": 0.1}}}
    assert merge(preset, overrides) == {
        "gamma": 0.5,
        "policy_kwargs": {
            "net_arch": [256],
            "circuit": "paper",
            "optimizer_kwargs": {"eps": 0.1, "weight_decay": 0},
        },
    }


def test_what_a_study_s_entries_have_in_common_is_completed_by_each() -> None:
    common: dict[str, Any] = {
        "algorithm": "angc",
        "preset": "a.yml",
        "hyperparams": {"gamma": 0.9, "policy_kwargs": {"circuit": "ngc", "net_arch": [4]}},
    }
    entries = [
        {"label": "as it is"},
        {"label": "changed", "hyperparams": {"tau": 0.5, "policy_kwargs": {"net_arch": [8]}}},
        {"algorithm": "dqn", "preset": "b.yml", "hyperparams": {"policy_kwargs": None}},
    ]
    first, second, third = parse_study({**STUDY, "common": common, "algorithms": entries}).cells
    assert (first.algorithm, first.preset, first.hyperparams) == ("angc", "a.yml", common["hyperparams"])
    assert second.hyperparams == {
        "gamma": 0.9,
        "tau": 0.5,
        "policy_kwargs": {"circuit": "ngc", "net_arch": [8]},
    }
    assert (third.algorithm, third.preset) == ("dqn", "b.yml")
    assert third.hyperparams == {"gamma": 0.9, "policy_kwargs": None}
    # What one entry says reaches neither the others nor what they have in common.
    assert common["hyperparams"]["policy_kwargs"] == {"circuit": "ngc", "net_arch": [4]}


def test_the_smallest_numbers_count_as_zero_in_the_process_of_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smallest = th.tensor(1e-40)
    monkeypatch.setattr(runner_cell, "run_cell", lambda *_: {"half": float(smallest / 2)})
    monkeypatch.setattr(runner_cell, "exit_with_parent", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own stays
    [cell] = parse_study(STUDY).cells
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(cell.as_dict())))
    monkeypatch.setattr("sys.argv", ["cell", str(tmp_path / "result.json")])
    assert float(smallest / 2) > 0
    try:
        runner_cell.main()
    finally:
        th.set_flush_denormal(False)
    assert json.loads((tmp_path / "result.json").read_text()) == {"half": 0.0}


def test_what_the_zoo_adds_to_its_settings_is_not_in_the_record_of_a_cell(tmp_path: Path) -> None:
    algorithm = {"algorithm": "dqn", "hyperparams": {"normalize": {"norm_obs": True, "norm_reward": False}}}
    [cell] = parse_study({**STUDY, "algorithms": [algorithm]}).cells
    planned = cell.as_dict()
    assert run_cell(cell, str(tmp_path))["cell"] == planned


def test_steps_to_threshold_is_the_first_evaluation_whose_mean_reaches_it() -> None:
    returns = [[0.0, 600.0], [400.0, 550.0], [500.0, 500.0]]
    assert steps_to_threshold([10, 20, 30], returns, 475.0) == 20
    assert steps_to_threshold([10, 20, 30], returns, 501.0) is None


@pytest.mark.parametrize("text", ["lin_1e-3", "inf", "auto_0.1", "dict(net_arch=[64])", "", "T2"])
def test_text_that_is_no_number_is_taken(text: str) -> None:
    [cell] = parse_study({**STUDY, "algorithms": [{"algorithm": "dqn", "hyperparams": {"a": text}}]}).cells
    assert cell.hyperparams == {"a": text}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "../elsewhere"}, "names a folder"),
        ({"seed": 3}, "unknown key 'seed' in a study"),
        ({"seeds": "many"}, "must be a number of seeds"),
        ({"seeds": [1, 1]}, "seeds: 1 is named twice"),
        ({"seeds": 0}, "must be a number of seeds"),
        ({"n_timesteps": "1e4"}, "must be a whole number above 0, not '1e4'"),
        ({"seeds": [2**32]}, "whole numbers from 0 to 2**32 - 1, not [4294967296]"),
        ({"environments": ["CartPol-v1"]}, "none of CartPole-v1, MountainCar-v0"),
        ({"environments": ["Pong-v0"]}, "give its threshold and random_return"),
        ({"environments": {ENV: {"threshold": 3, "random_return": 3}}}, "threshold 3 must be above"),
        ({"environments": {ENV: {"threshold": np.inf, "random_return": 3}}}, "must be a number, not inf"),
        ({"environments": {ENV: {"threshold": 3}}}, "lacks the key 'random_return'"),
        ({"environments": {ENV: {"threshold": "high", "random_return": 0}}}, "must be a number, not 'high'"),
        ({"environments": [{ENV: None}]}, "environments: must be a list of names"),
        ({"environments": {}}, "at least one entry"),
        ({"algorithms": [{"algorithm": "dqn", "hyperparams": 5}]}, "hyperparams: must be of type dict"),
        (
            {"algorithms": [{"algorithm": "dqn", "hyperparams": {"gamma": np.nan}}]},
            "hyperparams: 'gamma' must",
        ),
        ({"algorithms": [{"algorithm": "dqn", "hyperparams": {3: 1}}]}, "hyperparams: 3 must be text"),
        *(
            (
                {"algorithms": [{"algorithm": "dqn", "hyperparams": {"a": [{"b": text}]}}]},
                f"hyperparams: 'a' must not be the text '{text}': write {number}",
            )
            for text, number in {"1e-3": "1.0e-3", "2.5E4": "2.5e+4", "-3": "-3"}.items()
        ),
        (
            {"algorithms": [{"algorithm": "dqn", "hyperparams": {"n_timesteps": 5}}]},
            "n_timesteps: 600 for all, and 5 in the hyperparams of dqn: give one of them",
        ),
        (
            {"algorithms": [{"algorithm": "dqn", "hyperparams": {"a": {"b": date(2020, 1, 1)}}}]},
            "hyperparams: 'a' must be made of text, finite numbers",
        ),
        ({"algorithms": ["dqn"]}, "a mapping with the key algorithm, not 'dqn'"),
        ({"algorithms": [{"algorithm": "dqn", "label": "//"}]}, "label: '//' names files"),
        ({"algorithms": [{"algorithm": "dqn", "preset": 5}]}, "preset: must be of type str"),
        ({"algorithms": [{"algorithm": "dqn", "preset": "no_such.yml"}]}, "preset: there is no "),
        ({"gym_packages": "ale_py"}, "gym_packages: must be a list of names, not 'ale_py'"),
        ({"algorithms": []}, "at least one entry"),
        ({"algorithms": [{"label": "x"}]}, "lacks the key 'algorithm'"),
        ({"algorithms": [{"algorithm": "dqn"}, {"algorithm": "dqn"}]}, "different labels"),
        ({"common": 5}, "common must be a mapping with the keys algorithm, hyperparams, preset, not 5"),
        ({"common": {"label": "x"}}, "unknown key 'label' in common"),
        ({"common": {"hyperparams": [1]}}, "hyperparams: must be of type dict, not [1]"),
        ({"algorithms": [{"algorithm": "dqnn"}]}, "unknown algorithm 'dqnn': did you mean dqn"),
        ({"algorithms": [{"algorithm": "zzz"}]}, "unknown algorithm 'zzz': use one of a2c, angc"),
        (
            {"algorithms": [{"algorithm": "dqn", "preset": "no_such.module"}]},
            "preset: No module named 'no_such'",
        ),
        (
            {"environments": {"CartPole-v9": {"threshold": 3, "random_return": 0}}},
            "unknown environment 'CartPole-v9'",
        ),
        (
            {"environments": {"Zzzz-v0": {"threshold": 3, "random_return": 0}}},
            "unknown environment 'Zzzz-v0': if a package registers it, name that under gym_packages",
        ),
        ({"gym_packages": ["no_such_package"]}, "No module named 'no_such_package'"),
    ],
)
def test_a_bad_study_is_refused_in_one_line(
    changes: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(study_file(tmp_path, **changes)), "-o", str(tmp_path / "results")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nowhere.yml"], "nowhere.yml: cannot be read"),
        (["run", "STUDY", "--engine", "warp"], "unknown engine 'warp': use local or ray"),
        (["run", "STUDY", "--address", "auto"], "add --engine ray"),
        (["run", "STUDY", "--jobs", "0"], "at least one cell"),
        (["run", "BROKEN"], "not a YAML file"),
        (["run", "BINARY"], "not a YAML file"),
        (["run", "STUDY", "-o", "BROKEN"], "broken.yml: is a file, name a folder with --output"),
        (["fly"], "usage: python -m benchmarks {run,report"),
    ],
)
def test_a_bad_command_line_is_refused_in_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("name: [")
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"\xff\xfe\x80")
    files = {"STUDY": str(study_file(tmp_path)), "BROKEN": str(broken), "BINARY": str(binary)}
    output = ["-o", str(tmp_path / "results")] if arguments[0] == "run" and "-o" not in arguments else []
    assert main([files.get(word, word) for word in arguments] + output) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line


def test_what_studies_need_is_named_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "rl_zoo3.utils", None)
    assert main(["run", str(ROOT / "benchmarks" / "studies" / "control.yml")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("studies need pip install -e '.[bench]'")
