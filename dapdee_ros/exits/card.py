"""The planner's view of a model, read from its folder. No torch in here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dapdee_ros.codecs.bottleneck.file import BottleneckError
from dapdee_ros.exits.bottlenecks import ModelBottleneck, read_bottlenecks
from dapdee_ros.exits.exposure import (
    MOST_FILE_BYTES,
    NOT_ATTACKED,
    PRIVACY_FILE,
    ExposureError,
    Exposures,
)
from dapdee_ros.exits.gates import Calibration, CalibrationError
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.graph.dag import GraphError, ModelDag

MODEL_FILE = "model.json"
GRAPH_FILE = "graph.json"
NETWORK_FILE = "model.onnx"
CALIBRATION_FILE = "calibration.json"
FORMAT = 2
CLASSIFICATION = "classification"
NOT_MEASURED = "not measured"
"""What a card says of the data if nobody has measured the quality of its exits."""


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
        task: what the outputs mean: the name of the task, as ``name``, and its options.
        labels: class names, in the order of the logits.
        input_spec: how an image becomes the network's input.
        exit_quality: for each exit, shallowest first, the quality on ``quality_data``. Of a network
            that nobody has measured only the order means anything: the deeper, the better.
        quality_measured: whether somebody has.
        bottlenecks: learned codecs of single boundaries (``bottlenecks/``).
        exposures: what attacks restored of the image from boundaries (``privacy.json``).
        quality_data: description of the data it was measured on.
        calibration: gates and temperatures, or None if the model was never calibrated.
        architecture: builder, its arguments, taps and branches, from which the torch module is
            built, as ``model.json`` holds them; None of a network that only exists as ONNX.
        provenance: how the model was created: command, date, versions.
        network_sha256: digest of the ``model.onnx`` that belongs to this card.
    """

    name: str
    path: Path
    model_id: str
    dag: ModelDag
    task: Mapping[str, Any]
    labels: tuple[str, ...]
    input_spec: InputSpec
    exit_quality: tuple[float, ...]
    quality_data: str
    calibration: Calibration | None
    architecture: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    network_sha256: str = ""
    quality_measured: bool = True
    bottlenecks: tuple[ModelBottleneck, ...] = ()
    exposures: Exposures = NOT_ATTACKED

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.input_spec.size

    def expected_id(self) -> str:
        """The id that belongs to the card's contents."""
        return model_id_of(
            self.task, self.labels, self.input_spec, self.architecture, self.network_sha256
        )


def model_id_of(
    task: Mapping[str, Any],
    labels: Sequence[str],
    input_spec: InputSpec,
    architecture: Mapping[str, Any] | None,
    network_sha256: str,
) -> str:
    """The model id: 16 hexadecimal digits of SHA-256 over what decides the answers."""
    contents = {
        "task": task,
        "labels": list(labels),
        "input": input_spec.to_dict(),
        "architecture": architecture,
        "network": network_sha256,
    }
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def assumed_quality(exits: int) -> tuple[float, ...]:
    """What stands for the quality of exits that nobody has measured: it rises with depth.

    >>> assumed_quality(1), assumed_quality(4)
    ((1.0,), (0.25, 0.5, 0.75, 1.0))
    """
    return tuple(number / exits for number in range(1, exits + 1))


