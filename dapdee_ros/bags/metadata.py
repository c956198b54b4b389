"""Checks a bag's metadata.yaml against the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from dapdee_ros.bags.errors import BagError

FILE = "metadata.yaml"
_STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}


def check_metadata(folder: Path) -> None:
    """Check that a bag's folder contains what its metadata names.

    Ignores unreadable metadata and paths that are not folders: opening the bag reports those.

    Raises:
        BagError: if a part is missing, or the storage is not named; says what to do.
    """
    about = _read(folder / FILE)
    if about is None:
        return
    named = [Path(str(part)).name for part in about.get("relative_file_paths") or []]
    there = {path.name for path in folder.iterdir() if path.is_file()}
    missing = [name for name in named if name not in there]
    # Other files of the same kind: most likely the missing part under another name.
    kinds = {Path(name).suffix for name in missing}
    others = sorted(n for n in there if n not in named and Path(n).suffix in kinds)
    if missing:
        found = f", but there {'is' if len(others) == 1 else 'are'} {', '.join(others)}"
        cure = (
            f"rename {others[0]} to {missing[0]}"
            if len(others) == len(missing) == 1
            else "put it back"
            if len(missing) == 1
            else "put them back"
        )
        raise BagError(
            f"files of the bag {folder} are missing: {', '.join(missing)}, named in {FILE}"
            f"{found if others else ''}; {cure}, or with ROS `ros2 bag reindex {folder}`"
        )
    if not about.get("storage_identifier"):
        storage = next((_STORAGES[s] for n in named if (s := Path(n).suffix) in _STORAGES), None)
        likely = f"{storage} by the names of its files" if storage else "mcap or sqlite3"
        raise BagError(
            f"{folder / FILE} does not say how the bag is stored: storage_identifier is empty, "
            f"expected {likely}. Write it there, or give one of the files instead of the folder"
        )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        about = YAML(typ="safe").load(path.read_text(encoding="utf-8"))[
            "rosbag2_bagfile_information"
        ]
    except (OSError, ValueError, TypeError, KeyError, YAMLError):
        return None
    return about if isinstance(about, dict) else None
