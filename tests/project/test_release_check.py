"""The release check finds each disagreement that is planted, and none where there is none."""

import re
from pathlib import Path

import pytest

from tools.release_check import ROOT, disagreements, main

FILES = {
    "sb3_angc/__init__.py": '__version__ = "1.2.3"\n',
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.3\n",
    "CHANGELOG.md": (
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n\n- New\n\n## [1.2.2] - 2026-01-01\n"
    ),
}


def repository(folder: Path, **changes: tuple[str, str]) -> Path:
    """A repository that is ready for release, with replacements in files by name."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace(*changes.get(path.stem, ("", ""))))
    return folder


def test_agreement(tmp_path: Path) -> None:
    assert disagreements(repository(tmp_path), "v1.2.3") == []
    assert disagreements(repository(tmp_path, CHANGELOG=("## [1.2.3] - 2026-01-31", ""))) == []


@pytest.mark.parametrize(
    ("tag", "name", "change", "expected"),
    [
        ("1.2.3", "", ("", ""), r"the tag is 1\.2\.3, .* asks for v1\.2\.3"),
        ("v1.2.4", "", ("", ""), r"the tag is v1\.2\.4"),
        (None, "CITATION", ("1.2.3", "1.2.2"), r"cites version 1\.2\.2, the package is 1\.2\.3"),
        (None, "__init__", ("1.2.3", "1.2"), "no semantic version"),
        (None, "__init__", ("1.2.3", "1.2.3+local"), "no semantic version"),
        ("v1.2.3", "CHANGELOG", ("## [1.2.3] - 2026-01-31", ""), r"is '\[1\.2\.2\] - 2026-01-01', not"),
        ("v1.2.3", "CHANGELOG", (" - 2026-01-31", ""), r"not '\[1\.2\.3\] - YYYY-MM-DD'"),
        ("v1.2.3", "CHANGELOG", ("[Unreleased]\n", "[Unreleased]\n\n- Later\n"), "under 'Unreleased'"),
        ("v1.2.3", "CHANGELOG", (FILES["CHANGELOG.md"], "# Changelog\n"), "is missing"),
    ],
)
def test_each_disagreement(
    tmp_path: Path, tag: str | None, name: str, change: tuple[str, str], expected: str
) -> None:
    found = disagreements(repository(tmp_path, **{name: change}), tag)
    assert any(re.search(expected, sentence) for sentence in found), found


def test_missing_version(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no version"):
        disagreements(repository(tmp_path, CITATION=("version: 1.2.3", "")))


def test_this_repository_and_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert disagreements(ROOT) == []
    assert main([]) == 0
    assert main(["v0.0.0-none"]) == 1
    assert "the tag is v0.0.0-none" in capsys.readouterr().err
    assert main(["v1", "v2"]) == 2
