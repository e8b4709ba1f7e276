"""The command: measure what is missing, keep it, and write tables and a figure beside the raw results."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch as th
from matplotlib import style

from benchmarks import figures, pages
from benchmarks.errors import Parser
from benchmarks.provenance import ROOT
from benchmarks.results import read_json, write_json
from benchmarks.settling import measure, page
from benchmarks.settling.circuits import CONDITIONS

FOLDER = ROOT / "benchmarks" / "results" / "settling"


def main(arguments: list[str]) -> int:
    """Run the missing cells, print the table and draw the figure."""
    parser = Parser(prog="python -m benchmarks settling", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of results, table and figure")
    options = parser.parse_args(arguments)
    th.set_num_threads(1)
    cells: page.Cells = {}
    for condition, seed in product(CONDITIONS, options.seeds):
        path = options.output / f"{condition.name}--{seed}.json"
        if not path.exists() or read_json(path)["setup"] != measure.setup():
            write_json(path, measure.run_cell(condition, seed))
            print(f"{path.name}: done", flush=True)
        cells[condition, seed] = read_json(path)
    table = page.report(cells)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    if options.output == FOLDER:
        pages.fill(pages.DOCS / "circuit.md", {"settling": table})
    with style.context(["default", figures.STYLE]):
        figures.save(page.draw(cells), options.output / "settling")
    print(table)
    return 0
