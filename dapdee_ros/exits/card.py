"""The planner's view of a model, read from its folder. No torch in here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapdee_ros.exits.gates import Calibration, CalibrationError
from dapdee_ros.former_names import named
from dapdee_ros.graph.dag import GraphError, ModelDag

MODEL_FILE = "model.json"
GRAPH_FILE = "graph.json"
WEIGHTS_FILE = "weights.safetensors"
CALIBRATION_FILE = "calibration.json"
FORMAT = 1


class ModelFolderError(ValueError):
    """A model folder that cannot be used; the message names the file, what is wrong, what to do."""


@dataclass(frozen=True)
class ModelCard:
    """A model as the planner sees it.

    Attributes:
        name: its name.
        path: its folder.
        model_id: hash of structure and weights; used in messages.
        dag: the network with batch norms folded.
        labels: class names, in the order of the logits.
        input_size: height and width of the network's input in pixels.
        exit_quality: for each exit, shallowest first, the quality on ``quality_data``.
        quality_data: description of the data it was measured on.
        calibration: gates and temperatures, or None if the model was never calibrated.
        architecture: builder, its arguments, taps and branches, as ``model.json`` holds them.
        mean: what is subtracted from each colour channel (of 0 to 1).
        std: what each channel is divided by then.
        provenance: how the model was created: command, date, versions.
        weights_sha256: digest of the weights file that belongs to this card.
    """

    name: str
    path: Path
    model_id: str
    dag: ModelDag
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    exit_quality: tuple[float, ...]
    quality_data: str
    calibration: Calibration | None
    architecture: Mapping[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""


def structure_id(
    architecture: Mapping[str, Any],
    labels: tuple[str, ...],
    input_size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    weights_sha256: str,
) -> str:
    """The model id: 16 hexadecimal digits of SHA-256 over structure and weights."""
    structure = {
        "architecture": architecture,
        "labels": labels,
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "weights": weights_sha256,
    }
    canonical = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"{path} is missing: a model folder holds {MODEL_FILE}, {GRAPH_FILE}, {WEIGHTS_FILE} "
            f"and, once calibrated, {CALIBRATION_FILE}"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelFolderError(
            f"{path} must hold a JSON object, it holds a {type(values).__name__}"
        )
    return values


def read_card(folder: Path | str) -> ModelCard:
    """Read and check a model folder, all but its weights.

    Raises:
        ModelFolderError: if a file is missing, not JSON, incomplete, of another format version,
            or contradicts the others.
    """
    card = read_parts(folder)
    check_id(card)
    return card


def read_parts(folder: Path | str, *, with_calibration: bool = True) -> ModelCard:
    """As ``read_card``, but without checking the model id.

    Args:
        folder: the model folder.
        with_calibration: False does not read ``calibration.json``.
    """
    folder = Path(folder)
    path = folder / MODEL_FILE
    values = _read_json(path)
    if values.get("format") != FORMAT:
        raise ModelFolderError(
            f"{path}: format {values.get('format')!r}, this version reads {FORMAT}"
        )
    graph_path = folder / GRAPH_FILE
    try:
        dag = ModelDag.from_dict(_read_json(graph_path))
    except GraphError as error:
        raise ModelFolderError(f"{graph_path}: {error}") from error
    try:
        height, width = (int(side) for side in values["input"]["size"])
        red, green, blue = (float(v) for v in values["input"]["mean"])
        red_std, green_std, blue_std = (float(v) for v in values["input"]["std"])
        quality = named(values, "quality")
        card = ModelCard(
            name=str(values["name"]),
            path=folder,
            model_id=str(values["model_id"]),
            dag=dag,
            labels=tuple(str(label) for label in values["labels"]),
            input_size=(height, width),
            exit_quality=tuple(float(a) for a in quality["exits"]),
            quality_data=str(quality["data"]),
            calibration=_read_calibration(folder) if with_calibration else None,
            architecture=dict(values["architecture"]),
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
            provenance=dict(values["provenance"]),
            weights_sha256=str(values["weights"]["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelFolderError):
            raise
        raise ModelFolderError(
            f"{path}: an entry is missing or of the wrong kind: {type(error).__name__}: {error}"
        ) from error
    _check(card)
    return card


def _read_calibration(folder: Path) -> Calibration | None:
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        return Calibration.from_dict(_read_json(path))
    except CalibrationError as error:
        raise ModelFolderError(f"{path}: {error}") from error


def _check(card: ModelCard) -> None:
    """Check the files of a folder for consistency.

    Raises:
        ModelFolderError: naming the two things that differ.
    """
    path = card.path / MODEL_FILE
    exits = card.dag.exits
    for number, outputs in enumerate(exits, start=1):
        shapes = [card.dag.by_name[name].shape for name in outputs]
        if shapes != [(1, len(card.labels))]:
            raise ModelFolderError(
                f"{path} names {len(card.labels)} labels, but exit {number} ({outputs[0]!r}) puts "
                f"out shape {' and '.join(map(str, shapes))}"
            )
    taps = card.architecture.get("taps", [])
    if len(taps) + 1 != len(exits):
        raise ModelFolderError(
            f"{path} names {len(taps)} taps, which makes {len(taps) + 1} exits; {GRAPH_FILE} has "
            f"{len(exits)}"
        )
    if len(card.exit_quality) != len(exits):
        raise ModelFolderError(
            f"{path} gives {len(card.exit_quality)} qualities for {len(exits)} exits"
        )
    first = card.dag.nodes[0]
    if (first.shape, first.dtype) != ((1, *card.input_size, 3), "uint8"):
        raise ModelFolderError(
            f"{path} says the input is uint8 of size {card.input_size}, {GRAPH_FILE} says "
            f"{first.dtype} {first.shape}"
        )
    calibration = card.calibration
    if calibration is not None and calibration.model_id != card.model_id:
        raise ModelFolderError(
            f"{card.path / CALIBRATION_FILE} is of model {calibration.model_id!r}, not of this one "
            f"({card.model_id!r}): run `dapdee calibrate --model {card.path}` again"
        )
    if calibration is not None and len(calibration.exit_quality) != len(exits):
        raise ModelFolderError(
            f"{card.path / CALIBRATION_FILE} is about {len(calibration.exit_quality)} exits, the "
            f"model has {len(exits)}"
        )


def check_id(card: ModelCard) -> None:
    """Check a card's id against its contents.

    Raises:
        ModelFolderError: if they differ.
    """
    path = card.path / MODEL_FILE
    expected = structure_id(
        card.architecture, card.labels, card.input_size, card.mean, card.std, card.weights_sha256
    )
    if card.model_id != expected:
        raise ModelFolderError(
            f"{path}: model id {card.model_id!r} does not match its contents ({expected!r}): the "
            "file was edited; save the model again"
        )


def _model_homes() -> list[Path]:
    """Folders that may hold model folders, in the order they are searched."""
    homes = [Path(p) for p in os.environ.get("DAPDEE_MODEL_PATH", "").split(os.pathsep) if p]
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    homes += [Path(p) / "share" / "dapdee_ros" / "models" for p in [*prefixes, sys.prefix]]
    homes.append(Path(__file__).resolve().parents[2] / "models")
    return homes


def spoken_name(model_id: str) -> str:
    """Display name of a model known by its id: ``roadsigns (285582811ede)``.

    The name is that of the installed model with this id; otherwise only the short id is shown.
    """
    for home in _model_homes():
        for path in sorted(home.glob(f"*/{MODEL_FILE}")):
            with contextlib.suppress(ModelFolderError):
                values = _read_json(path)
                if values.get("model_id") == model_id:
                    return f"{path.parent.name} ({model_id[:12]})"
    return model_id[:12]


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a model, given by path or by name.

    An existing folder is used directly. A name is looked up in the folders of
    ``DAPDEE_MODEL_PATH``, in ``share/dapdee_ros/models`` under each entry of
    ``AMENT_PREFIX_PATH`` and under this Python's prefix, and in the source tree.

    Raises:
        ModelFolderError: naming the models there are and the folders that were searched.
    """
    given = Path(name_or_path)
    if (given / MODEL_FILE).is_file():
        return given
    homes = _model_homes()
    if len(given.parts) == 1:
        for home in homes:
            if (home / given / MODEL_FILE).is_file():
                return home / given
    there = sorted({p.parent.name for home in homes for p in home.glob(f"*/{MODEL_FILE}")})
    raise ModelFolderError(
        f"no model {str(name_or_path)!r}: neither a folder with a {MODEL_FILE} nor one of "
        f"{there or 'no models'} in {', '.join(map(str, homes))}"
    )
