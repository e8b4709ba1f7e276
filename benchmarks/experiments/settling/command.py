"""The command: measure what is missing, keep it, and write tables and a figure beside the raw results."""

from __future__ import annotations

from functools import partial
from itertools import product

from benchmarks.experiments.options import read
from benchmarks.experiments.settling import measure, page
from benchmarks.experiments.settling.circuits import CONDITIONS
from benchmarks.report import drawing, pages
from benchmarks.runner.provenance import ROOT
from benchmarks.runner.results import kept_or_measured

FOLDER = ROOT / "benchmarks" / "results" / "settling"


def main(arguments: list[str]) -> int:
    """Run the missing cells, print the table and draw the figure."""
    options = read("settling", arguments, seeds=(0, 1, 2))
    cells: page.Cells = {}
    for condition, seed in product(CONDITIONS, options.seeds):
        path = options.output / f"{condition.name}--{seed}.json"
        cells[condition, seed] = kept_or_measured(
            path, measure.setup(), partial(measure.run_cell, condition, seed)
        )
    table = page.report(cells)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    if options.output.resolve() == FOLDER:
        pages.fill(pages.DOCS / "circuit.md", {"settling": table})
    with drawing.styled():
        drawing.save(page.draw(cells), options.output / "settling")
    print(table)
    return 0
