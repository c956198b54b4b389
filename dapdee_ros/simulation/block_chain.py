"""Networks measured elsewhere in blocks, between the layers where a chain can be cut."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.policy import Problem

COLUMNS = ("device", "model", "first_layer", "last_layer", "seconds", "output_bytes")

CHAIN_POLICIES = (
    "device-only", "edge-only", "neurosurgeon", "dads", "edgent", "eddi", "dapdee", "exact",
)  # fmt: skip
"""Those that have something to choose on a chain with one exit."""

# Image side of Keras's networks if it is not 224 (keras.applications).
_SIDES = {"inception_v3": 299, "inceptionresnet_v2": 299, "xception": 299, "nasnetlarge": 331}
_USUAL_SIDE = 224


class BlockChainError(ValueError):
    """Block times that cannot be used; the message names what is wrong and what there is."""


@dataclass(frozen=True)
class Block:
    """One block on one device: layers from ``first`` to ``last``, seconds, bytes it puts out."""

    first: int
    last: int
    seconds: float
    output_bytes: int


BlockTimes = dict[str, dict[str, list[Block]]]
"""By device and model."""


def read_blocks(path: str | Path) -> BlockTimes:
    """Read a CSV file of block times; ``COLUMNS`` names its columns.

    Raises:
        BlockChainError: if it cannot be read, lacks a column, or a value is impossible.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise BlockChainError(
                    f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, "
                    f"found {', '.join(reader.fieldnames or ()) or 'nothing'}"
                )
            found: BlockTimes = {}
            for row in reader:
                block = _block(path, reader.line_num, row)
                found.setdefault(row["device"], {}).setdefault(row["model"], []).append(block)
    except (OSError, UnicodeDecodeError) as error:
        raise BlockChainError(f"cannot read block times from {path}: {error}") from error
    if not found:
        raise BlockChainError(f"{path} holds no blocks")
    for models in found.values():
        for blocks in models.values():
            blocks.sort(key=lambda block: block.first)
    return found


def chain_problem(
    times: BlockTimes, model: str, car: str, edge: str, codec: str = "f32", side: int | None = None
) -> Problem:
    """The planning problem of one network, one car and one edge server.

    ``raw`` sends every tensor as float32, the image too. ``f32`` sends the image as the bytes
    that a camera gives, and all else as float32. With ``u8`` all else takes a quarter of that; what
    it costs in quality and in time to code was not measured on these devices, and is left out.

    Args:
        times: what ``read_blocks`` returned.
        model: name of the network.
        car: name of the device that is the car.
        edge: name of the device that is the edge server.
        codec: ``raw``, ``f32`` or ``u8``.
        side: width and height of the image; None: the network's usual size.

    Raises:
        BlockChainError: if device or model are not in the file, or the two devices' blocks differ.
    """
    of_car, of_edge = _blocks(times, model, car), _blocks(times, model, edge)
    spans = [[(b.first, b.last, b.output_bytes) for b in blocks] for blocks in (of_car, of_edge)]
    if spans[0] != spans[1]:
        raise BlockChainError(
            f"{car} and {edge} were measured with different blocks of {model}: they cannot share a "
            "network"
        )
    side = side or _SIDES.get(model, _USUAL_SIDE)
    dtype, value_bytes = ("float32", 4) if codec == "raw" else ("uint8", 1)
    picture_bytes = side * side * 3 * value_bytes
    nodes = [Node("image", "input", (), (1, side, side, 3), dtype, picture_bytes, 0)]
    for block in of_car:
        nodes.append(
            Node(
                f"layer{block.last}",
                "block",
                (nodes[-1].name,),
                (1, max(1, block.output_bytes // 4)),
                "float32",
                block.output_bytes,
                0,
            )
        )
    if codec == "u8":
        sizes = {
            node.name: TensorCost(node.output_bytes / (4 if node.dtype == "float32" else 1))
            for node in nodes
        }
        costs: CodecCost = MeasuredCodec("u8", sizes, default_loss=0.0)
    elif codec in ("f32", "raw"):
        costs = AsIs()
    else:
        raise BlockChainError(f"blocks are sent as raw, f32 or u8, not as {codec!r}")
    return Problem(
        ModelDag(tuple(nodes), ((nodes[-1].name,),)),
        (_profile(model, car, of_car), _profile(model, edge, of_edge)),
        # One exit: whatever its quality is, every plan has it.
        (1.0,),
        (costs,),
    )


def _profile(model: str, device: str, blocks: list[Block]) -> DeviceProfile:
    return DeviceProfile(
        model_id=f"blocks-of-{model}",
        device=device,
        threads=1,
        node_seconds={"image": 0.0} | {f"layer{b.last}": b.seconds for b in blocks},
        created="unknown",
        note="block times measured elsewhere; their threads are not recorded",
    )


def _blocks(times: BlockTimes, model: str, device: str) -> list[Block]:
    if device not in times:
        raise BlockChainError(f"no device {device!r} in the file; there are {', '.join(times)}")
    if model not in times[device]:
        raise BlockChainError(
            f"no model {model!r} of {device}; there are {', '.join(times[device])}"
        )
    return times[device][model]


def _block(path: str | Path, line: int, row: dict[str, str]) -> Block:
    try:
        block = Block(
            int(row["first_layer"]),
            int(row["last_layer"]),
            float(row["seconds"]),
            int(row["output_bytes"]),
        )
    except (TypeError, ValueError) as error:
        raise BlockChainError(f"{path}, line {line}: {error}") from error
    if not (math.isfinite(block.seconds) and block.seconds >= 0 and block.output_bytes > 0):
        raise BlockChainError(
            f"{path}, line {line}: a block takes {block.seconds} s and puts out "
            f"{block.output_bytes} bytes; expected 0 s or more and more than 0 bytes"
        )
    return block
