"""What every error of the user's making derives from, and how an error quotes what came from outside."""


class Error(Exception):
    """A wrong input, named in one sentence."""


class ParameterError(Error):
    """A parameter value that cannot be used; the message is one sentence that names the parameter."""


def printable(text: str, longest: int = 300) -> str:
    """Text from outside as one line of a log: control characters escaped, cut after that many characters."""
    # Cut first: what is cut off may be a megabyte.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[: longest + 1])
    return line if len(text) <= longest and len(line) <= longest else f"{line[:longest]}…"


def quoted(text: str, longest: int = 60) -> str:
    """Text from outside in quotes, as `repr` gives it, cut after that many characters."""
    return repr(text) if len(text) <= longest else f"{text[:longest]!r}… ({len(text)} characters)"
