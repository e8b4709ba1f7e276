"""The page of a notebook has its text, code and pictures, and is that of the notebook as committed."""

import base64
import json
from pathlib import Path

from tools.notebook_page import main, make_page

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG not really"


def test_text_code_and_outputs_in_their_order(tmp_path: Path) -> None:
    picture = {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode()}}
    printed = {"output_type": "stream", "text": ["one\n", "two\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "What it is."]},
        {"cell_type": "markdown", "source": "## Curves\n\nLook."},
        {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [printed, picture, picture]},
        {"cell_type": "code", "source": "b", "outputs": [{"output_type": "execute_result", "data": {}}]},
    ]
    notebook = tmp_path / "examples" / "n.ipynb"
    notebook.parent.mkdir()
    notebook.write_text(json.dumps({"cells": cells}))
    page = tmp_path / "docs" / "page.md"
    assert main([str(notebook), str(page)]) == 0
    text = page.read_text()
    expected = [
        "# Title",
        "What it is.",
        "`examples/n.ipynb`",
        "## Curves",
        "```python\na = 1\na\n```",
        "```text\none\ntwo\n```",
        "![Curves](assets/page/1.png)",
        "![Curves](assets/page/2.png)",
        "```python\nb\n```",
    ]
    places = [text.index(part) for part in expected]
    assert places == sorted(places)
    assert (tmp_path / "docs" / "assets" / "page" / "2.png").read_bytes() == PNG


def test_page_is_that_of_the_notebook() -> None:
    page = ROOT / "docs" / "pictures.md"
    for path, content in make_page(ROOT / "examples" / "pictures.ipynb", page).items():
        assert path.read_bytes() == content, f"{path}: run python -m tools.notebook_page as it says"
