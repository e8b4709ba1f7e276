"""
Makes a page of the site of a notebook, with the outputs that are stored in it::

    python -m tools.notebook_page examples/pictures.ipynb docs/pictures.md

Pictures are written beside the page, into ``assets/`` and a folder of the page's name.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

FIRST = "This is the notebook `{source}` as it was run last. Each figure needs the extra `plots`."
NOT_RUN = "<!-- not run: the notebook is, by tests/project/test_examples.py -->"


def make_page(notebook: Path, page: Path) -> dict[Path, bytes]:
    """
    :param notebook: A notebook, with its outputs
    :param page: Where its page is to stand
    :return: Content by path: the page and its pictures
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    files: dict[Path, bytes] = {}
    parts: list[str] = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # What follows a heading is, until the next one, about the picture below it.
            parts.append(source)
            continue
        parts.append(f"{NOT_RUN}\n```python\n{source}\n```")
        for output in cell["outputs"]:
            parts += _output(output, page, parts, files)
    title, first, *others = "\n\n".join(parts).split("\n\n")
    told = FIRST.format(source=f"{notebook.parent.name}/{notebook.name}")
    files[page] = ("\n\n".join([title, first, told, *others]) + "\n").encode()
    return files


def _output(output: dict[str, Any], page: Path, parts: list[str], files: dict[Path, bytes]) -> list[str]:
    """What a cell has printed, or a picture under the heading before it."""
    if output["output_type"] == "stream":
        return [f"```text\n{''.join(output['text']).rstrip()}\n```"]
    data = output.get("data", {})
    if "image/png" not in data:
        return []
    headings = [line for part in parts for line in part.splitlines() if line.startswith("## ")]
    title = headings[-1].removeprefix("## ")
    number = sum(path.suffix == ".png" for path in files) + 1
    picture = Path("assets") / page.stem / f"{number}.png"
    files[page.parent / picture] = base64.b64decode(data["image/png"])
    return [f"![{title}]({picture.as_posix()})"]


def main(arguments: list[str]) -> int:
    """
    :param arguments: the notebook, and its page
    :return: exit status
    """
    notebook, page = map(Path, arguments)
    for path, content in make_page(notebook, page).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
