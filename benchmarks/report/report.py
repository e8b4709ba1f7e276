"""``python -m benchmarks report FOLDER ...``: tables and figures from raw results."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import style

from benchmarks.report import figures, tables
from benchmarks.report.comparison import Comparison
from benchmarks.runner.errors import BenchmarkError, Parser
from benchmarks.runner.provenance import ROOT

# So many methods are named in the title.
NAMED = 3
FIGURES = ("last_policies", "learning_curves", "aggregates", "profiles", "sample_efficiency")
INTRODUCTION = """\
Every number is of the **last policy**, as training left it, not of the best checkpoint:
{episodes} deterministic episodes for each seed, on fresh environments. Intervals are 95 %
stratified bootstrap intervals over seeds. A normalized score is 0 for the random policy and 1
at the task's threshold. In the figures, shading is the interval and the dotted line the
threshold (of a probability, one half)."""


def write_report(comparison: Comparison, baseline: str, folder: Path) -> None:
    """
    Write ``report.md`` and its figures.

    :param comparison: the results
    :param baseline: the method that the others are compared with
    :param folder: where to
    """
    folder.mkdir(parents=True, exist_ok=True)
    complete = comparison.complete_labels()
    with style.context(["default", figures.STYLE]):
        drawn = {
            "last_policies": figures.last_policies(comparison),
            "learning_curves": figures.learning_curves(comparison),
        }
        if complete:
            drawn["aggregates"] = figures.aggregates(comparison, baseline)
            drawn["profiles"] = figures.profiles(comparison)
            drawn["sample_efficiency"] = figures.sample_efficiency(comparison)
        for name, figure in drawn.items():
            figures.save(figure, folder / name)
    (folder / "report.md").write_text(text(comparison, baseline, complete), encoding="utf-8")


def text(comparison: Comparison, baseline: str, complete: Sequence[str]) -> str:
    """
    The report.

    :param comparison: the results
    :param baseline: the method that the others are compared with
    :param complete: the methods that are compared over all tasks
    """
    episodes = comparison.tasks[comparison.environments[0]].last_policy_episodes
    title = " and ".join(comparison.labels)
    if len(comparison.labels) > NAMED:
        title = f"{len(comparison.labels)} methods on {' and '.join(comparison.environments)}"
    parts = [f"# {title}", INTRODUCTION.format(episodes=episodes)]
    if comparison.missing:
        parts += ["## Missing", "\n".join(f"- {name}" for name in comparison.missing)]
    parts += ["## Last policy on each task", tables.last_policy(comparison), image("last_policies")]
    parts.append("## All tasks together")
    left_out = [label for label in comparison.labels if label not in complete]
    if left_out:
        parts.append(f"Not compared, for want of two seeds on every task: {', '.join(left_out)}.")
    if complete:
        parts += [tables.overall(comparison, baseline), image("aggregates"), image("profiles")]
        parts += ["## Sample efficiency", image("sample_efficiency")]
    parts += [
        image("learning_curves"),
        "Environment steps to the first evaluation whose mean reaches the task's threshold:",
        tables.steps_to_threshold(comparison),
        "## Time",
        "Median seconds of a run, on one thread. Evaluation is the study's, not the algorithm's. Runs beside "
        "other work on the machine wait for it: compare the processor's time.",
        tables.time(comparison),
        "## How it was run",
        tables.provenance(comparison),
        tables.settings(comparison),
    ]
    return "\n\n".join(parts) + "\n"


def image(name: str) -> str:
    """
    A figure in Markdown.

    :param name: of its file
    """
    return f"![{name.replace('_', ' ')}]({name}.svg)"


def main(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: without the command's name
    :return: exit status
    """
    results = ROOT / "benchmarks" / "results"
    parser = Parser("python -m benchmarks report", description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="+", help=f"results folders, as in {results.relative_to(ROOT)}"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the report")
    parser.add_argument(
        "--baseline", default="dqn", help="method that others are compared with (default: dqn)"
    )
    parser.add_argument("--environments", nargs="+", help="these tasks only (default: all)")
    parser.add_argument("--partial", action="store_true", help="report what is there, naming what is missing")
    parser.add_argument("--force", action="store_true", help="overwrite an older report")
    options = parser.parse_args(arguments)
    report = options.output / "report.md"
    for path in (report, *(options.output / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))):
        if path.exists() and not options.force:
            raise BenchmarkError(f"{path} exists: name another --output, or overwrite it with --force")
    comparison = Comparison(options.results, options.environments, options.partial)
    if options.baseline not in comparison.labels:
        raise BenchmarkError(f"baseline {options.baseline!r}: choose from {', '.join(comparison.labels)}")
    write_report(comparison, options.baseline, options.output)
    print(f"Written to {report}")
    return 0
