"""The bottlenecks of a model folder, checked against the model, and the codecs that a model has."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.codecs.bottleneck.file import (
    FOLDER,
    MOST_CODECS,
    MOST_FILES,
    SUFFIX,
    Bottleneck,
    BottleneckError,
    is_point,
    read_bottleneck,
)
from dapdee_ros.codecs.camera_file import WIRE_CODECS
from dapdee_ros.codecs.table import CODEC_NAMES
from dapdee_ros.codecs.tensor_spec import CodecError
from dapdee_ros.exits.codec_losses import CodecLosses
from dapdee_ros.graph.dag import ModelDag

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard

log = logging.getLogger(__name__)

ALL = "all"
"""Every codec that codes tensors, the bottlenecks' points among them."""

BOTTLENECKS = "bottlenecks"
"""Every point of every bottleneck of the model, of which there may be none."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Those of a point's bytes that a file holds."""


@dataclass(frozen=True)
class ModelBottleneck:
    """A bottleneck that belongs to a model.

    Attributes:
        file: what its file says.
        losses: bytes and losses of each of its codecs, under the boundary's names joined by ``+``.
        quantiles: of each codec the bytes at ``QUANTILES``.
    """

    file: Bottleneck
    losses: CodecLosses
    quantiles: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def losses_name(self) -> str:
        """The name of the boundary in ``losses``."""
        return "+".join(self.file.boundary)


def read_bottlenecks(folder: Path, model_id: str, dag: ModelDag) -> tuple[ModelBottleneck, ...]:
    """All bottlenecks of a model folder, by name.

    A file that cannot be used is named in a warning and left out: the model works without it.

    Raises:
        BottleneckError: if there are too many; says what to do.
    """
    paths = _files(folder)
    if len(paths) > MOST_FILES:
        raise BottleneckError(
            f"{folder / FOLDER} holds {len(paths)} bottlenecks, at most {MOST_FILES} may be: "
            "remove those that are not needed"
        )
    found = []
    for path in paths:
        try:
            found.append(of_model(read_bottleneck(path), model_id, dag))
        except BottleneckError as error:
            log.warning("going on without a bottleneck: %s", error)
    if len(points := point_codecs(found)) > MOST_CODECS:
        raise BottleneckError(
            f"the bottlenecks in {folder / FOLDER} have {len(points)} points, at most "
            f"{MOST_CODECS} may be: remove those that are not needed"
        )
    return tuple(found)


def _files(folder: Path) -> list[Path]:
    """The files that are meant as bottlenecks; a hidden one is the draft of one (``files``)."""
    paths = (folder / FOLDER).glob(f"*{SUFFIX}")
    return sorted(path for path in paths if not path.name.startswith("."))


def forget_foreign(folder: Path, model_id: str) -> None:
    """Remove the bottlenecks of other models, and files that are none."""
    for path in _files(folder):
        with contextlib.suppress(BottleneckError):
            if read_bottleneck(path).model_id == model_id:
                continue
        path.unlink(missing_ok=True)


def of_model(file: Bottleneck, model_id: str, dag: ModelDag) -> ModelBottleneck:
    """A file as that of a model.

    Raises:
        BottleneckError: if it is another model's, or says what cannot be of this one.
    """
    if file.model_id != model_id:
        raise BottleneckError(
            f"{file.path} was trained for model {file.model_id[:40]}, the model here is "
            f"{model_id}: remove the file, or train a bottleneck for this model"
        )
    order = [node.name for node in dag.nodes if node.name in file.boundary]
    if order != list(file.boundary):
        raise BottleneckError(
            f"{file.path} codes {list(file.boundary)[:5]}, expected tensors of the model in their "
            "order: remove the file, or train a bottleneck for this model"
        )
    try:
        losses = CodecLosses.from_dict(file.losses)
        quantiles = {
            str(codec): tuple(float(value) for value in values)
            for codec, values in file.losses.get("quantiles", {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BottleneckError(
            f"{file.path}: what it says was measured cannot be read: {type(error).__name__}: "
            f"{error}: train it again"
        ) from error
    found = ModelBottleneck(file, losses, quantiles)
    _check(found, len(dag.exits))
    return found


def _check(found: ModelBottleneck, exits: int) -> None:
    file = found.file
    for codec, measured in found.losses.tensors.items():
        numbers = {number for coded in measured.values() for number in coded.changes}
        if codec not in file.codecs or set(measured) != {found.losses_name}:
            raise BottleneckError(
                f"{file.path} holds losses of {codec!r} at {sorted(measured)[:3]}, expected its "
                f"own points ({', '.join(file.codecs)}) at {found.losses_name!r}: train it again"
            )
        if not numbers <= set(range(1, exits + 1)):
            raise BottleneckError(
                f"{file.path} holds losses of exits {sorted(numbers)}, the model has {exits}: "
                "train it again"
            )
    for codec, values in found.quantiles.items():
        rising = list(values) == sorted(values) and all(0 <= v < float("inf") for v in values)
        if codec not in file.codecs or len(values) != len(QUANTILES) or not rising:
            raise BottleneckError(
                f"{file.path} holds quantiles {values} of {codec!r}, expected {len(QUANTILES)} "
                "rising numbers of bytes of one of its points: train it again"
            )


def point_codecs(bottlenecks: Iterable[ModelBottleneck]) -> tuple[str, ...]:
    """The codecs that some bottlenecks make."""
    return tuple(codec for bottleneck in bottlenecks for codec in bottleneck.file.codecs)


def point_boundaries(bottlenecks: Iterable[ModelBottleneck]) -> dict[str, tuple[str, ...]]:
    """The boundary of each codec that some bottlenecks make."""
    return {codec: of.file.boundary for of in bottlenecks for codec in of.file.codecs}


def model_codecs(card: ModelCard) -> tuple[str, ...]:
    """Every codec that a plan for this model may name."""
    return (*WIRE_CODECS, *point_codecs(card.bottlenecks))


def asked_codecs(card: ModelCard, names: Sequence[str]) -> tuple[str, ...]:
    """The codecs that somebody asks for, ``all`` and ``bottlenecks`` replaced by their names.

    Raises:
        CodecError: if the model has none of that name.
    """
    points = point_codecs(card.bottlenecks)
    groups = {ALL: (*CODEC_NAMES, *points), BOTTLENECKS: points}
    known = model_codecs(card)
    asked = [name for given in names for name in groups.get(given, (given,))]
    for name in asked:
        if name not in known:
            what = (
                f"model {card.name} has no bottleneck's point {name[:40]!r}; it has "
                f"{', '.join(points) or 'no bottlenecks'}"
                if is_point(name)
                else f"there is no codec {name[:40]!r}; known: {[*known, *groups]}"
            )
            raise CodecError(what)
    return tuple(dict.fromkeys(asked))
