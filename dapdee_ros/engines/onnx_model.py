"""A network in ONNX whose values are called as its DAG's nodes, and any part of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from dapdee_ros.engines.onnx_weights import widened
from dapdee_ros.files import write_whole
from dapdee_ros.graph.dag import GraphError, ModelDag

WEIGHTS_FILE = "weights"
"""The file beside the parts that holds their larger weights."""

LEAST_BYTES = 1024
"""Smaller weights are read while a session is made, as shapes and limits."""

_PAGE = 4096
_PREFIX = "dapdee-network-"
_YOUNG_S = 60.0
_Message = TypeVar("_Message", bound=Message)


class OnnxError(ValueError):
    """An ONNX network that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """What is needed to compute some tensors from others.

    Attributes:
        inputs: the given tensors that are read.
        outputs: the wanted tensors that have to be computed; those that are given are not.
        model: computes one from the other; its larger weights lie in the file of the network's
            folder, so it has to be saved there to be run.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: onnx.ModelProto


class OnnxModel:
    """A network in ONNX, of which parts are taken.

    Attributes:
        dag: the network's DAG. Each of its nodes is a value of the ONNX graph of the same name.
        folder: holds the file with the weights, and is for parts, as long as this lives.
    """

    def __init__(self, model: onnx.ModelProto, dag: ModelDag) -> None:
        """Index a network.

        Args:
            model: the network; its weights are copied, not kept.
            dag: its DAG.

        Raises:
            OnnxError: if a node of the DAG is not a value of the network.
        """
        self.dag = dag
        graph = model.graph
        operators, weights = widened(graph)
        # Copies: a message that lies in another keeps all of it in memory, the weights too.
        self._ir_version, self._opsets = model.ir_version, _copies(model.opset_import)
        self._operators = _copies(operators)
        self._producers = {
            out: place for place, node in enumerate(self._operators) for out in node.output if out
        }
        self._name_operators()
        _clear_left_behind()
        self._directory = tempfile.TemporaryDirectory(prefix=_PREFIX)
        self.folder = Path(self._directory.name)
        # Held until this process ends, however it ends.
        self._in_use = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._in_use, fcntl.LOCK_EX)
        weakref.finalize(self, os.close, self._in_use)
        self._weights = {tensor.name: tensor for tensor in _written(weights, self.folder)}
        missing = [n.name for n in dag.nodes[1:] if n.name not in self._producers]
        if missing:
            raise OnnxError(f"the ONNX network does not compute {missing[:3]} of its DAG")

    @classmethod
    def load(cls, path: Path, dag: ModelDag) -> OnnxModel:
        """Read a network from a file.

        Raises:
            OnnxError: if it cannot be read, is no ONNX network, or is not that of the DAG.
        """
        try:
            return cls.parse(path.read_bytes(), dag)
        except OSError as error:
            raise OnnxError(f"{path} cannot be read: {error}") from error
        except OnnxError as error:
            raise OnnxError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, content: bytes, dag: ModelDag) -> OnnxModel:
        """The network that a file holds.

        Raises:
            OnnxError: if it is no ONNX network, or is not that of the DAG.
        """
        try:
            model = onnx.load_model_from_string(content)
        except DecodeError as error:
            raise OnnxError(f"torn, or no ONNX file: {error}") from error
        return cls(model, dag)

    def save(self, path: Path) -> None:
        """Write the whole network to a file that ``load`` reads.

        Raises:
            FileError: if the file cannot be written.
        """
        write_whole(path, self.whole().SerializeToString())

    def whole(self) -> onnx.ModelProto:
        """The network in one piece: all that its DAG holds, with its exits' outputs."""
        everything = self.part([self.dag.input], [node.name for node in self.dag.nodes[1:]]).model
        onnx.load_external_data_for_model(everything, str(self.folder))
        for tensor in everything.graph.initializer:
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        del everything.graph.output[:]
        everything.graph.output.extend(described(self.dag, name) for name in self.dag.outputs)
        return everything

    def part(self, given: Iterable[str], targets: Sequence[str]) -> Part:
        """The operators from some tensors to others, fewest possible.

        Args:
            given: names of nodes whose tensors there are; those that aren't needed are ignored.
            targets: names of nodes whose tensors are wanted.

        Raises:
            GraphError: if a name is unknown, or the given tensors don't suffice.
        """
        given = frozenset(given)
        unknown = [n for n in (*given, *targets) if n not in self.dag.by_name]
        if unknown:
            raise GraphError(f"there are no nodes {sorted(set(unknown))} in this model")
        outputs = tuple(dict.fromkeys(name for name in targets if name not in given))
        inputs: dict[str, None] = {}
        weights: dict[str, None] = {}
        places: set[int] = set()
        waiting, seen = list(outputs), set(outputs)
        while waiting:
            name = waiting.pop()
            if name in given:
                inputs[name] = None
            elif name in self._weights:
                weights[name] = None
            elif name in self._producers:
                place = self._producers[name]
                places.add(place)
                reads = self._operators[place].input
                new = [read for read in reads if read and read not in seen]
                seen.update(new)
                waiting.extend(new)
            else:
                raise GraphError(
                    f"{sorted(given)} don't suffice to compute {list(targets)}: {name!r} would be "
                    "needed too"
                )
        # In the DAG's order, so that the same part is the same bytes.
        read = tuple(node.name for node in self.dag.nodes if node.name in inputs)
        model = onnx.ModelProto(ir_version=self._ir_version)
        model.opset_import.extend(self._opsets)
        graph = model.graph
        graph.name = "part"
        graph.node.extend(self._operators[place] for place in sorted(places))
        graph.initializer.extend(self._weights[name] for name in sorted(weights))
        graph.input.extend(described(self.dag, name) for name in read)
        graph.output.extend(described(self.dag, name) for name in outputs)
        return Part(read, outputs, model)

    def _name_operators(self) -> None:
        """Call each operator as the first tensor of the DAG that needs it, with a number."""
        owned: set[int] = set()
        for node in self.dag.nodes[1:]:
            waiting, number = [node.name], 0
            while waiting:
                place = self._producers.get(waiting.pop())
                if place is None or place in owned:
                    continue
                owned.add(place)
                self._operators[place].name = f"{node.name}#{number}"
                number += 1
                waiting.extend(self._operators[place].input)


