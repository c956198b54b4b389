"""Objects in YOLO's layout: ``images/`` beside ``labels/`` with a text file for each image.

A line of a text file is one object: its class, then centre and size of its box, or the corners of
its outline, relative to the image. Classes are named by a YAML file with ``names`` (that may also
say which images are for training, ``train``, and which are held out, ``val`` and ``test``) or by
``classes.txt``. As of https://docs.ultralytics.com/datasets/detect/. No torch in here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import Truth
from dapdee_ros.datasets.labelled_pictures import (
    LabelledPictures,
    Shown,
    TruthOf,
    boxes_inside,
    unshown,
)
from dapdee_ros.datasets.picture_files import folders_in, pictures_in
from dapdee_ros.datasets.split import DataError

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
_HELD_OUT_FIRST = ("val", "test", "train")
_NAMES_FILES = ("classes.txt", "obj.names")
_UPWARDS = 3
_BOX, _LEAST_OUTLINE = 4, 6


@dataclass(frozen=True)
class _Named:
    """The names of the classes, and what else the file says that has them."""

    path: Path
    labels: tuple[str, ...]
    values: Mapping[str, Any]


def open_yolo(where: Path, part: str = "", show: Shown = unshown) -> LabelledPictures:
    """The images of a data set in YOLO's layout.

    Args:
        where: the data set's YAML file or folder, or one of its folders of images.
        part: ``train``, ``val`` or ``test``, if the YAML file has several; otherwise the first of
            ``val``, ``test`` and ``train`` that it has.
        show: shows how far one has got with reading labels.

    Raises:
        DataError: if a file is missing or damaged, there is no image, no label at all, a class
            without a name, or a line that is no object.
    """
    if part and part not in PARTS:
        raise DataError(f"part {part!r}, expected one of {', '.join(PARTS)}")
    if not where.exists():
        raise DataError(f"no {where}: expected a folder in YOLO's layout or its YAML file")
    named = _named(where)
    folder = _images(where, named, part)
    files = pictures_in(folder)
    if not files:
        raise DataError(f"{folder} is empty: there are no images in it")
    labels_in = _labels_folder(folder)
    truths, missing = [], 0
    for path in show(files):
        text_file = labels_in / f"{path.stem}.txt"
        missing += not text_file.is_file()
        truths.append(_objects(text_file, named))
    if missing == len(files):
        raise DataError(
            f"the truth is missing: {labels_in} has no text file for any of the {len(files)} "
            f"images in {folder}; expected {labels_in / files[0].stem}.txt, for example"
        )
    if missing:
        log.warning(
            "%d of %d images in %s have no text file in %s: they count as showing no object",
            missing, len(files), folder, labels_in,
        )  # fmt: skip
    return LabelledPictures(
        tuple(files), tuple(truths), named.labels, f"{len(files)} labelled images in {folder}"
    )


# Names and folders -------------------------------------------------------------------------------


def yolo_parts(where: Path) -> tuple[str, ...]:
    """Which of ``PARTS`` a data set in YOLO's layout has; empty if it is not divided.

    Raises:
        DataError: if it does not name its classes.
    """
    if not where.exists() or (where.is_dir() and pictures_in(where)):
        return ()
    named = _named(where)
    if there := tuple(part for part in PARTS if named.values.get(part)):
        return there
    images = named.path.parent / "images"
    names = [folder.name for folder in folders_in(images)] if images.is_dir() else []
    return tuple(part for part in PARTS if sum(name.startswith(part) for name in names) == 1)


def _named(where: Path) -> _Named:
    """The names of the classes, from the nearest file that has them."""
    if where.is_file():
        return _read_yaml(where, required=True) or _no_names(where)
    folder = where.resolve()
    for place in (folder, *folder.parents[:_UPWARDS]):
        candidates = sorted([*place.glob("*.yaml"), *place.glob("*.yml")])
        found = [named for path in candidates if (named := _read_yaml(path)) is not None]
        # A data set may have class maps with classes of their own beside its boxes.
        with_boxes = [named for named in found if "masks" not in named.values] or found
        if len(with_boxes) > 1:
            raise DataError(
                f"{place} has several YAML files with names, "
                f"{' and '.join(named.path.name for named in with_boxes)}: give the one to use"
            )
        if with_boxes:
            return with_boxes[0]
        for name in _NAMES_FILES:
            if (place / name).is_file():
                lines = (place / name).read_text(encoding="utf-8").splitlines()
                return _Named(place / name, tuple(s for line in lines if (s := line.strip())), {})
    return _no_names(where)


def _no_names(where: Path) -> _Named:
    raise DataError(
        f"{where} does not name its classes: expected a YAML file with names (data.yaml), or "
        "classes.txt with one name per line"
    )


def _read_yaml(path: Path, required: bool = False) -> _Named | None:
    """The names in a file; None if it has none and they are not required."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        if not required:
            return None
        what = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as YAML: {what}") from error
    if not isinstance(values, dict) or "names" not in values:
        return None
    names = values["names"]
    if isinstance(names, dict):
        wanted = list(range(len(names)))
        if sorted(names, key=str) != sorted(wanted, key=str):
            raise DataError(f"{path}: names has the numbers {list(names)}, expected {wanted}")
        names = [names[number] for number in wanted]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names is {names!r}, expected a list of the classes' names")
    if values.get("nc", len(names)) != len(names):
        raise DataError(
            f"{path} says that there are {values['nc']} classes (nc), and names {len(names)}"
        )
    return _Named(path, tuple(str(name) for name in names), values)


