"""Detectors: what their training sees, how it goes on after a stop, and what its figures say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dapdee_ros.datasets.scene_data import RenderedScenes
from dapdee_ros.exits.builders import BuilderError
from dapdee_ros.exits.model_folder import half_precision, load_model, load_module, save_model
from dapdee_ros.exits.networks import build_exit_network, detection_task, exit_architecture
from dapdee_ros.tasks.task import task_of
from dapdee_ros.training.averaging import MovingAverage
from dapdee_ros.training.detection import DetectionTraining
from dapdee_ros.training.recipe import DETECTION_RECIPE, Recipe
from dapdee_ros.training.scene_truth import true_detections
from dapdee_ros.training.training import Training

pytestmark = pytest.mark.training

SIZE = (96, 128)
SMALL = {"widths": [8, 8, 16, 16, 16], "blocks": [0, 1, 0, 0], "neck": 8, "predictor": 8}
ARCHITECTURE = exit_architecture("mobile-detector", 12, SMALL)
RECIPE = replace(DETECTION_RECIPE, epochs=2, batch_size=4, start_scale=0.5)


def source() -> RenderedScenes:
    return RenderedScenes(SIZE, frames_per_epoch=12, held_out_frames=20)


def training(out: Path, recipe: Recipe = RECIPE, workers: int = 0) -> Training:
    torch.manual_seed(recipe.seed)
    data = source()
    model = build_exit_network(ARCHITECTURE, data.size, data.mean, data.std)
    task = DetectionTraining(data, recipe, model.exits, workers)
    return Training(model, task, recipe, out, {"data": "roadscenes"})


def after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return stop


def test_stopped_and_resumed_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole")
    last = list(whole.run())[-1]
    assert (last.step, last.steps, last.figures) == (6, 6, ())
    part = training(tmp_path / "part", workers=1)
    for _ in part.run(after(4)):
        pass
    rest = training(tmp_path / "part")
    assert rest.step == 4
    assert list(rest.run())[-1] == last
    expected, came = whole.trained().state_dict(), rest.trained().state_dict()
    assert all(torch.equal(expected[name], came[name]) for name in expected)


def test_workers_render_the_frames_that_the_training_would() -> None:
    own, theirs = (
        list(DetectionTraining(source(), RECIPE, 3, workers).batches(0, 1)) for workers in (0, 2)
    )
    assert len(own) == len(theirs) == 2
    for a, b in zip(own, theirs, strict=True):
        assert torch.equal(a.images, b.images)
        assert a.target.size == b.target.size
        for name in ("boxes", "labels"):
            pairs = zip(getattr(a.target, name), getattr(b.target, name), strict=True)
            assert all(torch.equal(x, y) for x, y in pairs)


def test_frames_grow_with_their_boxes_by_whole_cells() -> None:
    recipe = replace(RECIPE, epochs=10)
    task = DetectionTraining(source(), recipe, 3, workers=0)
    sizes = [next(task.batches(epoch, 2)).images.shape[1:3] for epoch in (0, 4, 8)]
    assert sizes == [(64, 64), (64, 96), SIZE]
    for batch in task.batches(0, 0):
        height, width = batch.target.size
        assert batch.images.shape[1:3] == (height, width)
        for boxes, labels in zip(batch.target.boxes, batch.target.labels, strict=True):
            assert len(boxes) == len(labels)
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([width, height, width, height])).all()


def test_new_frames_every_epoch_and_none_of_those_held_out() -> None:
    data = source()
    seen = [data.train(epoch)[0].image for epoch in (0, 1)]
    seen += [data.held_out()[0].image, data.calibration()[0].image]
    for place, image in enumerate(seen):
        assert not any(np.array_equal(image, other) for other in seen[:place])
    with pytest.raises(IndexError, match="frame 12 of 12"):
        data.train(0)[12]


class Oracle(nn.Module):
    """Answers with the truth of the frames it gets, exit 1 with nothing."""

    def __init__(self, frames: list) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.frames = {frame.image.tobytes(): true_detections(frame) for frame in frames}

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows of YOLOX."""
        cells = sum((SIZE[0] // s) * (SIZE[1] // s) for s in (8, 16, 32))
        rows = torch.zeros(len(images), cells, 5 + 12)
        for place, image in enumerate(images):
            truth = self.frames[image.numpy().tobytes()]
            for cell, (box, label) in enumerate(zip(truth.boxes, truth.class_ids, strict=True)):
                # Cell number k of the finest grid, in the first row.
                centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
                rows[place, cell, :2] = torch.from_numpy(centre / 8) - torch.tensor([cell, 0])
                rows[place, cell, 2:4] = torch.from_numpy(np.log(sides / 8))
                rows[place, cell, 4] = rows[place, cell, 5 + label] = 1
        return torch.zeros_like(rows), rows


def test_who_answers_with_the_truth_gets_everything() -> None:
    data = source()
    held_out = data.held_out()
    frames = [held_out[place] for place in range(len(held_out))]
    task = DetectionTraining(data, RECIPE, 2, workers=0)
    assert sum(len(task.truth_of(frame)) for frame in frames) > 10
    assert task.evaluated(Oracle(frames), part=False, bf16=False) == (0.0, 1.0)


def test_it_learns(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=30, start_scale=1.0, learning_rate=0.01)
    learning = training(tmp_path, recipe)
    assert isinstance(learning.task, DetectionTraining)
    same = learning.task.source.train(0)
    learning.task.source.train = lambda epoch, size=None: same  # type: ignore[method-assign]
    steps = list(learning.run())
    assert steps[-1].loss < 0.8 * steps[0].loss


def test_a_detector_is_stored_with_its_task_and_runs_from_there(tmp_path: Path) -> None:
    data = source()
    torch.manual_seed(1)
    model = build_exit_network(ARCHITECTURE, data.size, data.mean, data.std).eval()
    model.load_state_dict(half_precision(model.state_dict()), strict=False)
    card = save_model(
        tmp_path,
        model,
        name="small",
        architecture=ARCHITECTURE,
        labels=data.labels,
        mean=data.mean,
        std=data.std,
        exit_quality=(0.1, 0.2, 0.3),
        quality_data="none",
        provenance={},
        task=detection_task(),
    )
    assert (card.task["name"], len(card.dag.exits)) == ("detection", 3)
    image = data.held_out()[0].image[None]
    with torch.inference_mode():
        expected = model(torch.from_numpy(image))
        module = load_module(tmp_path)[1]
        for a, b in zip(expected, module(torch.from_numpy(image)), strict=True):
            assert torch.equal(a, b)
    runner = load_model(tmp_path).runner
    wanted = [output for of_exit in card.dag.exits for output in of_exit]
    outputs = runner.run({card.dag.input: torch.from_numpy(image)}, wanted)
    for of_exit, rows in zip(card.dag.exits, expected, strict=True):
        torch.testing.assert_close(outputs[of_exit[0]], rows, atol=1e-4, rtol=1e-4)
    assert task_of(card).evaluator().frames == 0


def test_the_early_exits_are_trained_alone(tmp_path: Path) -> None:
    learning = training(tmp_path, replace(RECIPE, exits_only=True, epochs=4, learning_rate=0.01))
    before = {k: v.clone() for k, v in learning.model.state_dict().items()}
    image = torch.from_numpy(source().held_out()[0].image[None])
    with torch.inference_mode():
        deepest = learning.model.eval()(image)[-1]
    steps = list(learning.run())
    trained = learning.trained().eval()
    changed = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
    parts = {name.split(".")[1] for name in changed}
    assert parts == {"exit1", "lateral2", "exit2"}
    assert any("running_mean" in name for name in changed)
    with torch.inference_mode():
        assert torch.equal(trained(image)[-1], deepest)
    assert np.isfinite(steps[-1].loss)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(BuilderError, match="multiples of 32 pixels, got 100x128"):
        build_exit_network(ARCHITECTURE, (100, 128), (0.4,) * 3, (0.2,) * 3)
    with pytest.raises(
        BuilderError,
        match="no network with exits of its own called 'yolo': there are mobile-detector",
    ):
        build_exit_network({**ARCHITECTURE, "builder": "yolo"}, SIZE, (0.4,) * 3, (0.2,) * 3)
    with pytest.raises(BuilderError, match="unexpected keyword argument 'depth'"):
        build_exit_network(
            {**ARCHITECTURE, "arguments": {"depth": 2}}, SIZE, (0.4,) * 3, (0.2,) * 3
        )


def test_the_moving_average_by_hand() -> None:
    linear, norm = nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)
    network = nn.Sequential(linear, norm)
    average = MovingAverage(network, 0.9)
    assert norm.num_batches_tracked is not None
    expected = 0.0
    for step, value in enumerate((1.0, 3.0, -2.0, 5.0)):
        with torch.no_grad():
            linear.weight.fill_(value)
        norm.num_batches_tracked.fill_(step)
        average.add(network)
        share = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        expected = share * expected + (1 - share) * value
    assert len(average) == 4
    averaged = average.network()
    assert isinstance(averaged, nn.Sequential) and not averaged.training
    state = averaged.state_dict()
    assert state["0.weight"].item() == pytest.approx(expected)
    assert state["1.num_batches_tracked"].item() == 3
    other = MovingAverage(network, 0.9)
    other.load_state_dict(average.state_dict())
    assert len(other) == 4
