"""``python -m benchmarks report FOLDER ...``: tables and figures from raw results."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.report import drawing, figures, tables
from benchmarks.report.comparison import Comparison
from benchmarks.runner.errors import BenchmarkError, Parser
from benchmarks.runner.provenance import ROOT

# So many methods are named in the title.
NAMED = 3
# Each figure and what to see in it
FIGURES = {
    "last_policies": "Each point is the last policy of one seed, the line their interquartile mean, the "
    "shading its interval. Right of the dotted line the task counts as solved.",
    "differences": "The point is the difference of the means, the bar its interval. Blue is better than "
    "{baseline}, orange worse. Where a bar is grey, these seeds cannot tell.",
    "aggregates": "Right of the dotted line a method solves the average task{wins}.",
    "profiles": "The higher a curve stays, the more runs score above. Its right end is the share of runs "
    "above their task's threshold; one exactly at it solves the task, too, but is not counted here.",
    "sample_efficiency": "The sooner a curve rises, the fewer steps a method needs. At the dotted line tasks "
    "count as solved.",
    "learning_curves": "The curve is the interquartile mean of the seeds, the shading its interval, the "
    "dotted line the threshold of the task. What lies far below the random policy is cut off.{others}",
}
OTHERS = (
    " Named are {baseline}, alone with its interval, and the methods that end furthest from it; the others "
    "are grey."
)
WINS = " (above), and wins against {baseline} more often than not (below)"
INTRODUCTION = """\
Every number is of the **last policy**, as training left it, not of the best checkpoint:
{episodes} deterministic episodes for each seed, on fresh environments. Intervals are 95 %
stratified bootstrap intervals over seeds. A normalized score is 0 for the random policy and 1
at the task's threshold."""


def write_report(comparison: Comparison, baseline: str, folder: Path, title: str | None = None) -> None:
    """
    Write ``report.md`` and its figures.

    :param comparison: the results
    :param baseline: the method that the others are compared with
    :param folder: where to
    :param title: of the report, ``None`` for one of methods and tasks
    """
    folder.mkdir(parents=True, exist_ok=True)
    with drawing.styled():
        drawn = draw(comparison, baseline)
        for name, figure in drawn.items():
            drawing.save(figure, folder / name)
    (folder / "report.md").write_text(text(comparison, baseline, list(drawn), title), encoding="utf-8")


def draw(comparison: Comparison, baseline: str) -> dict[str, Figure]:
    """
    The figures that a comparison has. Of many methods, what sets each apart from the baseline.

    :param comparison: the results
    :param baseline: the method that the others are compared with
    """
    drawn = {"learning_curves": figures.learning_curves(comparison, baseline)}
    if len(comparison.labels) > figures.MOST_METHODS:
        if figures.has_differences(comparison, baseline):
            drawn["differences"] = figures.differences(comparison, baseline)
        return drawn
    drawn["last_policies"] = figures.last_policies(comparison)
    if comparison.complete_labels():
        drawn["aggregates"] = figures.aggregates(comparison, baseline)
        drawn["profiles"] = figures.profiles(comparison)
        if not comparison.uneven():
            drawn["sample_efficiency"] = figures.sample_efficiency(comparison)
    return drawn


def text(comparison: Comparison, baseline: str, drawn: Sequence[str], title: str | None) -> str:
    """
    The report.

    :param comparison: the results
    :param baseline: the method that the others are compared with
    :param drawn: names of the figures
    :param title: ``None`` for one of methods and tasks
    """
    is_many = len(comparison.labels) > figures.MOST_METHODS
    complete = comparison.complete_labels()

    def image(name: str) -> list[str]:
        """A figure and its caption, where it is drawn."""
        shown = drawing.shown(baseline)
        others = OTHERS.format(baseline=shown) if is_many else ""
        wins = WINS.format(baseline=shown) if baseline in complete and len(complete) > 1 else ""
        caption = FIGURES[name].format(baseline=shown, others=others, wins=wins)
        return [f"![{name.replace('_', ' ')}]({name}.svg)", f"*{caption}*"] if name in drawn else []

    left_out = [label for label in comparison.labels if label not in complete]
    if title is None:
        title = " and ".join(map(drawing.shown, comparison.labels))
        if len(comparison.labels) > NAMED:
            title = f"{len(comparison.labels)} methods on {' and '.join(comparison.environments)}"
    parts = [f"# {title}", INTRODUCTION.format(episodes=episodes(comparison))]
    if unequal := comparison.unequal():
        parts.append(" ".join(unequal))
    if cut_short := comparison.cut_short():
        parts.append(f"Ended before their budget, as by a callback or an interrupt: {', '.join(cut_short)}.")
    if comparison.missing:
        parts += ["## Missing", "\n".join(f"- {name}" for name in comparison.missing)]
    parts += ["## Last policy on each task", *image("differences"), *image("last_policies")]
    parts += [tables.last_policy(comparison), "## All tasks together"]
    if left_out:
        parts.append(f"Not compared, for want of the same two seeds on every task: {', '.join(left_out)}.")
    if runs := comparison.left_out():
        parts.append(f"Runs left out, as their seed has no result on another task: {', '.join(runs)}.")
    if complete:
        parts += [*image("aggregates"), tables.overall(comparison, baseline), *image("profiles")]
    parts.append("## While training")
    if not is_many and (uneven := comparison.uneven()):
        parts.append(
            "No figure of the score on all tasks: these were evaluated at other shares of the budget on one "
            f"task than on another: {', '.join(uneven)}."
        )
    parts += [*image("sample_efficiency"), *image("learning_curves")]
    parts += [
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


def episodes(comparison: Comparison) -> str:
    """
    How many episodes a last policy was tested on, by task where tasks differ.

    :param comparison: the results
    """
    tasks: dict[int, list[str]] = {}
    for environment, task in comparison.tasks.items():
        tasks.setdefault(task.last_policy_episodes, []).append(environment)
    if len(tasks) == 1:
        return str(*tasks)
    return " and ".join(f"{number} ({', '.join(names)})" for number, names in tasks.items())


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
        "--baseline", help="method that others are compared with (default: dqn, else the first one)"
    )
    parser.add_argument("--title", help="of the report (default: methods and tasks)")
    parser.add_argument("--environments", nargs="+", help="these tasks only (default: all)")
    parser.add_argument("--partial", action="store_true", help="report what is there, naming what is missing")
    parser.add_argument("--force", action="store_true", help="overwrite an older report")
    options = parser.parse_args(arguments)
    report = options.output / "report.md"
    for path in (report, *(options.output / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))):
        if path.exists() and not options.force:
            raise BenchmarkError(f"{path} exists: name another --output, or overwrite it with --force")
    comparison = Comparison(options.results, options.environments, options.partial)
    baseline = options.baseline or ("dqn" if "dqn" in comparison.labels else comparison.labels[0])
    if baseline not in comparison.labels:
        raise BenchmarkError(f"baseline {baseline!r}: choose from {', '.join(comparison.labels)}")
    write_report(comparison, baseline, options.output, options.title)
    print(f"Written to {report}")
    return 0
