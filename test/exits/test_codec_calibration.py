import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dapdee_ros.codecs import decode, encode
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.exits.calibration import ClassesCompared
from dapdee_ros.exits.codec_calibration import boundaries_to_measure, measure_codecs
from dapdee_ros.exits.codec_losses import Change, CodecLosses
from dapdee_ros.exits.model_folder import LoadedModel, load_model
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag, Node

ROADSIGNS = Path(__file__).resolve().parents[2] / "models" / "roadsigns"
FRAMES = 24
CODECS = ("f32z", "u8", "u8z", "u4", "u4z", "jpeg")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ROADSIGNS)


@pytest.fixture(scope="module")
def frames(model: LoadedModel) -> tuple[np.ndarray, np.ndarray]:
    signs = RoadSigns(77, model.card.input_size)
    drawn = [signs.frame(index) for index in range(FRAMES)]
    return np.stack([f.image for f in drawn]), np.array([f.label for f in drawn])


@pytest.fixture(scope="module")
def losses(model: LoadedModel, frames: tuple[np.ndarray, np.ndarray]) -> CodecLosses:
    seen: list[int] = []
    images, labels = frames
    found = measure_codecs(
        model.engine,
        images,
        lambda number: ClassesCompared(labels),
        codecs=CODECS,
        progress=seen.append,
    )
    assert sum(seen) == FRAMES
    return found


def test_boundaries_are_those_that_the_planner_may_send(model: LoadedModel) -> None:
    dag = model.card.dag
    chosen = boundaries_to_measure(dag)
    legal = {n: {cut.boundary for cut in cuts(dag, n)} for n in range(1, len(dag.exits) + 1)}
    for name, exits in chosen.items():
        assert exits == tuple(n for n in legal if (name,) in legal[n]) != ()
    assert next(iter(chosen)) == dag.input
    values = [math.prod(dag.by_name[n].shape) for n, exits in chosen.items() if len(exits) > 1]
    assert max(values[1:]) < 2 * values[0]
    # Activations stand for the convolutions before them, and the normalised image for nothing.
    assert {"backbone.stage1.neck.2", "backbone.stage2.neck.2"} <= set(chosen)
    assert not {"backbone.stage1.neck.1", "normalise"} & set(chosen)


def test_too_many_boundaries_are_thinned_out() -> None:
    names = [f"shrink{k}" for k in range(40)]
    nodes = [Node("image", "input", (), (1, 8, 8, 3), "uint8", 192, 0)]
    for k, name in enumerate(names):
        size = 150 - k
        nodes.append(Node(name, "conv2d", (nodes[-1].name,), (1, size), "float32", 4 * size, 10**6))
    chosen = list(boundaries_to_measure(ModelDag(tuple(nodes), ((names[-1],),)), most=5))
    assert len(chosen) == 6
    assert (chosen[0], chosen[1], chosen[-1]) == ("image", names[0], names[-2])


def test_answers_that_change_are_counted_frame_by_frame(
    model: LoadedModel, frames: tuple[np.ndarray, np.ndarray], losses: CodecLosses
) -> None:
    dag, name = model.card.dag, "backbone.stage1.pool"
    node = dag.by_name[name]
    counts = {number: [0, 0] for number in range(1, 6)}
    sizes = []
    for image, label in zip(*frames, strict=True):
        plain = model.runner.run({dag.input: torch.from_numpy(image[None])}, [name, *dag.outputs])
        specs, data = encode({name: plain[name].numpy()}, "u4")
        sizes.append(len(encode({name: plain[name].numpy()}, "u4z")[1]) + 8)
        back = decode(specs, data, "u4", {name: (node.shape, node.dtype)})
        coded = model.runner.run({name: torch.from_numpy(back[name])}, dag.outputs)
        for number, sink in enumerate(dag.outputs, start=1):
            before, after = (int(run[sink].argmax()) == label for run in (plain, coded))
            counts[number][0] += before and not after
            counts[number][1] += after and not before
    found = losses.tensors["u4"][name]
    assert found.changes == {n: Change.counted(a, b, FRAMES) for n, (a, b) in counts.items()}
    assert max(change.error for change in found.changes.values()) > 0
    assert losses.tensors["u4z"][name].changes == found.changes
    assert losses.tensors["u4z"][name].coded_bytes == pytest.approx(np.mean(sizes), abs=0.1)


def test_sizes_and_times_are_plausible(model: LoadedModel, losses: CodecLosses) -> None:
    dag = model.card.dag
    assert set(losses.tensors) == set(CODECS)
    assert set(losses.tensors["jpeg"]) == {dag.input}
    assert losses.tensors["jpeg"][dag.input].coded_bytes < dag.nodes[0].output_bytes
    assert dag.input not in losses.tensors["u8"]
    for of_codec in losses.tensors.values():
        for coded in of_codec.values():
            assert 0 < coded.encode_share < 1
            assert 0 < coded.decode_share < 1
    relu = "backbone.stage1.neck.2"
    sizes = [losses.tensors[codec][relu].coded_bytes for codec in ("f32z", "u8", "u8z", "u4z")]
    assert sizes == sorted(sizes, reverse=True)
    assert all(change == (0, 0) for change in losses.tensors["f32z"][relu].changes.values())
