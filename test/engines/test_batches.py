"""Several frames at once: the answers of one at a time, or a reason why that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.made_networks import GOOD, SIDE, Maker, chain, heads

from dapdee_ros.datasets.roadscenes import RoadScenes
from dapdee_ros.engines.engine import Array, Engine, NotBatchable
from dapdee_ros.engines.onnx_batch import check_same
from dapdee_ros.engines.onnx_import import Pixels, import_onnx
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.engines.slow_engine import SlowEngine
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.cut_costs import spread_cuts
from dapdee_ros.tasks.classification import Classification
from dapdee_ros.tasks.task import task_of

SHIPPED = ("roadsigns", "alexnet-cifar10", "vgg16-cifar10", "roadscenes-det", "roadscenes-seg")
SIZES = (2, 3)
CLOSE = 1e-4


def same_in_batches(
    engine: Engine, frames: Sequence[dict[str, Array]], targets: Sequence[str]
) -> list[dict[str, Array]]:
    """Check each frame's tensors in batches against those alone; those of the last batch."""
    alone = [engine.run(frame, targets) for frame in frames]
    engine.prepare_batches(frames[0], targets)
    together: list[dict[str, Array]] = []
    for size in SIZES:
        together = engine.run_batch(frames[:size], targets)
        assert len(together) == size
        for one, many in zip(alone, together, strict=False):
            assert list(one) == list(many) == list(targets)
            for name, expected in one.items():
                assert (many[name].shape, many[name].dtype) == (expected.shape, expected.dtype)
                most = np.abs(expected).max()
                np.testing.assert_allclose(many[name], expected, rtol=0, atol=CLOSE * most)
    return together


def answers_alike(one: Any, many: Any) -> None:
    """Check two answers of a task: the same classes at the same places, scores that are close."""
    if hasattr(one, "boxes"):
        np.testing.assert_array_equal(one.class_ids, many.class_ids)
        np.testing.assert_allclose(one.boxes, many.boxes, atol=0.01)
        np.testing.assert_allclose(one.scores, many.scores, atol=1e-4)
    elif isinstance(one, Classification):
        assert one.class_id == many.class_id
        assert one.score == pytest.approx(many.score, abs=1e-4)
    else:
        assert np.mean(one.class_ids != many.class_ids) <= 1e-3


@pytest.mark.parametrize("name", SHIPPED)
def test_every_bundled_network_has_the_same_answers_in_batches(name: str) -> None:
    model = load_runnable(find_model(name))
    dag, engine, task = model.card.dag, model.engine, task_of(model.card)
    scenes = RoadScenes(seed=5, size=(320, 320), sequence_frames=1)
    height, width = model.card.input_size
    images = [scenes.frame(k).image[:height, :width][None] for k in range(max(SIZES))]
    found = 0
    for exit_number in {1, len(dag.exits)}:
        outputs = dag.exit_outputs(exit_number)
        for cut in [dag.input, *spread_cuts(dag, exit_number, 2)]:
            sent = [engine.run({dag.input: image}, [cut]) for image in images]
            together = same_in_batches(engine, sent, outputs)
            for frame, tensors in zip(sent, together, strict=True):
                alone = engine.run(frame, outputs)
                one, many = (task.decode([t[n] for n in outputs], exit_number)
                             for t in (alone, tensors))  # fmt: skip
                answers_alike(one, many)
                found += len(one) if hasattr(one, "boxes") else 1
    assert found, "nothing was compared"


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_imported_networks_too_whatever_shapes_they_name(
    make: Callable[[], Maker], tmp_path: Path
) -> None:
    model = import_onnx(make().save(tmp_path / "made.onnx"), Pixels())
    dag, engine = model.dag, OnnxRuntimeEngine(model)
    draw = np.random.default_rng(2)
    images = [draw.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8) for _ in range(max(SIZES))]
    for boundary in [(dag.input,), *heads(dag, 2)]:
        sent = [engine.run({dag.input: image}, boundary) for image in images]
        same_in_batches(engine, sent, dag.outputs)


def resized() -> Maker:
    """Names the size of the batch where it resizes and where it expands."""
    make = Maker().conv("x", "a", 3, 4)
    sizes = make.weight("sizes", value=np.array([1, 4, 2 * SIDE, 2 * SIDE]))
    make.op("Resize", f"a none none {sizes}", "r", mode="nearest")
    make.nodes[-1].input[1:3] = ["", ""]
    wide = make.weight("wide", value=np.array([1, 4, 2 * SIDE, 2 * SIDE]))
    make.op("GlobalAveragePool", "r", "g").op("Expand", f"g {wide}", "e")
    return make.op("Add", "r e", "y").outputs("y")