def described(dag: ModelDag, name: str) -> onnx.ValueInfoProto:
    """A node of a DAG as an input or output of an ONNX network."""
    node = dag.by_name[name]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(node.dtype))
    return onnx.helper.make_tensor_value_info(name, kind, node.shape)


def _copies(messages: Iterable[_Message]) -> list[_Message]:
    return [type(message).FromString(message.SerializeToString()) for message in messages]


def _clear_left_behind() -> None:
    """Remove the folders of processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue  # its owner may be about to lock it
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)


def lies_outside(tensor: onnx.TensorProto) -> bool:
    """Whether a weight is large enough to lie outside the model that it belongs to."""
    return len(tensor.raw_data) >= LEAST_BYTES


def reference(tensor: onnx.TensorProto, file: str, **place: int) -> onnx.TensorProto:
    """A weight that lies in a file beside the model."""
    outside = onnx.TensorProto(
        name=tensor.name,
        data_type=tensor.data_type,
        dims=tensor.dims,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in {"location": file, **place}.items():
        outside.external_data.add(key=key, value=str(value))
    return outside


def _written(weights: Iterable[onnx.TensorProto], folder: Path) -> Iterator[onnx.TensorProto]:
    """Write the larger weights of a network to a file; all of them as they stand in a part."""
    with (folder / WEIGHTS_FILE).open("wb") as file:
        for tensor in weights:
            if not lies_outside(tensor):
                yield from _copies([tensor])
                continue
            file.seek(-(-file.tell() // _PAGE) * _PAGE)
            offset, length = file.tell(), len(tensor.raw_data)
            file.write(tensor.raw_data)
            yield reference(tensor, WEIGHTS_FILE, offset=offset, length=length)
