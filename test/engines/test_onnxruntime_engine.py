"""Any part under ONNX Runtime gives what torch gives, with one copy of the weights."""

from __future__ import annotations

import os
import random
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import TracedModel, trace

NETWORKS = ("resnet18", "googlenet", "mobilenet_v3_small")
SIDE = 64
CUTS = 3


@cache
def traced(name: str) -> TracedModel:
    torch.manual_seed(0)
    arguments = {"init_weights": True} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **arguments).eval()
    return trace(model, torch.zeros(1, 3, SIDE, SIDE))


@cache
def engine_of(name: str) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(export(traced(name)))


def boundaries(dag: ModelDag, count: int) -> list[tuple[str, ...]]:
    """Boundaries of seeded cuts of the last exit, the image itself left out."""
    rng = random.Random(1)
    found: set[tuple[str, ...]] = set()
    while len(found) < count:
        head: set[str] = {dag.input}
        for node in dag.nodes[1:]:
            if set(node.inputs) <= head and rng.random() < 0.9:
                head.add(node.name)
        boundary = dag.boundary(head, len(dag.exits))
        if boundary and boundary != (dag.input,):
            found.add(boundary)
    return sorted(found)


def image(dag: ModelDag, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.random(dag.nodes[0].shape, dtype=np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_tail_of_head_is_what_torch_computes(name: str) -> None:
    engine = engine_of(name)
    dag, sink = engine.dag, engine.dag.outputs[-1]
    given = {dag.input: image(dag)}
    runner = GraphRunner(traced(name))
    expected = runner.run({dag.input: torch.from_numpy(given[dag.input])}, [sink])[sink].numpy()
    for boundary in boundaries(dag, CUTS):
        sent = engine.run(given, boundary)
        assert [sent[name].shape for name in boundary] == [
            dag.by_name[name].shape for name in boundary
        ]
        came = engine.run(sent, [sink])[sink]
        np.testing.assert_allclose(came, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert came.argmax() == expected.argmax()


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_all_parts_share_one_copy_of_the_weights(name: str) -> None:
    engine = OnnxRuntimeEngine(export(traced(name)))
    sink = engine.dag.outputs[-1]
    engine.prepare([engine.dag.input], [[sink]])
    whole = engine.shared_bytes
    state = traced(name).graph_module.state_dict()
    assert whole == pytest.approx(sum(w.nbytes for w in state.values()), rel=0.1)
    for boundary in boundaries(engine.dag, 2 * CUTS):
        engine.prepare([engine.dag.input], [boundary])
        engine.prepare(boundary, [[sink]])
    assert engine.shared_bytes <= 1.05 * whole


class TwoExits(nn.Module):
    """A gate half-way, and something behind it that also reads what lies before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.gate = nn.Linear(8, 5)
        self.last = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early = self.first(image)
        late = torch.relu(self.second(early)) + early
        return self.gate(early.mean((2, 3))), self.last(late.mean((2, 3)))


def two_exits() -> tuple[OnnxRuntimeEngine, TracedModel]:
    torch.manual_seed(3)
    model = trace(TwoExits().eval(), torch.zeros(1, 3, 16, 16))
    return OnnxRuntimeEngine(export(model)), model


def test_a_later_stage_goes_on_from_where_the_gate_stopped() -> None:
    engine, model = two_exits()
    dag = engine.dag
    given = {dag.input: image(dag)}
    gate, last = dag.outputs
    stages = engine.run_stages(given, [[gate], [last, gate]])
    at_gate, at_end = next(stages), next(stages)
    runner = GraphRunner(model)
    expected = runner.run({dag.input: torch.from_numpy(given[dag.input])}, [gate, last])
    for name, value in {**at_gate, **at_end}.items():
        np.testing.assert_allclose(value, expected[name].numpy(), rtol=1e-4, atol=1e-6)
    assert list(at_end) == [last, gate]
    first, second = engine._compiled([dag.input], [[gate], [last, gate]])
    assert set(second.reads).isdisjoint({dag.input}), "the second stage begins at the image again"
    assert set(first.writes) >= set(second.reads)


def test_what_is_given_is_not_computed() -> None:
    engine, _ = two_exits()
    dag = engine.dag
    value = np.full(dag.by_name[dag.outputs[0]].shape, 7, np.float32)
    assert engine.run({dag.outputs[0]: value}, [dag.outputs[0]])[dag.outputs[0]] is value


def test_a_part_asked_for_twice_at_once_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = two_exits()
    dag = engine.dag
    compiled: list[object] = []
    compile_part = engine._compile_part

    def counting(part: object) -> object:
        compiled.append(part)
        return compile_part(part)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_compile_part", counting)
    stages = [[dag.outputs[-1]]]
    assert not engine.is_ready([dag.input], stages)
    threads = [
        threading.Thread(target=engine.prepare, args=([dag.input], stages)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.is_ready([dag.input], stages)
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("given", "targets", "words"),
    [
        (["image"], ["nowhere"], "no nodes.*nowhere"),
        (["nowhere"], ["last"], "no nodes.*nowhere"),
        (["gate"], ["last"], "don't suffice"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(
    given: list[str], targets: list[str], words: str
) -> None:
    engine, _ = two_exits()
    with pytest.raises(GraphError, match=words):
        engine.prepare(given, [targets])
    assert not engine.is_ready(given, [targets])


@pytest.mark.parametrize(
    "array",
    [np.zeros((1, 3, 16, 17), np.float32), np.zeros((1, 3, 16, 16)), np.zeros(768, np.float32)],
)
def test_an_array_that_does_not_fit_is_refused(array: np.ndarray) -> None:
    engine, _ = two_exits()
    with pytest.raises(GraphError, match=r"should be float32 \(1, 3, 16, 16\)"):
        engine.run({engine.dag.input: array}, [engine.dag.outputs[0]])


def test_providers_are_named() -> None:
    _, model = two_exits()
    with pytest.raises(EngineError, match="no execution provider 'abacus'; choose from"):
        OnnxRuntimeEngine(export(model), providers=["abacus"])
    with pytest.raises(EngineError, match="install the wheel onnxruntime-gpu"):
        OnnxRuntimeEngine(export(model), providers=["tensorrt"])


def test_a_network_that_cannot_be_written_as_onnx_is_named() -> None:
    class Bessel(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(image)

    with pytest.raises(OnnxError, match="bessel_j0"):
        export(trace(Bessel(), torch.zeros(1, 4)))


def test_folders_of_killed_processes_are_removed_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    in_use, _ = two_exits()
    left, young = tmp_path / "dapdee-network-left", tmp_path / "dapdee-network-young"
    for folder in (left, young):
        folder.mkdir()
        (folder / "weights").write_bytes(b"0" * 100)
    for folder in (left, in_use._model.folder):
        os.utime(folder, (1.0, 1.0))
    two_exits()
    assert not left.exists()
    assert young.exists()
    assert in_use._model.folder.exists()
    in_use.prepare([in_use.dag.input], [in_use.dag.outputs])


@pytest.mark.parametrize("content", [b"", b"\x08\x07\x12", b"not a network"])
def test_a_torn_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxError, match=r"model\.onnx|does not compute"):
        OnnxModel.load(path, two_exits()[0].dag)
