"""Paths in what a model says of itself: their last names only."""

from __future__ import annotations

from pathlib import Path


def without_folders(text: str) -> str:
    """A text with only the last name of every path: a model does not tell where it lay.

    >>> without_folders("--out models/a --data yolo:/home/ann/signs")
    '--out a --data yolo:signs'
    """
    return " ".join(map(_last_name, text.split(" ")))


def _last_name(word: str) -> str:
    kind, colon, path = word.rpartition(":")
    return f"{kind}{colon}{Path(path).name}" if "/" in path else word
