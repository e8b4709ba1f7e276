"""What the commands measured stands in the documentation as they wrote it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.experiments import regression
from benchmarks.experiments.ladder import command as ladder
from benchmarks.experiments.settling import command as settling
from benchmarks.experiments.speed import command as speed
from benchmarks.report import pages
from benchmarks.runner import provenance, run
from benchmarks.runner.errors import BenchmarkError


def test_a_page_is_filled_between_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- measured: a -->\nold\n<!-- end: a -->\nbelow\n")
    for _ in range(2):
        pages.fill(page, {"a": "| new \\1 |\n"})
        assert page.read_text() == "above\n<!-- measured: a -->\n| new \\1 |\n<!-- end: a -->\nbelow\n"
    with pytest.raises(BenchmarkError, match="measured: b"):
        pages.fill(page, {"b": "text"})


class Stop(Exception):
    """Where a command is about to measure."""


def test_commands_write_where_git_ignores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None takes what is committed for a user's own, or changes it, unless its folder is named."""
    asked: list[Path] = []

    def stop(folder: Any, *_: Any, **__: Any) -> Any:
        asked.append(Path(folder))
        raise Stop

    study = provenance.ROOT / "benchmarks" / "studies" / "control.yml"
    monkeypatch.setattr(run, "run_study", lambda study, folder, *_: stop(folder.path))
    for module in (regression, ladder, settling):
        monkeypatch.setattr(module, "kept_or_measured", lambda path, *_: stop(path.parent))
    monkeypatch.setattr(speed, "read_json", lambda path: stop(path.parent))
    commands = {
        "studies/control": (run.main, [str(study)]),
        "regression": (regression.main, []),
        "ladder": (ladder.main, []),
        "settling": (settling.main, []),
        "speed": (speed.main, ["--show"]),
        "speed_quick": (speed.main, ["--show", "--quick"]),
    }
    for name, (main, arguments) in commands.items():
        for own in (None, tmp_path / "own"):
            with pytest.raises(Stop):
                main([*arguments, *([] if own is None else ["--output", str(own)])])
            assert asked.pop() == (own or provenance.RUNS / name)
    git = shutil.which("git")
    if git and (provenance.ROOT / ".git").exists():
        for path in (provenance.RUNS / "studies", provenance.ROOT / "benchmarks" / "reports" / "x"):
            subprocess.run([git, "check-ignore", "-q", path], cwd=provenance.ROOT, check=True)


@pytest.mark.parametrize("output", ["benchmarks/results/speed", "elsewhere"])
def test_speed_fills_its_page_where_the_committed_folder_is_named(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(provenance.ROOT if output.startswith("benchmarks") else tmp_path)
    shown: list[Any] = []
    monkeypatch.setattr(speed, "read_json", lambda path: {})
    monkeypatch.setattr(speed, "show", lambda results, folder, filled: shown.append(filled))
    assert speed.main(["--show", "--output", output]) == 0
    assert shown == [speed.PAGE if output.startswith("benchmarks") else None]


@pytest.mark.parametrize(
    ("name", "folder", "page_name"),
    [
        ("regression", regression.FOLDER, "circuit.md"),
        ("settling", settling.FOLDER, "circuit.md"),
        ("ladder", ladder.FOLDER, "ladder.md"),
    ],
)
def test_docs_show_the_committed_tables(name: str, folder: Path, page_name: str, tmp_path: Path) -> None:
    page = pages.DOCS / page_name
    if not (folder / "README.md").exists():
        text = page.read_text(encoding="utf-8")
        assert f"<!-- measured: {name} -->\nNot measured yet" in text  # and no figures of unknown origin
        return
    copy = tmp_path / page_name
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    pages.fill(copy, {name: (folder / "README.md").read_text(encoding="utf-8")})
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
