"""What the commands measured stands in the documentation as they wrote it."""

from pathlib import Path

import pytest

pytest.importorskip("rl_zoo3", reason="RL Zoo is in the extra 'bench'")
pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'bench'")

from benchmarks.experiments import ladder, regression
from benchmarks.experiments.settling import command as settling
from benchmarks.report import pages
from benchmarks.runner.errors import BenchmarkError


def test_a_page_is_filled_between_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- measured: a -->\nold\n<!-- end: a -->\nbelow\n")
    for _ in range(2):
        pages.fill(page, {"a": "| new \\1 |\n"})
        assert page.read_text() == "above\n<!-- measured: a -->\n| new \\1 |\n<!-- end: a -->\nbelow\n"
    with pytest.raises(BenchmarkError, match="measured: b"):
        pages.fill(page, {"b": "text"})


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
