"""Bad input: the one kind of error that is the user's to mend."""

import argparse
from typing import NoReturn


class BenchmarkError(Exception):
    """Bad input: shown as one line that says what to do, without a traceback."""


class Parser(argparse.ArgumentParser):
    """A parser of command lines that does not print its usage at a wrong one."""

    def error(self, message: str) -> NoReturn:
        """
        Refuse the command line.

        :param message: what is wrong
        """
        raise BenchmarkError(f"{message}: see {self.prog} --help")
