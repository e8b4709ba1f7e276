"""Pages of the documentation that show what a command has measured."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.provenance import ROOT

DOCS = ROOT / "docs"
# Between these lines of a page stands what the command writes.
BEGIN, END = "<!-- measured: {} -->", "<!-- end: {} -->"


def fill(page: Path, sections: Mapping[str, str]) -> None:
    """
    Put texts into a page, between the lines that name them.

    :param page: a Markdown file
    :param sections: texts by name
    :raises BenchmarkError: If the page has no place for one of them
    """
    text = page.read_text(encoding="utf-8")
    for name, section in sections.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise BenchmarkError(f"{page}: has no lines '{begin}' and '{end}' to write between")
        text = f"{before}{begin}\n{section.strip()}\n{end}{after}"
    page.write_text(text, encoding="utf-8")
