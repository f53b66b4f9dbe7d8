"""What every error of the user's making derives from, and how an error quotes what came from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Error(Exception):
    """A wrong input, named in one sentence, or in several that ``NEXT`` joins."""


NEXT = "\n  "
"""Between the sentences of one error. Names of files may hold line breaks, too; these are escaped."""


class ParameterError(Error):
    """A parameter value that cannot be used; the message is one sentence that names the parameter."""


def printable(text: str, longest: int = 300) -> str:
    """Text from outside as one line of a log: control characters escaped, cut after that many characters."""
    # Cut first: what is cut off may be a megabyte.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: longest + 1])
    return line if len(text) <= longest and len(line) <= longest else f"{line[:longest]}…"


def shown(value: object, longest: int = 80) -> str:
    """A value from outside as a sentence shows it: as `repr` gives it, on one line, cut after that many characters."""
    try:
        text = repr(value[: longest + 1] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a nest of lists
        return f"a very large {type(value).__name__}"
    return printable(text, longest)


def in_one_line(error: BaseException, longest: int = 300) -> str:
    """Another library's message, short enough for a sentence of ours."""
    return printable(" ".join(str(error)[: 4 * longest].split()) or type(error).__name__, longest)


@contextmanager
def turning_all_into(kind: type[Error], what: str) -> Iterator[None]:
    """Whatever goes wrong while something from outside is read becomes one sentence that begins with ``what``.

    An error of that kind goes through as it is.
    """
    try:
        yield
    except kind:
        raise
    except Error as error:
        raise kind(f"{what}: {error}") from error
    except Exception as error:
        raise kind(f"{what}: {in_one_line(error)}") from error
