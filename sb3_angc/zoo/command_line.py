"""Reading the Zoo's command lines and running them."""

import argparse
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from rl_zoo3.utils import StoreDict


class BadInput(Exception):
    """Something the user can mend, said in one line."""


def values(arguments: list[str], *names: str) -> list[str]:
    """
    The values of one of the Zoo's flags, none if it is not there.

    :param arguments: the command line
    :param names: the flag's names
    """
    found: list[str] = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            following = arguments[position + 1 :]
            end = next((i for i, word in enumerate(following) if word.startswith("-")), len(following))
            found = [value] if equals else following[:end]
    return found


def first(arguments: list[str], *names: str) -> str | None:
    """
    The first value of a flag.

    :param arguments: the command line
    :param names: the flag's names
    """
    return next(iter(values(arguments, *names)), None)


def required(arguments: list[str], *names: str) -> list[str]:
    """
    The values of a flag that must be there, which the Zoo does not check.

    :param arguments: the command line
    :param names: the flag's names
    """
    found = values(arguments, *names)
    if not found:
        raise BadInput(f"give {' or '.join(names)} at least one value")
    return found


def make_way(arguments: list[str], *paths: Path) -> list[str]:
    """
    Delete what is in the way of new files, if ``--force`` says so.

    :param arguments: the command line
    :param paths: files and folders that will be written
    :return: the command line without ``--force``
    """
    for path in paths:
        if path.exists() and "--force" not in arguments:
            raise BadInput(f"{path} exists: choose another place, or overwrite it with --force")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return [argument for argument in arguments if argument != "--force"]


def run(command: Callable[[], None], arguments: list[str]) -> None:
    """
    Run a command of the Zoo.

    :param command: the Zoo's function, which reads the command line
    :param arguments: the command line
    """
    store: Callable[..., None] = StoreDict.__call__

    def store_dict(
        action: StoreDict,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        words: list[str],
        flag: str | None = None,
    ) -> None:
        try:
            store(action, parser, namespace, words, flag)
        except Exception as error:  # The Zoo evaluates the words as Python: anything may be raised.
            way_out = f"write name:value, the value as in Python, text in quotes ({error})"
            raise BadInput(f"{flag} {' '.join(words)}: {way_out}") from error

    with (
        patch.object(sys, "argv", ["zoo", *arguments]),
        # A wrong argument is told in one line, not after a page of usage.
        patch.object(argparse.ArgumentParser, "print_usage"),
        patch.object(StoreDict, "__call__", store_dict),
    ):
        command()


def run_module(name: str, arguments: list[str]) -> None:
    """
    Run a command of the Zoo that is a module only.

    :param name: the module
    :param arguments: the command line
    """

    def command() -> None:
        runpy.run_module(name, run_name="__main__")

    run(command, arguments)
