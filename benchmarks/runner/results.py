"""One JSON file for each cell, whole or not there at all."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.runner.errors import BenchmarkError
from benchmarks.runner.study import Cell, Study

Result = dict[str, Any]

FORMAT = 1
# The plan of the study that filled the folder: what the report expects to find.
PLAN = "study.json"


def write_json(path: Path, data: Any) -> None:
    """
    Write a file that is never seen half-written.

    :param path: where to
    :param data: plain types
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # A line for each key of the first level: compact, and a diff still says what changed.
    lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items()]
    temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """
    Read one of our files.

    :param path: where from
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BenchmarkError(f"{path}: not a result of this runner ({error})") from error


def kept_or_measured(path: Path, setup: Any, measure: Callable[[], Result]) -> Result:
    """
    The result in a file, measured and written first where it is missing or of another setup.

    :param path: the file
    :param setup: what the result depends on, under the key ``"setup"`` in it
    :param measure: makes the result
    """
    if not path.exists() or read_json(path)["setup"] != setup:
        write_json(path, measure())
        print(f"{path.name}: done", flush=True)
    result: Result = read_json(path)
    return result


# In place of a value that there is not, which None is not
UNSET = "(not set)"


def difference(was: Any, now: Any, key: str = "") -> str:
    """
    The first setting in which two differ, in words; empty where they do not.

    :param was: plain types, as they were
    :param now: as they are
    :param key: what they are called
    """
    if not isinstance(was, dict) or not isinstance(now, dict):
        return "" if was == now else f"{key} was {was!r} and is {now!r}"
    parts = (
        difference(was.get(name, UNSET), now.get(name, UNSET), f"{key}.{name}" if key else name)
        for name in dict.fromkeys([*was, *now])
    )
    return next((part for part in parts if part), "")


class ResultsFolder:
    """
    The results of one study.

    :param path: the folder
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_for(self, study: Study) -> dict[str, Result]:
        """
        Check that the folder belongs to the study, store the study's plan in it and return what is done.

        :param study: the study about to run
        :return: results by the name of their cell
        """
        if self.path.is_file():
            raise BenchmarkError(f"{self.path}: is a file, name a folder with --output")
        plan = self.path / PLAN
        if plan.exists() and read_json(plan).get("study") != study.name:
            raise BenchmarkError(f"{self.path}: holds the study {read_json(plan).get('study')!r}: {WAYS_OUT}")
        cells = {cell.name: cell for cell in study.cells}
        results = self.read()
        results = {name: result for name, result in results.items() if name in cells}
        for name, result in list(results.items()):
            changed = difference(result["cell"], cells[name].as_dict())
            if changed and result["status"] == "failed":
                del results[name]  # a setting was wrong, and has been corrected
            elif changed:
                self.refuse(name, changed)
        write_json(
            plan, {"format": FORMAT, "study": study.name, "cells": [cell.as_dict() for cell in study.cells]}
        )
        return results

    def refuse(self, name: str, changed: str) -> NoReturn:
        """
        Refuse to mix settings.

        :param name: name of a finished cell
        :param changed: in what it is another one now
        """
        raise BenchmarkError(
            f"{name} was run with other settings, {changed}: delete {self.file(name)} to run it again, "
            f"{WAYS_OUT}"
        )

    def planned(self) -> list[Cell]:
        """Every cell that the folder should hold."""
        plan = self.path / PLAN
        if not plan.exists():
            raise BenchmarkError(f"{self.path}: no results of a study here, run one first")
        try:
            return [Cell(**cell) for cell in read_json(plan)["cells"]]
        except (KeyError, TypeError) as error:
            raise BenchmarkError(
                f"{plan}: not a plan of this runner ({error}), run the study again"
            ) from error

    def read(self) -> dict[str, Result]:
        """Every result in the folder, by the name of its cell; failed ones too."""
        files = sorted(path for path in self.path.glob("*.json") if path.name != PLAN)
        results = {path.stem: read_json(path) for path in files}
        for name, result in results.items():
            if not isinstance(result, dict) or result.get("format") != FORMAT or "cell" not in result:
                raise BenchmarkError(f"{self.file(name)}: not a result of this runner, move it away")
            if "settings" in result:  # earlier results hold the preset's steps where the study had its own
                result["settings"]["n_timesteps"] = result["budget"]
        return results

    def write(self, cell: Cell, result: Result) -> None:
        """
        Store a result.

        :param cell: the cell
        :param result: what came out of it
        """
        write_json(self.file(cell.name), result)

    def discard(self, names: Iterable[str]) -> None:
        """
        Delete results.

        :param names: names of their cells
        """
        for name in names:
            self.file(name).unlink()

    def clear(self) -> None:
        """Delete the plan and every result."""
        self.discard(self.read())
        (self.path / PLAN).unlink(missing_ok=True)

    def file(self, name: str) -> Path:
        """
        Where a cell's result is stored.

        :param name: name of the cell
        """
        return self.path / f"{name}.json"


WAYS_OUT = "name another folder with --output, or start over with --force"
