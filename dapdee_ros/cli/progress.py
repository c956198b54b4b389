"""How commands show how far they have got, and what they write down of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def shown_files(files: Iterable[Path]) -> Iterator[Path]:
    """Passes files on, with a bar on the error stream."""
    from tqdm import tqdm

    yield from tqdm(files, desc="reading labels", unit="file", file=sys.stderr, leave=False)


def without_folders(text: str) -> str:
    """A text with only the last name of every path: a model does not tell where it lay.

    >>> without_folders("--out models/a --data yolo:/home/ann/signs")
    '--out a --data yolo:signs'
    """
    return " ".join(map(_last_name, text.split(" ")))


def _last_name(word: str) -> str:
    kind, colon, path = word.rpartition(":")
    return f"{kind}{colon}{Path(path).name}" if "/" in path else word
