"""Errors that the user of the command line can mend."""


class CommandError(Exception):
    """Something the user can mend; the message says what was expected, what came, what to do."""
