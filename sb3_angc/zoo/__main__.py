"""``python -m sb3_angc.zoo <command>``."""

import sys
import traceback
from collections.abc import Callable

from sb3_angc.zoo import register
from sb3_angc.zoo.agents import benchmark, enjoy, record_video, train
from sb3_angc.zoo.command_line import BadInput
from sb3_angc.zoo.plots import all_plots, plot_from_file, plot_train

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    command.__name__: command
    for command in (train, enjoy, record_video, benchmark, all_plots, plot_train, plot_from_file)
}


def main(arguments: list[str]) -> int:
    """
    Run a command.

    :param arguments: the command and its arguments
    :return: exit status
    """
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m sb3_angc.zoo {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        return 2
    register()
    try:
        COMMANDS[arguments[0]](arguments[1:])
    except (BadInput, ImportError) as error:
        return complain(error)
    except (AssertionError, OSError, ValueError) as error:
        # Before training, this is what the Zoo raises for bad input. In mid-training it needs its traceback.
        frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
        if not str(error) or frames & {"learn", "predict"}:
            raise
        return complain(error)
    return 0


def complain(error: Exception) -> int:
    """
    Print an error in one line.

    :param error: the error
    :return: exit status
    """
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
