"""How commands show how far they have got."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def shown_files(files: Iterable[Path]) -> Iterator[Path]:
    """Passes files on, with a bar on the error stream."""
    from tqdm import tqdm

    yield from tqdm(files, desc="reading labels", unit="file", file=sys.stderr, leave=False)
