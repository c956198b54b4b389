"""The codecs: the names that plans and messages use, and their implementations."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

from dapdee_ros.codecs.affine import Affine
from dapdee_ros.codecs.deflated import Deflated
from dapdee_ros.codecs.jpeg import JPEG
from dapdee_ros.codecs.plain import Half, Identity
from dapdee_ros.codecs.tensor_spec import Codec, CodecError
from dapdee_ros.codecs.webp import WEBP


class CodecName(StrEnum):
    """Codecs by their name on the wire.

    ``u8c`` and ``u4c`` have a scale per channel; names ending in ``z`` are entropy-coded as well.
    """

    F32 = "f32"
    F16 = "f16"
    U8 = "u8"
    U8C = "u8c"
    U4 = "u4"
    U4C = "u4c"
    F32Z = "f32z"
    F16Z = "f16z"
    U8Z = "u8z"
    U8CZ = "u8cz"
    U4Z = "u4z"
    U4CZ = "u4cz"
    JPEG = "jpeg"
    WEBP = "webp"


_CODECS: dict[CodecName, Callable[[], Codec]] = {
    CodecName.F32: Identity,
    CodecName.F16: Half,
    CodecName.U8: lambda: Affine(8, per_channel=False),
    CodecName.U8C: lambda: Affine(8, per_channel=True),
    CodecName.U4: lambda: Affine(4, per_channel=False),
    CodecName.U4C: lambda: Affine(4, per_channel=True),
    CodecName.F32Z: lambda: Deflated(Identity()),
    CodecName.F16Z: lambda: Deflated(Half()),
    CodecName.U8Z: lambda: Deflated(Affine(8, per_channel=False)),
    CodecName.U8CZ: lambda: Deflated(Affine(8, per_channel=True)),
    CodecName.U4Z: lambda: Deflated(Affine(4, per_channel=False)),
    CodecName.U4CZ: lambda: Deflated(Affine(4, per_channel=True)),
    CodecName.JPEG: lambda: JPEG,
    CodecName.WEBP: lambda: WEBP,
}

CODEC_NAMES: tuple[str, ...] = tuple(name.value for name in CodecName)


@lru_cache(maxsize=len(CODEC_NAMES))
def _made(name: CodecName) -> Codec:
    return _CODECS[name]()


def codec_named(name: str) -> Codec:
    """The codec with this name.

    Raises:
        CodecError: if there is none.
    """
    try:
        return _made(CodecName(name))
    except ValueError:
        raise CodecError(f"there is no codec {name[:40]!r}; known: {list(CODEC_NAMES)}") from None


def size_is_fixed(name: str) -> bool:
    """Whether a coded tensor's size depends on its shape and dtype alone, not on its content.

    Raises:
        CodecError: if there is no such codec.
    """
    fewest, most = codec_named(name).length_bounds((1, 1, 1, 3), "uint8")
    return fewest == most


def is_lossless(name: str) -> bool:
    """Whether every tensor is restored bit for bit.

    Raises:
        CodecError: if there is no such codec.
    """
    codec_named(name)
    return name in (CodecName.F32, CodecName.F32Z)
