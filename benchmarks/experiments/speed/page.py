"""The measurements in words and tables."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments.speed.breakdown import PARTS
from benchmarks.experiments.speed.growth import FROM_WIDTH, WITHIN
from benchmarks.report.tables import commit, markdown

# On a quiet machine nothing else runs; the measurement itself has not begun. What ended a minute ago counts
# for a third still.
QUIET_LOAD = 0.5


def seconds(value: float) -> str:
    """
    A time in a table's cell.

    :param value: seconds
    """
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def amount(side: Mapping[str, float]) -> str:
    """
    A row's median.

    :param side: ours or theirs
    """
    return f"{side['bytes'] / 2**20:.0f} MiB" if "bytes" in side else seconds(side["wall"])


def made_with(section: Mapping[str, Any]) -> str:
    """
    What a section was measured with, and whether the machine was quiet.

    :param section: of the results
    """
    versions = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
    hardware, load = section["hardware"], section["load"]
    text = (
        f"One thread on one core of {hardware['cores']} ({hardware['processor']}), {section['date']}, "
        f"commit {commit(section['git'])}; {versions}."
    )
    if load > QUIET_LOAD:
        text += (
            f" **Provisional**: other work ran on the machine (load average {load:.1f} at the start); "
            "processor time says more than wall time here."
        )
    return text


def table(section: Mapping[str, Any]) -> str:
    """
    The rows beside what they are to reach.

    :param section: of the results
    """
    cells = []
    for row in section["rows"]:
        if "missing" in row:
            cells.append([row["name"], f"{row['at_most']:.3g}", row["missing"], "", "", "", ""])
            continue
        ratio = row["ratio"]
        first = ratio.get("wall", ratio.get("bytes"))
        cells.append(
            [
                row["name"],
                f"{row['at_most']:.3g}",
                f"{first['median']:.2f} [{first['low']:.2f}, {first['high']:.2f}]",
                f"{ratio['processor']['median']:.2f}" if "processor" in ratio else "",
                amount(row["ours"]),
                amount(row["theirs"]),
                amount(row["products"]) if "products" in row else "",
                str(row["pairs"]),
            ]
        )
    header = ["ours / theirs", "at most", "ratio [quartiles]", "by processor time"]
    header += ["ours", "theirs", "our products alone", "pairs"]
    return f"{markdown(header, cells)}\n\n{made_with(section)}"


def growth(section: Mapping[str, Any]) -> str:
    """
    The grid of sizes.

    :param section: of the results
    """
    rows = [
        [
            str(cell["width"]),
            str(cell["depth"]),
            str(cell["batch"]),
            str(cell["steps"]),
            seconds(cell["ours"]["processor"]),
            seconds(cell["theirs"]["processor"]),
            f"{cell['ratio']['processor']['median']:.2f}",
        ]
        for cell in section["rows"]
    ]
    wide = [cell for cell in section["rows"] if cell["width"] >= FROM_WIDTH]
    within = sum(cell["ratio"]["processor"]["median"] <= WITHIN for cell in wide)
    header = ["width", "hidden layers", "batch", "T", "update", "products alone", "ratio"]
    verdict = (
        f"At widths of {FROM_WIDTH} and above, {within} of {len(wide)} sizes are within {WITHIN} times the "
        "products alone, compiled. Processor time, median of "
        f"{section['rows'][0]['pairs']} pairs."
    )
    return f"{verdict}\n\n{markdown(header, rows)}\n\n{made_with(section)}"


def profile(section: Mapping[str, Any]) -> str:
    """
    Shares of an update's time.

    :param section: of the results
    """
    rows = [
        [circuit, *(f"{shares[name]:.0%}" for name in PARTS)]
        for circuit, shares in section["profiles"].items()
    ]
    return f"{markdown(['preset', *PARTS], rows)}\n\n{made_with(section)}"


def compiled(section: Mapping[str, Any]) -> str:
    """
    What compiling gains, and how long it takes.

    :param section: of the results
    """
    took = [
        f"{row['name'].split(' / ')[0]}: {seconds(row['compile_seconds'])}"
        for row in section["rows"]
        if "compile_seconds" in row
    ]
    first = (
        f"\n\nThe first updates, with compiling from an empty cache, took: {'; '.join(took)}." if took else ""
    )
    return table(section) + first


SECTIONS = {
    "table": table,
    "sbx": table,
    "growth": growth,
    "profile": profile,
    "compiled": compiled,
    "images": table,
    "continuous": table,
    "gpu": table,
}


def texts(results: Mapping[str, Any]) -> dict[str, str]:
    """
    Each measured section's text.

    :param results: of the command
    """
    return {name: SECTIONS[name](results[name]) for name in SECTIONS if name in results}