def _images(where: Path, named: _Named, part: str) -> Path:
    """The folder of the images that are asked for."""
    if where.is_dir() and not part and pictures_in(where):
        return where
    there = [name for name in _HELD_OUT_FIRST if named.values.get(name)]
    if there:
        chosen = part or there[0]
        if chosen not in there:
            raise DataError(f"{named.path} has no {part!r} part, only {', '.join(sorted(there))}")
        entry = named.values[chosen]
        if not isinstance(entry, str):
            raise DataError(f"{named.path}: {chosen} is {entry!r}, expected one folder of images")
        home = named.path.parent / str(named.values.get("path") or "")
        # Some exports count from the folder of the images instead.
        places = [home / entry, home / entry.removeprefix("../"), named.path.parent / entry]
        for folder in places:
            if folder.is_dir():
                return folder
        raise DataError(f"{named.path}: {chosen} is {entry!r}, and there is no folder {places[0]}")
    home = named.path.parent
    images = home / "images"
    if not images.is_dir():
        raise DataError(f"{home} has no folder images/, as YOLO's layout has")
    parts = [folder for folder in folders_in(images) if pictures_in(folder)]
    if pictures_in(images) or not parts:
        return images
    matching = [folder for folder in parts if part and folder.name.startswith(part)]
    if len(matching) != 1 and len(parts) > 1:
        names = ", ".join(str(folder) for folder in parts)
        raise DataError(f"{images} holds several folders of images: give one of {names}")
    return (matching or parts)[0]


def _labels_folder(images: Path) -> Path:
    """Where the text files are: the path with its last ``images`` replaced, or the same folder."""
    parts = list(images.resolve().parts)
    if "images" in parts:
        place = len(parts) - 1 - parts[::-1].index("images")
        return Path(*parts[:place], "labels", *parts[place + 1 :])
    return images


# Objects -----------------------------------------------------------------------------------------


def _objects(path: Path, named: _Named) -> TruthOf:
    """What a text file says; without one there is no object."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    boxes, labels, places = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        label, box = _object(line, place)
        if not 0 <= label < len(named.labels):
            raise DataError(
                f"{place}: class {label}, but {named.path} names {len(named.labels)} classes (0 to "
                f"{len(named.labels) - 1}): the labels are of other classes"
            )
        boxes.append(box)
        labels.append(label)
        places.append(place)
    relative = np.array(boxes, np.float32).reshape(-1, 4)

    def truth(size: tuple[int, int]) -> Truth:
        height, width = size
        pixels: NDArray[np.float32] = relative * np.array([width, height] * 2, np.float32)
        return Truth(boxes=boxes_inside(pixels, size, places), box_labels=labels)

    return truth


def _object(line: str, place: str) -> tuple[int, list[float]]:
    """Class and corners, relative to the image, of a line."""
    words = line.split()
    try:
        label, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        label, values = -0.5, []
    count = len(values)
    outline = count >= _LEAST_OUTLINE and count % 2 == 0
    if label != int(label) or not (count == _BOX or outline) or not np.isfinite(values).all():
        raise DataError(
            f"{place} is {line[:60]!r}, expected a class and centre x, centre y, width and height "
            "relative to the image, or the corners of an outline"
        )
    if outline:
        xs, ys = values[::2], values[1::2]
        return int(label), [min(xs), min(ys), max(xs), max(ys)]
    x, y, width, height = values
    return int(label), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
