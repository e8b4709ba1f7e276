"""The Ray engine on a cluster of two nodes, one of which is killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is the extra 'zoo'")

import yaml

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is the extra 'ray'")

ROOT = Path(__file__).resolve().parents[2]


def test_cells_of_a_killed_node_run_again_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray's workers yield to every other process: on a busy machine this would take very long.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    study = {
        "name": "two_nodes",
        "algorithms": [{"algorithm": "dqn", "hyperparams": {"gradient_steps": 64}}],
        "environments": ["CartPole-v1"],
        "seeds": 4,
        "n_timesteps": 6000,
        "evaluations": 2,
        "evaluation_episodes": 2,
        "last_policy_episodes": 2,
    }
    file = tmp_path / "study.yml"
    file.write_text(yaml.safe_dump(study))
    results = tmp_path / "results"
    # The head node has no core of its own: cells run on the two others.
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        doomed = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        command = [sys.executable, "-m", "benchmarks", "run", str(file), "-o", str(results)]
        runner = subprocess.Popen(
            [*command, "--engine", "ray", "--address", cluster.address],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 900
        # Both nodes are in the middle of their second cell, or near it.
        while (
            len(list(results.glob("dqn--*.json"))) < 2
            and runner.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        time.sleep(1)
        cluster.remove_node(doomed, allow_graceful=False)
        _, progress = runner.communicate(timeout=900)
    finally:
        cluster.shutdown()
    assert runner.returncode == 0, progress
    assert "4/4 done" in progress
    for seed in range(4):
        result = json.loads((results / f"dqn--CartPole-v1--{seed}.json").read_text())
        assert result["status"] == "done"
        assert result["cell"]["seed"] == seed
        assert result["curve"]["steps"] == [3000, 6000]
        assert len(result["git"]["commit"]) == 40
