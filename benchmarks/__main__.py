"""``python -m benchmarks <command>``: studies and their reports."""

import importlib
import sys

from benchmarks.runner.errors import BenchmarkError

# Each is a module with main(arguments) -> exit status.
COMMANDS = {
    "run": "runner.run",
    "report": "report.report",
    "regression": "experiments.regression",
    "settling": "experiments.settling",
    "ladder": "experiments.ladder",
    "reaching": "experiments.reaching",
    "speed": "experiments.speed",
}


def main(arguments: list[str]) -> int:
    """
    Run a command.

    :param arguments: the command and its arguments
    :return: exit status
    """
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m benchmarks {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        return 2
    try:
        status: int = importlib.import_module(f"benchmarks.{COMMANDS[arguments[0]]}").main(arguments[1:])
    except ModuleNotFoundError as error:
        print(f"error: {error}: studies need pip install -e '.[bench]'", file=sys.stderr)
        return 2
    except (BenchmarkError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command does what is missing", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
