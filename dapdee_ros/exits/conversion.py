"""Make a model folder of today out of one of format 1, which held weights without operators."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load

from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.exits.builders import BuilderError
from dapdee_ros.exits.card import (
    CALIBRATION_FILE,
    FORMAT,
    GRAPH_FILE,
    MODEL_FILE,
    NETWORK_FILE,
    ModelCard,
    ModelFolderError,
    read_calibration,
    read_card,
    read_json,
)
from dapdee_ros.exits.model_folder import (
    build_multi_exit,
    check_graph,
    load_weights,
    runner_of,
    save_model,
)
from dapdee_ros.exits.model_folder_writer import FORMER_WEIGHTS_FILE
from dapdee_ros.exits.multi_exit import MultiExit
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.files import FileError, make_folder
from dapdee_ros.former_names import named
from dapdee_ros.graph.dag import GraphError, ModelDag

_IMAGES = 4
# In the order in which they are put in place: the card last.
_FILES = (NETWORK_FILE, GRAPH_FILE, CALIBRATION_FILE, MODEL_FILE)


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        card: the model as it is now.
        former_id: its id in format 1.
        bytes_before: of the former folder's files.
        bytes_after: of the new one's.
        difference: largest difference between outputs of the former network under torch and the new
            one under ONNX Runtime, over the largest output, for a few random images.
    """

    card: ModelCard
    former_id: str
    bytes_before: int
    bytes_after: int
    difference: float


def convert(
    folder: Path, out: Path | None = None, progress: Callable[[str], object] = lambda _step: None
) -> Conversion:
    """Convert a model folder.

    In place, nothing is replaced before everything is written and has been compared, and the former
    weights go last: whenever it is interrupted, it can be repeated.

    Args:
        folder: of format 1.
        out: another folder, which must hold no model; None to convert in place.
        progress: called with what is done next, in words.

    Raises:
        ModelFolderError: if the folder cannot be read or is of another format, or ``out`` holds a
            model.
        FileError: if a file cannot be written.
    """
    values = read_json(folder / MODEL_FILE)
    if values.get("format") != 1:
        raise ModelFolderError(
            f"{folder / MODEL_FILE}: format {values.get('format')!r}, there is nothing to convert: "
            f"only format 1 can be, and this version reads {FORMAT}"
        )
    if out is not None and (out / MODEL_FILE).exists():
        raise ModelFolderError(f"{out} holds a model: choose another folder")
    target = make_folder(out or folder)
    calibration = read_calibration(folder)
    try:
        progress(f"reading {folder}")
        model, former_id = _read(folder, values)
        before = _size(folder, (*_FILES, FORMER_WEIGHTS_FILE))
        with tempfile.TemporaryDirectory(dir=target, prefix=".converted-") as name:
            draft = Path(name)
            progress("writing the network as ONNX")
            card = save_model(
                draft,
                model,
                name=str(values["name"]),
                architecture=values["architecture"],
                labels=values["labels"],
                mean=values["input"]["mean"],
                std=values["input"]["std"],
                exit_quality=named(values, "quality")["exits"],
                quality_data=named(values, "quality")["data"],
                provenance=values["provenance"],
                calibration=calibration,
            )
            # One that an interrupted conversion has put in place is of the new model already.
            if calibration and calibration.model_id not in (former_id, card.model_id):
                raise ModelFolderError(
                    f"{folder / CALIBRATION_FILE} is of model {calibration.model_id!r}, not of "
                    f"this one ({former_id!r}): remove it, and calibrate again afterwards"
                )
            progress("comparing its outputs")
            difference = _difference(model, draft)
            for file in _FILES:
                if (draft / file).exists():
                    (draft / file).replace(target / file)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelFolderError):
            raise
        raise ModelFolderError(
            f"{folder / MODEL_FILE}: an entry is missing or of the wrong kind: "
            f"{type(error).__name__}: {error}"
        ) from error
    except OSError as error:
        raise FileError.about(target, error) from error
    (target / FORMER_WEIGHTS_FILE).unlink(missing_ok=True)
    card = read_card(target)
    return Conversion(card, former_id, before, _size(target, _FILES), difference)


def _read(folder: Path, values: Mapping[str, Any]) -> tuple[MultiExit, str]:
    """The network of a folder of format 1, and its id."""
    path = folder / FORMER_WEIGHTS_FILE
    try:
        content = path.read_bytes()
        stored = load(content)
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != values["weights"]["sha256"]:
        raise ModelFolderError(
            f"{path} ({len(content)} bytes) is not the file that {MODEL_FILE} was saved with: it "
            "is corrupt or of another model; copy the folder again"
        )
    former_id = _former_id(values, digest)
    if former_id != values["model_id"]:
        raise ModelFolderError(
            f"{folder / MODEL_FILE}: model id {values['model_id']!r} does not match its contents "
            f"({former_id!r}): the file was edited"
        )
    height, width = (int(side) for side in values["input"]["size"])
    try:
        model = build_multi_exit(
            values["architecture"], (height, width), values["input"]["mean"], values["input"]["std"]
        )
        written = ModelDag.from_dict(read_json(folder / GRAPH_FILE))
    except (BuilderError, GraphError) as error:
        raise ModelFolderError(f"{folder}: {error}") from error
    load_weights(model, stored, str(path))
    check_graph(folder, written, runner_of(model).dag)
    return model.eval(), former_id


def _former_id(values: Mapping[str, Any], digest: str) -> str:
    """The id that a model had in format 1."""
    structure = {
        "architecture": values["architecture"],
        "labels": [str(label) for label in values["labels"]],
        "input_size": [int(side) for side in values["input"]["size"]],
        "mean": [float(v) for v in values["input"]["mean"]],
        "std": [float(v) for v in values["input"]["std"]],
        "weights": digest,
    }
    canonical = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _difference(model: MultiExit, converted: Path) -> float:
    former = TorchEngine(runner_of(model))
    now = load_runnable(converted, "onnxruntime").engine
    random = np.random.default_rng(0)
    worst = 0.0
    for _ in range(_IMAGES):
        image = random.integers(0, 256, former.dag.nodes[0].shape, np.uint8)
        given = {former.dag.input: image}
        expected = former.run(given, former.dag.outputs)
        came = now.run(given, former.dag.outputs)
        largest = max(float(np.abs(array).max()) for array in expected.values())
        worst = max(
            worst,
            *(float(np.abs(came[n] - expected[n]).max()) / largest for n in former.dag.outputs),
        )
    return worst


def _size(folder: Path, names: tuple[str, ...]) -> int:
    return sum((folder / name).stat().st_size for name in names if (folder / name).exists())
