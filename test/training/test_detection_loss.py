"""Which cells answer for which object, and the loss of a detector's exits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dapdee_ros.exits.detector import EXITS, STRIDES, MobileDetector
from dapdee_ros.graph.trace import trace
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.training.detection_loss import DetectionLoss, assign, boxes_of, grid_of, overlaps

SIZE = (128, 160)
CLASSES = ("cat", "dog", "cow")
GRID = grid_of(SIZE, STRIDES, torch.device("cpu"))
BOXES = torch.tensor([[10.0, 12, 30, 44], [60, 40, 150, 120], [20, 20, 28, 27]])
LABELS = torch.tensor([0, 2, 1])


def rows_that_say(boxes: Tensor, labels: Tensor) -> Tensor:
    """Logits with which every cell whose middle is in a box predicts the smallest such one."""
    rows = torch.full((len(GRID.corners), 5 + len(CLASSES)), -12.0)
    rows[:, :4] = 0.0
    middles = (GRID.corners + 0.5) * GRID.strides[:, None]
    order = ((boxes[:, 2:] - boxes[:, :2]).prod(1)).argsort(descending=True)
    for number in order.tolist():
        box = boxes[number]
        cells = ((middles > box[:2]) & (middles < box[2:])).all(1).nonzero().squeeze(1)
        stride = GRID.strides[cells, None]
        rows[cells, :2] = (box[:2] + box[2:]) / 2 / stride - GRID.corners[cells]
        rows[cells, 2:4] = torch.log((box[2:] - box[:2]) / stride)
        rows[cells, 4:] = -12.0
        rows[cells, 4] = 12.0
        rows[cells, 5 + int(labels[number])] = 12.0
    return rows


def test_overlaps_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 1, 1]])
    b = torch.tensor([[2.0, 0, 6, 4], [0, 0, 4, 4], [8, 8, 9, 9]])
    expected = [[8 / 24, 1.0, 0.0], [0.0, 1 / 16, 0.0]]
    assert torch.allclose(overlaps(a, b), torch.tensor(expected))


def test_every_object_gets_cells_that_predict_it() -> None:
    rows = rows_that_say(BOXES, LABELS)
    found = assign(rows, BOXES, LABELS, GRID)
    assert set(found.objects.tolist()) == {0, 1, 2}
    assert len(set(found.cells.tolist())) == len(found.cells)
    assert torch.allclose(found.overlap, torch.ones(len(found.overlap)), atol=1e-4)
    predicted = boxes_of(rows, GRID)[found.cells]
    assert torch.allclose(predicted, BOXES[found.objects], atol=0.01)


def test_objects_of_a_network_that_knows_nothing_get_cells_near_them() -> None:
    rows = torch.randn(len(GRID.corners), 5 + len(CLASSES), generator=torch.manual_seed(0))
    found = assign(rows, BOXES, LABELS, GRID)
    assert set(found.objects.tolist()) == {0, 1, 2}
    middles = (GRID.corners[found.cells] + 0.5) * GRID.strides[found.cells, None]
    centres = ((BOXES[:, :2] + BOXES[:, 2:]) / 2)[found.objects]
    assert ((middles - centres).abs() < 2.5 * GRID.strides[found.cells, None]).all()


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_the_loss_falls_to_nothing_for_the_right_answer(distillation: float) -> None:
    rows = rows_that_say(BOXES, LABELS)
    answering = assign(rows, BOXES, LABELS, GRID).cells
    right = torch.full_like(rows, -12.0)
    right[answering] = rows[answering]
    wrong = rows_that_say(BOXES + 9, LABELS.flip(0))
    loss = DetectionLoss((0.5, 1.0), STRIDES, distillation)

    def of(first: Tensor, second: Tensor) -> float:
        return float(loss([first[None], second[None]], [BOXES], [LABELS], SIZE))

    assert of(right, right) < 0.01
    assert 10 < of(wrong, right) < of(wrong, wrong)


def test_images_without_objects_teach_that_there_is_nothing() -> None:
    none = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]
    loss = DetectionLoss((1.0,), STRIDES)
    quiet = torch.full((1, len(GRID.corners), 8), -12.0)
    loud = quiet.clone()
    loud[..., 4] = 3.0
    assert float(loss([quiet], *none, SIZE)) < 0.01
    assert float(loss([loud], *none, SIZE)) > 100


def test_every_weight_of_every_exit_learns() -> None:
    torch.manual_seed(0)
    model = MobileDetector(len(CLASSES), widths=(8, 8, 16, 16, 16), neck=8, predictor=8).train()
    exits = model(torch.rand(9, 3, *SIZE))
    assert [e.shape for e in exits] == [(9, len(GRID.corners), 8)] * EXITS
    loss = DetectionLoss((0.3, 0.6, 1.0), STRIDES, 0.3)
    empty = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    # Objects of sizes for every scale, or some heads would have no class to learn.
    sides = torch.tensor([6, 8, 12, 20, 32, 64, 90, 120]).float()
    boxes = [
        torch.cat([64 - side.expand(1, 2) / 2, 64 + side.expand(1, 2) / 2], 1) for side in sides
    ]
    labels = [torch.tensor([number % 3]) for number in range(8)]
    loss(exits, [*boxes, empty[0]], [*labels, empty[1]], SIZE).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_in_use_rows_are_what_the_decoder_reads() -> None:
    rows = rows_that_say(BOXES, LABELS)
    rows[:, 4:] = rows[:, 4:].sigmoid()
    options = {"decoder": "yolox", "strides": list(STRIDES), "score": 0.5}
    task = Detector(CLASSES, options, [[(1, *rows.shape)]], SIZE)
    found = task.decode([rows[None].numpy()], 1)
    order = np.argsort(found.class_ids)
    assert found.class_ids[order].tolist() == [0, 1, 2]
    assert np.allclose(found.boxes[order], BOXES[[0, 2, 1]].numpy(), atol=0.01)


def test_the_first_exit_takes_a_third_of_the_work() -> None:
    dag = trace(MobileDetector(12).eval(), torch.zeros(1, 3, 320, 320)).dag
    work = [sum(dag.by_name[n].flops for n in dag.exit_part(k)) for k in (1, 2, 3)]
    assert work == sorted(work)
    assert work[0] <= 0.35 * work[2]
    assert sum(p.numel() for p in MobileDetector(12).parameters()) < 4e6
