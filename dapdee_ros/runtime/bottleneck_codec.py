"""Bottlenecks at work: encoder and decoder computed beside the engine, the latent coded between."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.bottleneck.file import (
    ID_BYTES,
    LATENT_IN,
    LATENT_OUT,
    RESTORED,
    Bottleneck,
    BottleneckError,
    Point,
)
from dapdee_ros.codecs.bottleneck.message import decode_latent, encode_latent, length_bounds
from dapdee_ros.codecs.tensor_spec import Bytes, CodecError

if TYPE_CHECKING:
    import onnx

    from dapdee_ros.engines.engine import Engine
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.graph.dag import ModelDag


class BottleneckNetwork:
    """The two parts of a bottleneck's network; all its points share them.

    Attributes:
        file: what the file says.
        encoder: from the boundary to the latent.
        decoder: and back.
    """

    def __init__(self, file: Bottleneck, dag: ModelDag, engine: Engine) -> None:
        """Load and check the network; nothing is compiled yet.

        Args:
            file: the bottleneck.
            dag: the DAG of its model.
            engine: of the model, on whose threads and providers it is computed.

        Raises:
            BottleneckError: naming the file and what is wrong with it.
        """
        from dapdee_ros.engines.beside import NetworkBeside, part_of
        from dapdee_ros.engines.onnx_model import OnnxError

        model = _loaded(file)
        restored = [RESTORED + name for name in file.boundary]
        shapes = {name: dag.by_name[name].shape for name in file.boundary}
        _check_values(
            file,
            model.graph.input,
            {**shapes, LATENT_IN: file.latent_shape},
        )
        _check_values(
            file,
            model.graph.output,
            {LATENT_OUT: file.latent_shape, **{RESTORED + n: shape for n, shape in shapes.items()}},
        )
        try:
            encoder = part_of(model, file.boundary, [LATENT_OUT])
            decoder = part_of(model, [LATENT_IN], restored)
        except OnnxError as error:
            raise BottleneckError(
                f"{file.path}: encoder and decoder are not two parts: {error}: train it again"
            ) from error
        self.file = file
        self.encoder = NetworkBeside(encoder, engine)
        self.decoder = NetworkBeside(decoder, engine)

    def codec(self, point: Point) -> BottleneckCodec:
        """The codec of one of its points."""
        return BottleneckCodec(self, point)


class BottleneckCodec:
    """One operating point of a bottleneck: a ``SetCodec``.

    Attributes:
        network: encoder and decoder.
        point: which of its file's points.
    """

    def __init__(self, network: BottleneckNetwork, point: Point) -> None:
        self.network = network
        self.point = point
        self._bounds = length_bounds(network.file, point)

    @property
    def boundary(self) -> Sequence[str]:
        """The tensors that it codes, in the order of the DAG."""
        return self.network.file.boundary

    def length_bounds(self) -> tuple[int, int]:
        """Fewest and most bytes."""
        return self._bounds

    def encode(self, tensors: Mapping[str, NDArray[Any]]) -> bytes:
        """Compute the latent and code it.

        Raises:
            EngineError: if the encoder cannot be computed.
        """
        latent = self.network.encoder.run(tensors)[LATENT_OUT]
        return encode_latent(self.network.file, self.point, latent)

    def decode(self, data: Bytes) -> dict[str, NDArray[Any]]:
        """Decode the latent and restore the boundary.

        Raises:
            CodecError: if the data are not what ``encode`` writes.
            EngineError: if the decoder cannot be computed.
        """
        latent = decode_latent(self.network.file, self.point, data)
        restored = self.network.decoder.run({LATENT_IN: latent})
        if not all(np.isfinite(values).all() for values in restored.values()):
            raise CodecError(
                f"the decoder of {self.network.file.name} restores numbers that are not finite"
            )
        return {name: restored[RESTORED + name] for name in self.boundary}


def bottleneck_codecs(card: ModelCard, engine: Engine) -> dict[str, BottleneckCodec]:
    """The codecs that a model's bottlenecks make, by name.

    Raises:
        BottleneckError: naming the file that cannot be used.
    """
    codecs = {}
    for bottleneck in card.bottlenecks:
        file = bottleneck.file
        network = BottleneckNetwork(file, card.dag, engine)
        for name, point in zip(file.codecs, file.points, strict=True):
            codecs[name] = network.codec(point)
    return codecs


def _loaded(file: Bottleneck) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise BottleneckError(f"{file.path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest()[: 2 * ID_BYTES] != file.id:
        raise BottleneckError(f"{file.path} was changed while it was loaded: start again")
    try:
        model = onnx.load_model_from_string(content)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise BottleneckError(
                    f"{file.path}: weight {tensor.name!r} holds numbers that are not finite: train "
                    "it again"
                )
    except (DecodeError, ValueError, TypeError) as error:
        if isinstance(error, BottleneckError):
            raise
        raise BottleneckError(
            f"{file.path}: torn, or no ONNX file ({error}): train it again, or copy the file again"
        ) from error
    return model


def _check_values(
    file: Bottleneck,
    values: Sequence[onnx.ValueInfoProto],
    expected: Mapping[str, Sequence[int]],
) -> None:
    """Hold a network's inputs or outputs against what they have to be."""
    float32 = 1
    came = {
        value.name: (
            tuple(d.dim_value for d in value.type.tensor_type.shape.dim),
            value.type.tensor_type.elem_type == float32,
        )
        for value in values
    }
    wanted = {name: (tuple(shape), True) for name, shape in expected.items()}
    if came != wanted:
        different = sorted(
            name for name in came.keys() | wanted.keys() if came.get(name) != wanted.get(name)
        )
        name = different[0]
        here = f"of shape {came[name][0]}" if name in came else "missing"
        needed = f"float32 of {wanted[name][0]}" if name in wanted else "nothing of that name"
        raise BottleneckError(
            f"{file.path}: {name[:80]!r} of its network is {here}, expected {needed}: train it "
            "again"
        )
