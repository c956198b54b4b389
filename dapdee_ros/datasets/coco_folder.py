"""Objects in COCO's layout: one JSON file with all annotations, and folders of images.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format is described at
https://cocodataset.org/#format-data. No torch in here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import UNLABELLED, Truth
from dapdee_ros.datasets.labelled_pictures import (
    LabelledPictures,
    Shown,
    TruthOf,
    boxes_inside,
    unshown,
)
from dapdee_ros.datasets.picture_files import folders_in
from dapdee_ros.datasets.split import DataError

_PREFIXES = ("instances_", "annotations_", "_annotations.coco", "_annotations")


def open_coco(where: Path, show: Shown = unshown) -> LabelledPictures:
    """The images of a data set in COCO's layout.

    Annotations with an outline (``segmentation``) give class maps too, in which pixels without an
    object are not labelled. Crowds (``iscrowd``) are left out.

    Args:
        where: the file of annotations, or a folder that has one, in ``annotations/`` for example.
        show: shows how far one has got with finding the images.

    Raises:
        DataError: if a file is missing or damaged, there is no image, or an annotation names an
            image or a category that is not there.
    """
    path = _annotations_file(where)
    values = _read(path)
    labels, number_of = _categories(path, values["categories"])
    images = {_number(path, image, "id"): image for image in values["images"]}
    if not images:
        raise DataError(f"{path} is empty: it lists no images")
    of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
    for annotation in values["annotations"]:
        image, category = (_number(path, annotation, key) for key in ("image_id", "category_id"))
        what = f"{path}: annotation {annotation.get('id')}"
        if image not in of_image:
            raise DataError(f"{what} is of image {image}, which is not listed")
        if category not in number_of:
            raise DataError(
                f"{what} is of category {category}; the file has {len(labels)} categories: "
                f"{sorted(number_of)[:10]} ..."
            )
        if not annotation.get("iscrowd"):
            of_image[image].append(annotation)
    if not any(of_image.values()):
        raise DataError(f"the truth is missing: {path} has no annotation of any of its images")
    home = _images_folder(path, where, images)
    files = [home / str(image["file_name"]) for image in images.values()]
    truths = []
    has_maps = any(a.get("segmentation") for of in of_image.values() for a in of)
    for file, shown in zip(show(files), of_image.values(), strict=True):
        if not file.is_file():
            raise DataError(f"{path} lists {file.name}, and there is no {file}")
        truths.append(_objects(path, shown, number_of, has_maps))
    return LabelledPictures(
        tuple(files),
        tuple(truths),
        labels,
        f"{len(files)} labelled images of {path}",
        labels[:UNLABELLED] if has_maps else (),
    )


# Files -------------------------------------------------------------------------------------------


def _annotations_file(where: Path) -> Path:
    if where.is_file():
        return where
    if not where.is_dir():
        raise DataError(f"no {where}: expected a folder in COCO's layout or its JSON file")
    places = (where, where / "annotations")
    found = sorted(path for place in places for path in place.glob("*.json"))
    boxes = [path for path in found if path.name.startswith("instances_")] or found
    if len(boxes) != 1:
        names = ", ".join(str(path) for path in boxes[:8])
        raise DataError(
            f"{where} has several files of annotations: give one of {names}"
            if boxes
            else f"{where} has no JSON file with annotations, nor has its folder annotations/"
        )
    return boxes[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        entries = values.get(key) if isinstance(values, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DataError(f"{path} has no list {key!r} of objects, as COCO's annotations have")
    return dict(values)


def _number(path: Path, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int):
        raise DataError(f"{path}: {key} of {str(dict(entry))[:80]} ... is {value!r}, not a number")
    return value


def _categories(
    path: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes' names by rising id, and from an id to the place among them."""
    names = {_number(path, entry, "id"): str(entry.get("name")) for entry in entries}
    if not names or len(names) < len(entries):
        raise DataError(f"{path}: there are no categories, or two have the same id")
    ids = sorted(names)
    return tuple(names[number] for number in ids), {number: k for k, number in enumerate(ids)}


def _images_folder(path: Path, where: Path, images: Mapping[int, Mapping[str, Any]]) -> Path:
    """Where the images are, beside the annotations or by their name."""
    first = next(iter(images.values()))
    if not isinstance(first.get("file_name"), str):
        raise DataError(f"{path}: an image has no file_name")
    part = path.stem
    for prefix in _PREFIXES:
        part = part.removeprefix(prefix)
    homes = [path.parent, path.parent.parent, *([where] if where.is_dir() else [])]
    places = [
        place
        for home in homes
        for place in (home / part, home / "images" / part, home / "images", home)
    ]
    places += [folder for home in homes for folder in folders_in(home)]
    for place in places:
        if (place / first["file_name"]).is_file():
            return place
    tried = ", ".join(dict.fromkeys(str(place) for place in places[:4]))
    raise DataError(f"{first['file_name']} of {path} is in none of {tried}: put the images there")


# Objects -----------------------------------------------------------------------------------------


def _objects(
    path: Path,
    annotations: Sequence[Mapping[str, Any]],
    number_of: Mapping[int, int],
    has_maps: bool,
) -> TruthOf:
    """What the annotations of an image say."""
    places = [f"{path}: annotation {annotation.get('id')}" for annotation in annotations]
    labels = [number_of[annotation["category_id"]] for annotation in annotations]
    try:
        given = [annotation.get("bbox") for annotation in annotations]
        corners = np.array(given, np.float32).reshape(-1, 4)
        if not np.isfinite(corners).all():
            raise ValueError("a number is not finite")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{places[0]} to {annotations[-1].get('id')}: a bbox is not left, top, width and "
            f"height in pixels: {error}"
        ) from error
    corners[:, 2:] += corners[:, :2]

    def truth(size: tuple[int, int]) -> Truth:
        class_map = _class_map(annotations, labels, size, places) if has_maps else None
        return Truth(
            boxes=boxes_inside(corners, size, places), box_labels=labels, class_map=class_map
        )

    return truth


def _class_map(
    annotations: Sequence[Mapping[str, Any]],
    labels: Sequence[int],
    size: tuple[int, int],
    places: Sequence[str],
) -> NDArray[np.uint8]:
    """The class of every pixel of an object, the smallest where several overlap."""
    from pycocotools import mask

    class_map = np.full(size, UNLABELLED, np.uint8)
    parts: list[tuple[int, int, NDArray[np.bool_]]] = []
    for annotation, label, place in zip(annotations, labels, places, strict=True):
        outline = annotation.get("segmentation")
        if not outline or label >= UNLABELLED:
            continue
        try:
            if isinstance(outline, list):
                runs = mask.merge(mask.frPyObjects(outline, *size))
            elif isinstance(outline.get("counts"), list):
                runs = mask.frPyObjects(outline, *size)
            else:
                runs = outline
            inside = np.asarray(mask.decode(runs), bool)
        except Exception as error:  # pycocotools raises whatever its C code says
            raise DataError(f"{place}: its segmentation cannot be read: {error}") from error
        if inside.shape != size:
            raise DataError(f"{place}: its segmentation is of {inside.shape} pixels, not {size}")
        parts.append((int(inside.sum()), label, inside))
    for _area, label, inside in sorted(parts, key=lambda entry: -entry[0]):
        class_map[inside] = label
    return class_map
