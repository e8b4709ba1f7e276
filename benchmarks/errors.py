"""The one kind of error that is the user's to mend."""


class BenchmarkError(Exception):
    """Bad input: shown as one line that says what to do, without a traceback."""
