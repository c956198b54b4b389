"""The message types in bags: ROS 2's, this package's, and those of installed packages."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.foxglove_types import DEFINITIONS
from dapdee_ros.former_names import FORMER_SCENE_TRUTH

OWN_PACKAGE = "dapdee_ros"
INFERENCE_RESULT = "dapdee_ros/msg/InferenceResult"
PARTITION_PLAN = "dapdee_ros/msg/PartitionPlan"
LINK_QUALITY = "dapdee_ros/msg/LinkQuality"
DEVICE_PROFILE = "dapdee_ros/msg/DeviceProfile"
SCENE_TRUTH = "dapdee_ros/msg/SceneTruth"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"


_FORMER = {SCENE_TRUTH: FORMER_SCENE_TRUTH}


@lru_cache(maxsize=1)
def _former_types() -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind, definition in _FORMER.items():
        store.register(get_types_from_msg(definition, kind))
    return store


@lru_cache(maxsize=1)
def message_types() -> Typestore:
    """All types of ROS 2 Jazzy's common packages and of this package.

    Raises:
        BagError: if this package's message files are not found.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    folders = _message_folders(OWN_PACKAGE)
    files = [sorted(folder.glob("*.msg")) for folder in folders]
    found = next((some for some in files if some), None)
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise BagError(
            f"this package's message files (*.msg) are in none of {looked}: run `make setup` and "
            "`source tools/env.sh`, or use the source folder"
        )
    for path in found:
        _register_file(store, path, f"{OWN_PACKAGE}/msg/{path.stem}")
    for kind, definition in DEFINITIONS.items():
        store.register(get_types_from_msg(definition, kind))
    return store


def former_message(kind: str, data: bytes | memoryview) -> Any | None:
    """A message of an earlier definition of ``kind`` as one of today's; None if it is not one.

    Args:
        kind: ``package/msg/Name``.
        data: the message in CDR.
    """
    if kind not in _FORMER:
        return None
    store = _former_types()
    try:
        found = store.deserialize_cdr(data, kind)
    except SerdeError:
        return None
    names = [name for name, _what in store.fielddefs[kind][1]]
    return new_message(kind, **{name: getattr(found, name) for name in names})


def require_type(kind: str) -> Typestore:
    """The types, including ``kind`` (``package/msg/Name``) and all nested types.

    Unknown types are read from the installed package's share folder.

    Raises:
        BagError: if a definition is not found or invalid.
    """
    store = message_types()
    wanted = [kind]
    while wanted:
        name = wanted.pop()
        if name not in store.fielddefs:
            _register_installed(store, name)
        for _field, description in store.fielddefs[name][1]:
            nested = _nested_name(description)
            if nested and nested not in store.fielddefs:
                wanted.append(nested)
    return store


def new_message(kind: str, **fields: Any) -> Any:
    """A message of a known type, ready to be written.

    Fields that are not given are 0 or empty, as in ROS.

    Raises:
        BagError: if the type's definition is not found.
    """
    store = message_types()
    if kind not in store.fielddefs:
        require_type(kind)
    for name, (node, what) in store.fielddefs[kind][1]:
        if name not in fields:
            fields[name] = _empty(node.name, what)
    return store.types[kind](**fields)


def _empty(node: str, what: Any) -> Any:
    """What a field holds that nothing was said of: ``what`` is rosbags' word for its type."""
    if node == "BASE":
        return {"string": "", "bool": False}.get(what[0], 0)
    if node == "NAME":
        return new_message(what)
    inner, of = what[0]
    if node == "ARRAY":
        return np.zeros(what[1], of[0]) if inner.name == "BASE" else [new_message(of)] * what[1]
    plain = inner.name == "BASE" and of[0] != "string"
    return np.zeros(0, of[0]) if plain else []


def _register_installed(store: Typestore, kind: str) -> None:
    package, _, name = kind.partition("/msg/")
    folders = _message_folders(package)
    path = next((f / f"{name}.msg" for f in folders if (f / f"{name}.msg").is_file()), None)
    if path is None:
        raise BagError(
            f"no definition of the message type {kind}: {name}.msg is in none of "
            f"{', '.join(str(folder) for folder in folders)}; source the workspace that has it"
        )
    _register_file(store, path, kind)


def _register_file(store: Typestore, path: Path, kind: str) -> None:
    try:
        store.register(get_types_from_msg(path.read_text(encoding="utf-8"), kind))
    except (TypesysError, OSError, UnicodeDecodeError) as error:
        raise BagError(f"{path} is not a usable message definition: {error}") from error


def _nested_name(description: Any) -> str | None:
    """The message type that a field holds, alone or in an array; None for a plain value."""
    node, what = description
    if node.name in ("ARRAY", "SEQUENCE"):
        node, what = what[0]
    return what if node.name == "NAME" else None


def _message_folders(package: str) -> list[Path]:
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    folders = [Path(prefix) / "share" / package / "msg" for prefix in [*prefixes, sys.prefix]]
    sources = Path(__file__).resolve().parents[2]
    if package == OWN_PACKAGE:
        folders.append(sources / "msg")
    else:
        folders.append(sources / "tools" / package / "msg")
    return folders
