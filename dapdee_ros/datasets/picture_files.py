"""Finds a folder's image files and detects truncated ones. Does not use OpenCV."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the files that are read as images, in upper or lower case."""


def pictures_in(folder: Path) -> list[Path]:
    """The images in a folder, by name (``2`` before ``10``).

    Hidden files are ignored. Other skipped files are counted and named in the log.
    """
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
    found = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    others = Counter(p.suffix.lower() or p.name for p in files if p not in set(found))
    if others:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items())[:8])
        log.warning(
            "%s: %d files are skipped (%s); images end in %s",
            folder, sum(others.values()), counted, " ".join(PICTURE_SUFFIXES),
        )  # fmt: skip
    return sorted(found, key=_by_number)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _by_number(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def what_is_missing(path: Path) -> str:
    """The reason, as text, why an image file is incomplete; empty if nothing is missing.

    Of a file truncated by an aborted copy or a full disk, decoders return what there is, the rest
    grey, and say so only on the terminal.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
    except UnidentifiedImageError:
        return "it is not an image in a supported format"
    except Image.DecompressionBombError as error:
        return str(error)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        return f"it is truncated or damaged ({error})"
    return ""
