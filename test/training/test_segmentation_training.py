"""Segmenters: what their training sees, and that it ends as a model that answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dapdee_ros.datasets.roadscenes import SURFACES
from dapdee_ros.datasets.scene_data import RenderedScenes
from dapdee_ros.exits.builders import BuilderError
from dapdee_ros.exits.card import ModelFolderError
from dapdee_ros.exits.model_folder import load_module, save_model
from dapdee_ros.exits.networks import (
    build_exit_network,
    detection_task,
    exit_architecture,
    segmentation_task,
)
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.tasks.task import task_of
from dapdee_ros.training.recipe import SEGMENTATION_RECIPE
from dapdee_ros.training.segmentation import SegmentationTraining
from dapdee_ros.training.starting_point import start_from
from dapdee_ros.training.training import Training

pytestmark = pytest.mark.training

SIZE = (64, 96)
SMALL = {"widths": [8, 8, 16, 16, 16], "blocks": [0, 1, 0, 0], "neck": 8, "heads": [8, 8, 8]}
ARCHITECTURE = exit_architecture("mobile-segmenter", len(SURFACES), SMALL)
RECIPE = replace(SEGMENTATION_RECIPE, epochs=4, batch_size=4, learning_rate=0.02, start_scale=1.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # several wait for each other on a busy machine


def task(frames: int = 48) -> SegmentationTraining:
    return SegmentationTraining(RenderedScenes(SIZE, frames, held_out_frames=10), RECIPE, 3, 0)


def test_its_frames_are_rendered_with_their_class_maps() -> None:
    source = task()
    batch = next(source.batches(0, 2))
    frames = [source.source.train(0)[place] for place in range(8, 12)]
    assert batch.images.shape == (4, *SIZE, 3)
    for place, frame in enumerate(frames):
        np.testing.assert_array_equal(batch.images[place], frame.image)
        np.testing.assert_array_equal(batch.target[place], source.truth_of(frame).class_ids)


def test_a_short_training_makes_a_model_that_answers_as_it_was_evaluated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scenes = task()
    data = scenes.source
    network = build_exit_network(ARCHITECTURE, data.size, data.mean, data.std)
    before = scenes.evaluated(network, part=False, bf16=False)
    recipe = replace(RECIPE, average_decay=0.0)
    training = Training(network, scenes, recipe, tmp_path / "made", {"data": "roadscenes"})
    assert list(training.run())[-1].step == 4 * 12
    trained = training.trained()
    quality = scenes.evaluated(trained, part=False, bf16=False)
    assert len(quality) == 3 and min(quality) > max(before) + 0.03
    out = tmp_path / "made"
    card = save_model(
        out, trained, name="made", architecture=ARCHITECTURE, labels=SURFACES, mean=data.mean,
        std=data.std, exit_quality=quality, quality_data="test", provenance={},
        task=segmentation_task(),
    )  # fmt: skip
    assert (out / "model.onnx").stat().st_size < 1e6
    runnable = load_runnable(out, "onnxruntime")
    answers = task_of(card)
    _, stored = load_module(out)
    again = scenes.evaluated(stored, part=False, bf16=False)
    evaluators = [answers.evaluator() for _ in quality]
    held_out = data.held_out()
    for place in range(len(held_out)):
        frame = held_out[place]
        names = [outputs[0] for outputs in card.dag.exits]
        outputs = runnable.engine.run({card.dag.input: frame.image[None]}, names)
        for number, (name, evaluator) in enumerate(zip(names, evaluators, strict=True), start=1):
            answer = answers.decode([outputs[name]], number)
            assert answer.class_ids.shape == SIZE
            evaluator.add(answer, scenes.truth_of(frame))
    # Stored in half precision.
    assert [e.quality() for e in evaluators] == pytest.approx(again, abs=0.005)
    assert again == pytest.approx(quality, abs=0.01)


def test_a_segmenter_starts_with_the_backbone_of_a_detector_and_with_no_other(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    wide = {**SMALL, "widths": [16, 16, 32, 64, 64], "blocks": [0, 1, 1, 1]}
    detectors = {"wide": wide, "narrow": SMALL}
    for name, arguments in detectors.items():
        arguments = {k: v for k, v in arguments.items() if k != "heads"} | {"predictor": 8}
        architecture = exit_architecture("mobile-detector", 12, arguments)
        network = build_exit_network(architecture, SIZE, (0.4,) * 3, (0.2,) * 3).eval()
        save_model(
            tmp_path / name, network, name=name, architecture=architecture,
            labels=[f"c{n}" for n in range(12)], mean=(0.4,) * 3, std=(0.2,) * 3,
            exit_quality=[0.1, 0.2, 0.3], quality_data="test", provenance={},
            task=detection_task(),
        )  # fmt: skip
    architecture = exit_architecture("mobile-segmenter", len(SURFACES), wide)
    segmenter = build_exit_network(architecture, SIZE, (0.5,) * 3, (0.2,) * 3)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    (card,) = start_from([tmp_path / "wide"], segmenter, architecture)
    assert card.name == "wide"
    _, detector = load_module(tmp_path / "wide")
    given = detector.state_dict()
    backbone = [n for n in before if ".stage" in n or ".stem" in n]
    assert len(backbone) > 20
    for name, tensor in segmenter.state_dict().items():
        expected = given[name] if name in backbone else before[name]
        if not name.endswith("num_batches_tracked") and (name in backbone or name not in given):
            torch.testing.assert_close(tensor, expected, rtol=0, atol=0)
    with pytest.raises(ModelFolderError, match=r"mobile-detector.*backbones differ"):
        start_from([tmp_path / "narrow"], segmenter, architecture)


@pytest.mark.parametrize(
    ("architecture", "size", "why"),
    [
        (ARCHITECTURE, (100, 64), "multiples of 32 pixels, got 100x64: choose another --size"),
        (ARCHITECTURE | {"builder": "unet"}, SIZE, "'unet': there are mobile-detector, mobile-seg"),
        (ARCHITECTURE | {"arguments": {"depth": 3}}, SIZE, "unexpected keyword argument 'depth'"),
        ({"builder": "mobile-segmenter"}, SIZE, "cannot be built from"),
    ],
)
def test_networks_that_cannot_be_built_are_named(
    architecture: dict[str, object], size: tuple[int, int], why: str
) -> None:
    with pytest.raises(BuilderError, match=why):
        build_exit_network(architecture, size, (0.5,) * 3, (0.2,) * 3)