def test_a_resize_to_a_size_that_names_the_batch(tmp_path: Path) -> None:
    model = import_onnx(resized().save(tmp_path / "made.onnx"), Pixels())
    engine = OnnxRuntimeEngine(model)
    draw = np.random.default_rng(2)
    frames = [
        {"image": draw.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)} for _ in range(max(SIZES))
    ]
    same_in_batches(engine, frames, model.dag.outputs)


def mixing() -> Maker:
    """Subtracts a mean over frames as over pixels."""
    make = Maker().conv("x", "a", 3, 4).op("ReduceMean", "a", "m", axes=(0, 2, 3), keepdims=1)
    return make.op("Sub", "a m", "y").outputs("y")


def places() -> Maker:
    """Puts its pixels along the first axis."""
    make = Maker().conv("x", "a", 3, 4)
    shape = make.weight("shape", value=np.array([SIDE * SIDE, 4]))
    make.op("Reshape", f"a {shape}", "r")
    return make.op("MatMul", f"r {make.weight('w', 4, 5)}", "y").outputs("y")


def joined() -> Maker:
    """Puts something of its own, once, before what it computes, as a class token is."""
    make = Maker().conv("x", "a", 3, 4)
    token = make.weight("token", 1, 4, 1, SIDE)
    return make.op("Concat", f"{token} a", "y", axis=2).outputs("y")


def deaf() -> Maker:
    """Answers the same whatever it is given."""
    make = Maker().conv("x", "a", 3, 4)
    zero = make.weight("zero", value=np.zeros((1, 4, 1, 1), np.float32))
    return make.op("Mul", f"a {zero}", "y").outputs("y")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (mixing, "other values in a batch"),
        (places, "shape .256, 5., not a first axis of 1"),
        (joined, "cannot be computed for two frames"),
        (deaf, "nothing can be checked"),
    ],
)
def test_what_cannot_be_computed_in_batches_says_why(
    make: Callable[[], Maker], words: str, tmp_path: Path
) -> None:
    model = import_onnx(make().save(tmp_path / "made.onnx"), Pixels())
    engine = OnnxRuntimeEngine(model)
    with pytest.raises(NotBatchable, match=words):
        engine.prepare_batches([model.dag.input], model.dag.outputs)
    # One at a time it is computed as before.
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    assert engine.run({model.dag.input: image}, model.dag.outputs)


def test_engine_torch_has_no_batches() -> None:
    model = load_runnable(find_model("roadsigns"), "torch")
    dag = model.card.dag
    with pytest.raises(NotBatchable, match="torch"):
        model.engine.prepare_batches([dag.input], dag.outputs)


def test_a_slow_engine_is_slow_in_batches_too(tmp_path: Path) -> None:
    model = import_onnx(chain().save(tmp_path / "made.onnx"), Pixels())
    engine = SlowEngine(OnnxRuntimeEngine(model), 3.0)
    draw = np.random.default_rng(2)
    frames = [{"image": draw.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)} for _ in range(3)]
    same_in_batches(engine, frames, model.dag.outputs)


def test_weights_are_not_kept_twice() -> None:
    model = load_runnable(find_model("roadsigns"))
    dag, engine = model.card.dag, model.engine
    assert isinstance(engine, OnnxRuntimeEngine)
    engine.prepare([dag.input], [dag.exit_outputs(len(dag.exits))])
    before = engine.shared_bytes
    engine.prepare_batches([dag.input], dag.exit_outputs(len(dag.exits)))
    assert engine.shared_bytes <= 1.02 * before


def test_what_differs_is_found() -> None:
    one = np.arange(6, dtype=np.float32).reshape(1, 6)
    alone = [{"y": one}, {"y": one + 1}]
    check_same(alone, [{"y": one}, {"y": one + 1}])
    for wrong in (one + 1e-2, one[:, :5], one * np.nan, np.full_like(one, np.inf)):
        with pytest.raises(NotBatchable):
            check_same(alone, [{"y": one}, {"y": wrong}])
    # Classes of pixels: one in ten thousand may be as likely as another one.
    classes = np.zeros((1, 100, 100), np.int64)
    almost = classes.copy()
    almost[0, 0, 0] = 1
    other = classes + 1
    check_same([{"y": classes}, {"y": other}], [{"y": almost}, {"y": other}])
    with pytest.raises(NotBatchable):
        check_same([{"y": classes}, {"y": other}], [{"y": other}, {"y": other}])