def read_json(path: Path) -> dict[str, Any]:
    """A file of a model folder that holds a JSON object.

    Raises:
        ModelFolderError: if it is missing or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"{path} is missing: a model folder holds {MODEL_FILE}, {GRAPH_FILE}, {NETWORK_FILE} "
            f"and, once calibrated, {CALIBRATION_FILE}"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelFolderError(
            f"{path} must hold a JSON object, it holds a {type(values).__name__}"
        )
    return values


def read_card(folder: Path | str, *, with_calibration: bool = True) -> ModelCard:
    """Read and check a model folder, all but its ``model.onnx``.

    Args:
        folder: the model folder.
        with_calibration: False does not read ``calibration.json``.

    Raises:
        ModelFolderError: if a file is missing, not JSON, incomplete, of another format version,
            or contradicts the others.
    """
    card = read_parts(folder, with_calibration=with_calibration)
    check_id(card)
    return card


def read_parts(folder: Path | str, *, with_calibration: bool = True) -> ModelCard:
    """As ``read_card``, but without checking the model id.

    Args:
        folder: the model folder.
        with_calibration: False reads none of ``calibration.json``, ``privacy.json`` and
            ``bottlenecks/``, which may be those of a former model.
    """
    folder = Path(folder)
    path = folder / MODEL_FILE
    values = read_json(path)
    if values.get("format") == 1:
        raise ModelFolderError(
            f"{path}: format 1, of an earlier version; convert it: dapdee convert {folder}"
        )
    if values.get("format") != FORMAT:
        raise ModelFolderError(
            f"{path}: format {values.get('format')!r}, this version reads {FORMAT}"
        )
    graph_path = folder / GRAPH_FILE
    try:
        dag = ModelDag.from_dict(read_json(graph_path))
    except GraphError as error:
        raise ModelFolderError(f"{graph_path}: {error}") from error
    if not with_calibration:
        return card_of(folder, values, dag, None)
    card = card_of(folder, values, dag, read_calibration(folder))
    try:
        card = replace(card, bottlenecks=read_bottlenecks(folder, card.model_id, dag))
    except BottleneckError as error:
        raise ModelFolderError(str(error)) from error
    return replace(card, exposures=read_exposures(card))


def card_of(
    folder: Path, values: Mapping[str, Any], dag: ModelDag, calibration: Calibration | None
) -> ModelCard:
    """A card from what the files of a folder hold, its id unchecked.

    Raises:
        ModelFolderError: if an entry is missing or of the wrong kind, or contradicts another.
    """
    path = folder / MODEL_FILE
    try:
        quality = values["quality"]
        measured = quality["exits"] is not None
        architecture = values.get("architecture")
        card = ModelCard(
            name=str(values["name"]),
            path=folder,
            model_id=str(values["model_id"]),
            dag=dag,
            task={**values["task"], "name": str(values["task"]["name"])},
            labels=tuple(str(label) for label in values["labels"]),
            input_spec=InputSpec.from_dict(values["input"]),
            exit_quality=(
                tuple(float(a) for a in quality["exits"])
                if measured
                else assumed_quality(len(dag.exits))
            ),
            quality_measured=measured,
            quality_data=str(quality["data"]),
            calibration=calibration,
            architecture=None if architecture is None else dict(architecture),
            provenance=dict(values["provenance"]),
            network_sha256=str(values["network"]["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFolderError(
            f"{path}: an entry is missing or of the wrong kind: {type(error).__name__}: {error}"
        ) from error
    _check(card)
    return card


def read_calibration(folder: Path) -> Calibration | None:
    """A folder's calibration, if it has one.

    Raises:
        ModelFolderError: if the file holds something else.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        return Calibration.from_dict(read_json(path))
    except CalibrationError as error:
        raise ModelFolderError(f"{path}: {error}") from error


def read_exposures(card: ModelCard) -> Exposures:
    """What a folder's ``privacy.json`` says, without what is about bottlenecks that are not there.

    Raises:
        ModelFolderError: if the file holds something else.
    """
    path = card.path / PRIVACY_FILE
    if not path.exists():
        return NOT_ATTACKED
    names = [node.name for node in card.dag.nodes]
    ids = {codec: of.file.id for of in card.bottlenecks for codec in of.file.codecs}
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ExposureError(f"larger than {MOST_FILE_BYTES} bytes")
        return Exposures.from_dict(read_json(path), card.model_id, names).of_files(ids)
    except (ExposureError, OSError) as error:
        raise ModelFolderError(
            f"{path}: {error}: run `dapdee privacy` again, or remove the file"
        ) from error


def _check(card: ModelCard) -> None:
    """Check the files of a folder for consistency.

    Raises:
        ModelFolderError: naming the two things that differ.
    """
    path = card.path / MODEL_FILE
    exits = card.dag.exits
    for number, outputs in enumerate(exits, start=1):
        if card.task["name"] != CLASSIFICATION:
            break
        shapes = [card.dag.by_name[name].shape for name in outputs]
        if shapes != [(1, len(card.labels))]:
            raise ModelFolderError(
                f"{path} names {len(card.labels)} labels, but exit {number} ({outputs[0]!r}) puts "
                f"out shape {' and '.join(map(str, shapes))}"
            )
    # Detectors bring their exits along.
    taps = None if card.architecture is None else card.architecture.get("taps")
    if taps is not None and len(taps) + 1 != len(exits):
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
    expected = card.expected_id()
    if card.model_id != expected:
        raise ModelFolderError(
            f"{path}: model id {card.model_id!r} does not match its contents ({expected!r}): the "
            "file was edited; save the model again"
        )


def network_bytes(card: ModelCard) -> bytes:
    """What a model's ``model.onnx`` holds, if it is the file that the card was written with.

    Raises:
        ModelFolderError: if it cannot be read, or is another.
    """
    path = card.path / NETWORK_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != card.network_sha256:
        raise ModelFolderError(
            f"{path} ({len(content)} bytes) is not the file that {MODEL_FILE} was saved with: it "
            "is corrupt or of another model; copy the folder again"
        )
    return content


def _model_homes() -> list[Path]:
    """Folders that may hold model folders, in the order they are searched."""
    homes = [Path(p) for p in os.environ.get("DAPDEE_MODEL_PATH", "").split(os.pathsep) if p]
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    homes += [Path(p) / "share" / "dapdee_ros" / "models" for p in [*prefixes, sys.prefix]]
    homes.append(Path(__file__).resolve().parents[2] / "models")
    return homes


def spoken_name(model_id: str) -> str:
    """Display name of a model known by its id: ``roadsigns (ef3051a838df)``.

    The name is that of the installed model with this id; otherwise only the short id is shown.
    """
    for home in _model_homes():
        for path in sorted(home.glob(f"*/{MODEL_FILE}")):
            with contextlib.suppress(ModelFolderError):
                values = read_json(path)
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
