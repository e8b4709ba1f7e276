"""The command: run what is missing, keep it, and write the table and the figures beside the raw results."""

from __future__ import annotations

from functools import partial
from itertools import product

from benchmarks.experiments.ladder import measure, page, returns
from benchmarks.experiments.ladder.rungs import circuits
from benchmarks.experiments.options import read
from benchmarks.report import drawing, pages
from benchmarks.runner.provenance import ROOT
from benchmarks.runner.results import kept_or_measured
from benchmarks.runner.study import slug

FOLDER = ROOT / "benchmarks" / "results" / "ladder"


def main(arguments: list[str]) -> int:
    """Run the missing cells and print the table."""
    options = read("ladder", arguments)
    cells: page.Cells = {}
    for seed, label in product(options.seeds, circuits()):
        path = options.output / f"{slug(label)}--{seed}.json"
        cells[label, seed] = kept_or_measured(
            path, measure.setup(label), partial(measure.run_cell, label, seed)
        )
    table = page.report(cells, options.seeds)
    (options.output / "README.md").write_text(table, encoding="utf-8")
    with drawing.styled():
        drawing.save(page.draw_rungs(cells, options.seeds), options.output / "ladder")
        drawing.save(page.draw_activity(cells, options.seeds), options.output / "activity")
        drawing.save(page.draw_steps(cells, options.seeds), options.output / "steps")
        if options.output.resolve() == FOLDER:
            comparison = returns.measured()
            sections = {"ladder": table, "ladder returns": returns.table(comparison)}
            pages.fill(pages.DOCS / "ladder.md", sections)
            drawing.save(returns.draw(comparison), options.output / "returns")
    print(table)
    return 0
