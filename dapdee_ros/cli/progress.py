"""How commands show how far they have got, and what they write down of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def shown_files(files: Iterable[Path]) -> Iterator[Path]:
    """Passes files on, with a bar on the error stream."""
    from tqdm import tqdm

    yield from tqdm(files, desc="reading labels", unit="file", file=sys.stderr, leave=False)


def without_folders(argument: str) -> str:
    """An argument with only the last name of a path: a model does not tell where it lay.

    >>> without_folders("--out"), without_folders("yolo:/home/ann/signs"), without_folders("a/b.c")
    ('--out', 'yolo:signs', 'b.c')
    """
    kind, colon, path = argument.rpartition(":")
    return f"{kind}{colon}{Path(path).name}" if "/" in path else argument
