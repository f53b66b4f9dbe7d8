"""What every error of the user's making derives from."""


class Error(Exception):
    """A wrong input, named in one sentence."""


class ParameterError(Error):
    """A parameter value that cannot be used; the message is one sentence that names the parameter."""
