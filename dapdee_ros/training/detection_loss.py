"""Joint training of a detector's exits: which cell answers for which object, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_BOX_WEIGHT = 5.0
_CENTRE_CELLS = 2.5
_MOST_CELLS = 10
_OUTSIDE = 1e5
_LARGEST_EXPONENT = 8.0


class Grid(NamedTuple):
    """The cells of all scales, row by row.

    Attributes:
        corners: left upper corner of each in cells, float32 ``(A, 2)``.
        strides: pixels of each, float32 ``(A,)``.
    """

    corners: Tensor
    strides: Tensor


def grid_of(size: tuple[int, int], strides: Sequence[int], device: torch.device) -> Grid:
    """The grid for images of a size (height and width in pixels)."""
    corners, of_cell = [], []
    for stride in strides:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corners.append(torch.stack([x, y], -1).reshape(-1, 2))
        of_cell.append(torch.full((rows * columns,), stride))
    return Grid(torch.cat(corners).float().to(device), torch.cat(of_cell).float().to(device))


def boxes_of(rows: Tensor, grid: Grid) -> Tensor:
    """Corners in pixels, ``(..., A, 4)``, of rows of x, y, log w, log h."""
    stride = grid.strides[:, None]
    centres = (rows[..., :2] + grid.corners) * stride
    sides = torch.exp(rows[..., 2:4].clamp(max=_LARGEST_EXPONENT)) * stride
    return torch.cat([centres - sides / 2, centres + sides / 2], -1)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes ``(n, 4)`` and ``(m, 4)``: ``(n, m)``."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b))
    return both / (area_a[:, None] + area_b - both).clamp(min=1e-6)


class Assignment(NamedTuple):
    """Which cells of an image answer for an object.

    Attributes:
        cells: their indices, int64 ``(k,)``.
        objects: the object of each, int64 ``(k,)``.
        overlap: of the predicted box and the object's, ``(k,)``.
    """

    cells: Tensor
    objects: Tensor
    overlap: Tensor


def assign(rows: Tensor, boxes: Tensor, labels: Tensor, grid: Grid) -> Assignment:
    """SimOTA: each object gets the cells that cost least, as many as predict it well.

    Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430, section 2.1, after
    "OTA: Optimal Transport Assignment for Object Detection", CVPR 2021.

    Args:
        rows: one image's predictions with logits, ``(A, 5 + classes)``; not differentiated.
        boxes: the objects' corners in pixels, ``(m, 4)``.
        labels: their classes, int64 ``(m,)``.
        grid: the cells.
    """
    empty = torch.zeros(0, dtype=torch.long, device=rows.device)
    if not len(boxes):
        return Assignment(empty, empty, rows.new_zeros(0))
    rows = rows.detach().float()
    middles = (grid.corners + 0.5) * grid.strides[:, None]
    inside = ((middles[:, None] > boxes[:, :2]) & (middles[:, None] < boxes[:, 2:])).all(-1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = _CENTRE_CELLS * grid.strides[:, None, None]
    near = ((middles[:, None] - centres).abs() < reach).all(-1)
    candidates = torch.nonzero((inside | near).any(1)).squeeze(1)
    if not len(candidates):
        return Assignment(empty, empty, rows.new_zeros(0))
    inside, near = inside[candidates], near[candidates]
    chosen = rows[candidates]
    some = Grid(grid.corners[candidates], grid.strides[candidates])
    overlap = overlaps(boxes_of(chosen, some), boxes)
    scores = (chosen[:, 5:].sigmoid() * chosen[:, 4:5].sigmoid()).sqrt()
    wanted = functional.one_hot(labels, scores.shape[1]).float()
    likely = scores.clamp(1e-7, 1 - 1e-7)
    wrong = -(torch.log(likely) @ wanted.T + torch.log1p(-likely) @ (1 - wanted).T)
    cost = wrong - 3 * torch.log(overlap + 1e-8) + _OUTSIDE * (~(inside & near))
    most = min(_MOST_CELLS, len(candidates))
    wanted_cells = overlap.topk(most, dim=0).values.sum(0).int().clamp(min=1)
    matches = torch.zeros_like(cost, dtype=torch.bool)
    for number, count in enumerate(wanted_cells.tolist()):
        matches[cost[:, number].topk(count, largest=False).indices, number] = True
    # A cell that several objects want answers for the one that costs least.
    several = matches.sum(1) > 1
    if several.any():
        best = cost[several].argmin(1)
        matches[several] = functional.one_hot(best, len(boxes)).bool()
    place, objects = torch.nonzero(matches, as_tuple=True)
    return Assignment(candidates[place], objects, overlap[place, objects])


class DetectionLoss(nn.Module):
    """One loss from the rows of all exits: the weighted sum of theirs.

    An exit's is five times the boxes' (1 - IoU^2), the cross-entropy of objectness over all cells,
    and that of the classes, with the overlap as target, over the cells that answer for an object;
    all divided by their number. Earlier exits may learn from the deepest one's scores too.

    Args:
        weights: one per exit, shallowest first.
        strides: of the grids.
        distillation: weight of learning from the deepest exit's scores; 0 leaves it out.
    """

    def __init__(
        self, weights: Sequence[float], strides: Sequence[int], distillation: float = 0.0
    ) -> None:
        super().__init__()
        self.weights, self.strides = tuple(weights), tuple(strides)
        self.distillation = distillation

    def forward(
        self,
        exits: Sequence[Tensor],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        size: tuple[int, int],
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            exits: each exit's rows with logits, ``(B, A, 5 + classes)``.
            boxes: per image, corners in pixels, float32 ``(m, 4)``.
            labels: per image, classes, int64 ``(m,)``.
            size: height and width of the images in pixels.
        """
        grid = grid_of(size, self.strides, exits[0].device)
        teacher = exits[-1].detach().float().sigmoid()[..., 4:]
        total = exits[0].new_zeros((), dtype=torch.float32)
        for place, (weight, rows) in enumerate(zip(self.weights, exits, strict=True)):
            if weight == 0:
                continue
            rows = rows.float()
            loss = _loss_of(rows, boxes, labels, grid)
            if self.distillation and place < len(exits) - 1:
                apart = functional.binary_cross_entropy_with_logits(
                    rows[..., 4:], teacher, reduction="none"
                )
                # Cells that the deepest exit sees nothing in have nothing to teach.
                sure = teacher.amax(-1, keepdim=True)
                loss = loss + self.distillation * (apart * sure).sum() / sure.sum().clamp(min=1.0)
            total = total + weight * loss
        return total


def _loss_of(rows: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], grid: Grid) -> Tensor:
    """One exit's loss."""
    seen = torch.zeros_like(rows[..., 4])
    places, placed, classes = [], [], []
    for image, (own, kinds) in enumerate(zip(boxes, labels, strict=True)):
        found = assign(rows[image], own, kinds, grid)
        seen[image, found.cells] = 1.0
        predicted = boxes_of(rows[image, found.cells], Grid(*(g[found.cells] for g in grid)))
        places.append(1 - _paired_overlap(predicted, own[found.objects]) ** 2)
        target = functional.one_hot(kinds[found.objects], rows.shape[-1] - 5).float()
        placed.append(target * found.overlap[:, None])
        classes.append(rows[image, found.cells, 5:])
    count = seen.sum().clamp(min=1.0)
    objectness = functional.binary_cross_entropy_with_logits(rows[..., 4], seen, reduction="sum")
    kind = functional.binary_cross_entropy_with_logits(
        torch.cat(classes), torch.cat(placed), reduction="sum"
    )
    return (_BOX_WEIGHT * torch.cat(places).sum() + objectness + kind) / count


def _paired_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes pair by pair, ``(n,)``."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b))
    return both / (area_a + area_b - both).clamp(min=1e-6)
