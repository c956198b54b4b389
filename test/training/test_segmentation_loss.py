"""A segmenter's exits and the loss that trains them jointly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dapdee_ros.datasets.frame_source import UNLABELLED
from dapdee_ros.datasets.roadscenes import SURFACES, RoadScenes
from dapdee_ros.exits.segmenter import EXITS, STRIDE, MobileSegmenter
from dapdee_ros.graph.trace import trace
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter
from dapdee_ros.training.segmentation_loss import SegmentationLoss, soft_iou

CLASSES = 3


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # several wait for each other on a busy machine


def truth_of(*rows: list[int]) -> Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


def logits_that_say(truth: Tensor, sure: float = 12.0) -> Tensor:
    known = torch.where(truth == UNLABELLED, 0, truth).long()
    return sure * torch.nn.functional.one_hot(known, CLASSES).permute(0, 3, 1, 2).float()


def small() -> MobileSegmenter:
    torch.manual_seed(0)
    widths, heads = (16, 16, 32, 32, 48), (16, 16, 16)
    return MobileSegmenter(len(SURFACES), widths=widths, neck=24, heads=heads)


def test_the_soft_iou_of_a_sure_answer_is_the_iou() -> None:
    truth = truth_of([0, 0, 0, 1]).long()
    said = logits_that_say(truth_of([0, 0, 1, 1]), 50.0).softmax(1)
    known = torch.ones_like(truth, dtype=torch.bool)
    # Class 2 is neither there nor named.
    assert float(soft_iou(said, truth, known)) == pytest.approx((2 / 3 + 1 / 2) / 2)
    known[0, 0, 2] = False
    assert float(soft_iou(said, truth, known)) == pytest.approx(1)
    assert float(soft_iou(said, truth, torch.zeros_like(known))) == 1


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_the_loss_falls_to_nothing_for_the_right_answer(distillation: float) -> None:
    truth = truth_of([0, 1, 2, UNLABELLED], [0, 0, 1, 1])
    right = logits_that_say(truth)
    wrong = logits_that_say((truth + 1) % 3)
    loss = SegmentationLoss((0.5, 1.0), distillation=distillation)
    assert float(loss([right, right], truth)) < 0.001
    assert 5 < float(loss([wrong, right], truth)) < float(loss([wrong, wrong], truth))


def test_a_rare_class_counts_for_the_overlap_as_much_as_a_common_one() -> None:
    truth = torch.zeros(1, 40, 40, dtype=torch.uint8)
    truth[0, 3, 3] = 1
    missed = logits_that_say(torch.zeros_like(truth))
    assert float(SegmentationLoss((1.0,), overlap=0)([missed], truth)) < 0.01
    assert float(SegmentationLoss((1.0,))([missed], truth)) > 0.5


def test_a_part_of_the_pixels_draws_borders_to_no_side() -> None:
    loss = SegmentationLoss((1.0,), pixel_step=2)
    columns = torch.arange(32.0)

    def of_borders(moved_px: float) -> float:
        """The loss of maps with borders at even and odd places, answered with all moved."""
        total = 0.0
        for border_px in (14, 15, 16, 17):
            truth = (columns >= border_px).to(torch.uint8).expand(1, 32, 32)
            right = 4 * torch.arange(8.0) + 2 - (border_px + moved_px)
            logits = torch.stack([-right, right])[None, :, None].expand(1, 2, 8, 8)
            total += float(loss([logits], truth))
        return total

    left, right = of_borders(-1.0), of_borders(1.0)
    assert left == pytest.approx(right, rel=0.02)
    assert of_borders(0.0) < 0.9 * min(left, right)


def test_pixels_that_nobody_knows_teach_nothing() -> None:
    truth = torch.full((1, 4, 4), UNLABELLED, dtype=torch.uint8)
    logits = torch.randn(1, CLASSES, 4, 4, requires_grad=True)
    loss = SegmentationLoss((1.0,))([logits], truth)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None and not logits.grad.any()


def test_every_weight_of_every_exit_learns() -> None:
    model = small().train()
    exits = model(torch.rand(2, 3, 64, 96))
    assert [e.shape for e in exits] == [(2, len(SURFACES), 64 // STRIDE, 96 // STRIDE)] * EXITS
    truth = torch.randint(0, len(SURFACES), (2, 32, 48))
    SegmentationLoss((0.3, 0.6, 1.0), distillation=0.3)(exits, truth).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_few_frames_are_learnt_by_every_exit() -> None:
    scenes = RoadScenes(5, (64, 64), sequence_frames=1)
    frames = [scenes.frame(index) for index in range(2)]
    pixels = torch.from_numpy(np.stack([f.image for f in frames])).permute(0, 3, 1, 2) / 255 - 0.4
    truth = torch.from_numpy(np.stack([f.class_map for f in frames]))
    model = small().train()
    loss = SegmentationLoss((0.3, 0.65, 1.0), distillation=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        loss(model(pixels), truth).backward()
        optimizer.step()
    with torch.no_grad():
        exits = model(pixels)  # as trained: batch norm's averages have not settled yet
    shapes = [[(1, *logits.shape[1:])] for logits in exits]
    task = Segmenter(SURFACES, {"cell_px": 1}, shapes, (64, 64))
    for number, logits in enumerate(exits, start=1):
        evaluator = task.evaluator()
        for place, frame in enumerate(frames):
            answer = task.decode([logits[place : place + 1].numpy()], number)
            evaluator.add(answer, ClassMap(frame.class_map))
        assert evaluator.quality() > 0.6, (number, evaluator.figures())


def test_the_first_exit_takes_a_third_of_the_work_and_the_weights_fit() -> None:
    model = MobileSegmenter(len(SURFACES))
    dag = trace(model.eval(), torch.zeros(1, 3, 320, 320)).dag
    work = [sum(dag.by_name[n].flops for n in dag.exit_part(k)) for k in (1, 2, 3)]
    assert work == sorted(work)
    assert work[0] <= 0.35 * work[2]
    assert 2 * sum(p.numel() for p in model.parameters()) < 4.9e6  # bytes as float16
