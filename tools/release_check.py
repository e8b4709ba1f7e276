"""
Demands that everything that names the version names the same one: ``python -m tools.release_check v1.2.3``.

Without a tag, version and citation are compared; with one, the changelog must have its release too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# https://semver.org, without build metadata, which package indexes refuse
SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")


def disagreements(root: Path, tag: str | None = None) -> list[str]:
    """
    Compare version, citation and, for a release, tag and changelog.

    :param root: The repository
    :param tag: The release's tag, ``v`` and the version; ``None`` between releases
    :return: What does not agree, one sentence each; empty if all does
    :raises ValueError: If a file does not name a version where it should
    """
    version = _find(root / "sb3_angc" / "__init__.py", r'^__version__ = "(.+)"$')
    cited = _find(root / "CITATION.cff", r"^version: (.+)$")
    found = []
    if not SEMANTIC_VERSION.fullmatch(version):
        found.append(f"__version__ is {version!r}, which is no semantic version such as '1.2.3'")
    if cited != version:
        found.append(f"CITATION.cff cites version {cited}, the package is {version}")
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"the tag is {tag}, the package's version asks for v{version}")
        found += _changelog_disagreements(root / "CHANGELOG.md", version)
    return found


def _changelog_disagreements(changelog: Path, version: str) -> list[str]:
    """The newest release must be this version, dated, with nothing left under "Unreleased"."""
    text = changelog.read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    releases = [title for title in titles if not title.startswith("[Unreleased]")]
    if not releases or not re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", releases[0]):
        newest = f"'{releases[0]}'" if releases else "missing"
        return [f"the newest release in CHANGELOG.md is {newest}, not '[{version}] - YYYY-MM-DD'"]
    unreleased = [s for s in sections if s.startswith("[Unreleased]") and re.search(r"^- ", s, re.MULTILINE)]
    return ["CHANGELOG.md has entries under 'Unreleased' that belong to the release"] if unreleased else []


def _find(path: Path, pattern: str) -> str:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"{path} names no version: no line is like {pattern}")
    return match[1]


def main(arguments: list[str]) -> int:
    """
    :param arguments: nothing, or the tag
    :return: exit status, 1 if something disagrees
    """
    if len(arguments) > 1:
        print("usage: python -m tools.release_check [TAG]", file=sys.stderr)
        return 2
    found = disagreements(ROOT, *arguments)
    for sentence in found:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
