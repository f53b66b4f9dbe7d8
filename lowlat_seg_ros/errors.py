"""What every error of the user's making derives from."""


class Error(Exception):
    """A wrong input, named in one sentence."""
