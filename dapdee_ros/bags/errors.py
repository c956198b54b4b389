"""Errors of recordings."""


class BagError(ValueError):
    """A bag that cannot be read or written; the message says what is there and what to do."""
