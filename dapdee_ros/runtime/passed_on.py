"""A camera's JPEG that crosses the link as it came: what it looks like sent, and its way back."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.camera_file import CAMERA, camera_file_fault
from dapdee_ros.codecs.picture_file import PictureFileError, read_picture
from dapdee_ros.codecs.tensor_spec import CodecError, TensorSpec
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.runtime.network_input import network_input


def passed_on_spec(name: str, shape: Sequence[int], file: array[int] | bytes) -> TensorSpec:
    """How a HeadTensor describes a file that is sent in place of the network's input.

    Args:
        name: the model's input.
        shape: the input's, ``(1, H, W, 3)``: what comes of the file on the edge.
        file: the JPEG.
    """
    return TensorSpec(name, "uint8", tuple(shape), (), (), 0, len(file))


def passed_on_input(
    specs: Sequence[TensorSpec],
    data: array[int] | bytes,
    expected: Mapping[str, tuple[Sequence[int], str]],
    wanted: InputSpec,
) -> dict[str, NDArray[np.uint8]]:
    """Decode a file from an untrusted peer as the car would have done.

    Args:
        specs: as received.
        data: the file.
        expected: shape and dtype by name of what the receiver's model needs: its input alone.
        wanted: how the model wants an image.

    Returns:
        uint8 ``(1, H, W, 3)``, the model's input by its name.

    Raises:
        CodecError: with the reason, if anything does not match; nothing large was allocated then.
    """
    if len(expected) != 1 or len(specs) != 1:
        raise CodecError(f"the codec {CAMERA} codes the input alone, not {len(specs)} tensors")
    (spec,) = specs
    ((name, (shape, dtype)),) = expected.items()
    if tuple(shape) != (1, *wanted.size, 3) or dtype != "uint8":
        raise CodecError(f"the codec {CAMERA} codes the model's input, not {name!r}")
    plain = replace(spec, shape=tuple(spec.shape), scale=(), zero_point=())
    if plain != passed_on_spec(name, shape, data) or len(spec.scale) or len(spec.zero_point):
        raise CodecError(
            f"tensor {spec.name[:80]!r} came as {spec.dtype[:20]} of {tuple(spec.shape[:8])}, "
            f"{spec.length} bytes at {spec.offset} of {len(data)}; expected {name!r}, uint8 of "
            f"{tuple(shape)}, all of the data"
        )
    file = np.frombuffer(data, np.uint8)
    if fault := camera_file_fault(file):
        raise CodecError(f"the camera's file is not decoded: {fault}")
    try:
        return {name: network_input(read_picture(file), wanted)}
    except PictureFileError as error:
        raise CodecError(f"the camera's file cannot be decoded: {error}") from error
