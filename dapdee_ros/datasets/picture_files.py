"""Finds a folder's image files and detects truncated ones. Does not use OpenCV."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np

from dapdee_ros.codecs.camera_file import camera_file_fault
from dapdee_ros.codecs.picture_file import picture_size

_ORIENTATION, _UPRIGHT = 0x0112, 1

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the files that are read as images, in upper or lower case."""


def pictures_in(folder: Path) -> list[Path]:
    """The images in a folder, by name (``2`` before ``10``).

    Hidden files are ignored. What else lies among images is counted and named in the log.
    """
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
    found = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    others = Counter(p.suffix.lower() or p.name for p in files if p not in set(found))
    if others and found:
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


def jpeg_of(path: Path, size: tuple[int, int]) -> bytes | None:
    """A file's content if it is a JPEG whose stored pixels are those of the image; else None.

    Args:
        path: the file.
        size: height and width of the image as it was read, turned by EXIF's orientation.
    """
    from PIL import Image

    data = path.read_bytes()
    file = np.frombuffer(data, np.uint8)
    if camera_file_fault(file) or picture_size(file) != tuple(size):
        return None
    with Image.open(path) as picture:
        turned = picture.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    return None if turned else data


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
