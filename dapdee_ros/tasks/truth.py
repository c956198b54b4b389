"""What a frame really shows, as the SceneTruth message that camera, viewer and logs share."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.class_maps import ClassMapError, deflated_map, inflated_map
from dapdee_ros.datasets.frame_source import UNLABELLED, Truth

MOST_OBJECTS = 300
"""Most objects that a SceneTruth holds; the first ones of a source that knows more."""

_MOST_PIXELS = 1 << 26
_MOST_MAP_BYTES = 4_194_304


def truth_fields(
    truth: Truth, labels: Sequence[str], surfaces: Sequence[str] = ()
) -> dict[str, Any]:
    """What an image shows, as the fields of a SceneTruth.

    Args:
        truth: what is known.
        labels: names of the classes of images and objects that the image's source knows.
        surfaces: names of the classes in its class maps.

    >>> truth_fields(Truth(1), ["stop", "yield"])
    {'class_id': 1, 'label': 'yield'}
    >>> truth_fields(Truth(boxes=()), ["car"])
    {'class_id': -1, 'label': '', 'objects_known': True, 'labels': ['car']}
    """
    known = truth.label is not None
    fields: dict[str, Any] = {
        "class_id": truth.label if known else -1,
        "label": labels[truth.label] if truth.label is not None else "",
    }
    if truth.boxes is not None:
        fields |= {"objects_known": True, "labels": list(labels)}
        if len(truth.boxes):
            fields["boxes"] = truth.boxes[:MOST_OBJECTS].reshape(-1).tolist()
            fields["box_classes"] = truth.box_labels[:MOST_OBJECTS].tolist()
    if truth.class_map is not None:
        pressed = deflated_map(np.asarray(truth.class_map, np.uint8), level=1)
        if len(pressed) <= _MOST_MAP_BYTES:
            height, width = truth.class_map.shape
            fields |= {"map_height": height, "map_width": width, "surfaces": list(surfaces)}
            fields["class_map"] = array("B", pressed)
    return fields


def true_label(message: Any, labels: Sequence[str]) -> int | None:
    """The class that a SceneTruth names, as an index into a model's labels.

    None if it names none, or one that the model does not have. Camera and model have lists of
    their own; they share the names.
    """
    if message.class_id < 0 or message.label not in labels:
        return None
    return list(labels).index(message.label)


def true_objects(
    message: Any, labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """The objects that a SceneTruth names: boxes ``(n, 4)`` in pixels of the image, and classes.

    Classes are indices into a model's labels. Objects of classes that the model does not have are
    left out. None if the objects are not known, if the model has none of the classes, or if the
    lists disagree; nothing about the message is trusted.
    """
    names = [str(name) for name in message.labels]
    number = _numbers(names, labels, -1)
    if not message.objects_known or not (number >= 0).any():
        return None
    classes = np.asarray(message.box_classes, np.int64).reshape(-1)
    boxes = np.asarray(message.boxes, np.float32)
    if boxes.size != 4 * classes.size or ((classes < 0) | (classes >= len(names))).any():
        return None
    boxes = boxes.reshape(-1, 4)
    if not np.isfinite(boxes).all() or (boxes[:, :2] > boxes[:, 2:]).any():
        return None
    ours = number[classes]
    return boxes[ours >= 0], ours[ours >= 0].astype(np.int32)


def true_class_map(message: Any, labels: Sequence[str]) -> NDArray[np.uint8] | None:
    """The class map of a SceneTruth, uint8 ``(H, W)``, in a model's own numbers.

    Pixels of classes that the model does not have are ``UNLABELLED``. None if there is no class
    map, if the model has none of its classes, or if it is damaged; nothing about the message is
    trusted.
    """
    height, width = int(message.map_height), int(message.map_width)
    number = np.full(256, UNLABELLED, np.uint8)
    ours = _numbers([str(name) for name in message.surfaces][:UNLABELLED], labels, UNLABELLED)
    number[: len(ours)] = ours
    if not 0 < height * width <= _MOST_PIXELS or (ours == UNLABELLED).all():
        return None
    try:
        return number[inflated_map(message.class_map, (height, width))]
    except ClassMapError:
        return None


def _numbers(names: Sequence[str], labels: Sequence[str], otherwise: int) -> NDArray[np.int64]:
    """Each name's index in a model's labels."""
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index.get(name, otherwise) for name in names], np.int64)
