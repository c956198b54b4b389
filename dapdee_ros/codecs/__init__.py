"""Encodes and decodes boundary tensors. NumPy only; an image library is imported when used."""

from dapdee_ros.codecs.table import CODEC_NAMES, codec_named, is_lossless, size_is_fixed
from dapdee_ros.codecs.tensor_spec import CodecError, TensorSpec
from dapdee_ros.codecs.wire import decode, encode, encoded_bytes

__all__ = [
    "CODEC_NAMES",
    "CodecError",
    "TensorSpec",
    "codec_named",
    "decode",
    "encode",
    "encoded_bytes",
    "is_lossless",
    "size_is_fixed",
]
