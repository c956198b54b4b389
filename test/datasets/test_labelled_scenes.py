"""Data sets in YOLO's and COCO's layout as data to train, evaluate and calibrate on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import UNLABELLED, SourceFrame, Truth
from dapdee_ros.datasets.labelled_scenes import (
    LabelledScenes,
    is_scenes,
    open_labelled,
    open_scenes,
    varied,
)
from dapdee_ros.datasets.split import DataError

HEIGHT, WIDTH = 60, 80
NAMES = ("box", "bar")


def drawn(number: int) -> tuple[NDArray[np.uint8], tuple[int, int, int, int], int]:
    """A dark image with one bright rectangle, its corners and its class."""
    random = np.random.default_rng(number)
    left, top = int(random.integers(5, 40)), int(random.integers(5, 30))
    right, bottom = left + int(random.integers(12, 30)), top + int(random.integers(10, 24))
    image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    image[top:bottom, left:right] = 200
    return image, (left, top, right, bottom), number % 2


def written(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def pictured(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def yolo(home: Path, **parts: int) -> Path:
    for part, count in parts.items():
        for number in range(count):
            image, (left, top, right, bottom), label = drawn(number)
            pictured(home / "images" / part / f"{number:03d}.png", image)
            place = (
                (left + right) / 2 / WIDTH,
                (top + bottom) / 2 / HEIGHT,
                (right - left) / WIDTH,
                (bottom - top) / HEIGHT,
            )
            line = " ".join(map(str, (label, *place)))
            written(home / "labels" / part / f"{number:03d}.txt", f"{line}\n")
    written(home / "classes.txt", "\n".join(NAMES))
    return home


def coco(home: Path, part: str, count: int) -> None:
    values: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 + k, "name": name} for k, name in enumerate(NAMES)],
    }
    for number in range(count):
        image, (left, top, right, bottom), label = drawn(number)
        pictured(home / part / f"{number:03d}.png", image)
        size = {"width": WIDTH, "height": HEIGHT}
        values["images"].append({"id": number, "file_name": f"{number:03d}.png", **size})
        annotation = {
            "id": number,
            "image_id": number,
            "category_id": 3 + label,
            "bbox": [left, top, right - left, bottom - top],
            "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
        }
        values["annotations"].append(annotation)
    written(home / "annotations" / f"instances_{part}.json", json.dumps(values))


def corners_of(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def counts(data: LabelledScenes) -> tuple[int, int, int]:
    return len(data.train(0)), len(data.held_out()), len(data.calibration())


def test_what_is_trained_on_is_not_evaluated_or_calibrated_on(tmp_path: Path) -> None:
    data = open_labelled("yolo", yolo(tmp_path, all=100), (HEIGHT, WIDTH))
    assert data.labels == NAMES
    assert counts(data) == (80, 10, 10) and data.frames_per_epoch() == 80
    stored = {drawn(number)[0].tobytes(): number for number in range(100)}
    held_out, calibration = (
        {stored[series[place].image.tobytes()] for place in range(len(series))}
        for series in (data.held_out(), data.calibration())
    )
    trained = {int(place) for place in data.train(0).places}
    assert len(held_out) == len(calibration) == 10
    assert trained | held_out | calibration == set(range(100))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": 20, "val": 8}, (20, 4, 4)),
        ({"train": 20, "val": 8, "test": 6}, (20, 8, 6)),
    ],
)
def test_the_parts_of_a_data_set_are_used_as_they_are_named(
    tmp_path: Path, parts: dict[str, int], expected: tuple[int, int, int]
) -> None:
    data = open_labelled("yolo", yolo(tmp_path, **parts), (64, 64))
    assert counts(data) == expected
    assert "val" in data.held_out().description


def test_coco_is_divided_by_its_files(tmp_path: Path) -> None:
    coco(tmp_path, "train2017", 20)
    coco(tmp_path, "val2017", 6)
    data = open_labelled("coco", tmp_path, (64, 96))
    assert counts(data) == (20, 3, 3)
    assert data.surfaces == NAMES
    frame = data.held_out()[1]
    assert frame.truth is not None and frame.truth.class_map is not None
    found = corners_of(frame.truth.class_map != UNLABELLED)
    assert np.allclose(found, corners_of(frame.image[..., 0] > 115), atol=2)


def test_boxes_and_maps_stay_on_what_they_are_of_however_it_is_varied() -> None:
    mirrored = whole = cut = 0
    for number in range(300):
        image, corners, label = drawn(number)
        left, top, right, bottom = corners
        class_map = np.full((HEIGHT, WIDTH), UNLABELLED, np.uint8)
        class_map[top:bottom, left:right] = label
        image[:, : WIDTH // 2, 0] = 60  # so that left and right differ
        frame = SourceFrame(image, Truth(None, [corners], [label], class_map))
        found = varied(frame, np.random.default_rng((1, number)))
        truth = found.truth
        assert truth is not None and truth.boxes is not None and truth.class_map is not None
        assert found.image.shape[:2] == truth.class_map.shape
        inside = truth.class_map == label
        if not len(truth.boxes):
            assert inside.sum() <= 0.31 * (right - left) * (bottom - top)
            cut += 1
            continue
        box = tuple(truth.boxes[0].astype(int).tolist())
        assert box == corners_of(inside)
        if not inside.all():
            assert found.image[inside][:, 1].min() > found.image[~inside][:, 1].max()
        whole += (box[2] - box[0], box[3] - box[1]) == (right - left, bottom - top)
        red = found.image[0, :, 0].astype(int) - found.image[0, :, 1]
        mirrored += bool(red[-1] > red[0])
    assert mirrored > 20 and whole > 100 and cut > 3


def test_an_epoch_is_the_same_again_and_another_one_is_not(tmp_path: Path) -> None:
    home = yolo(tmp_path, all=40)
    first, again = (open_labelled("yolo", home, (64, 64), seed=3) for _ in range(2))
    for place in (0, 7, 31):
        assert np.array_equal(first.train(2)[place].image, again.train(2)[place].image)
    assert len({first.train(epoch)[0].image.tobytes() for epoch in range(4)}) == 4
    assert first.train(0, (32, 48))[0].image.shape == (32, 48, 3)
    assert first.held_out().pixels(np.array([0, 1])).shape == (2, 64, 64, 3)


def test_colours_are_those_of_the_images(tmp_path: Path) -> None:
    data = open_labelled("yolo", yolo(tmp_path, all=40), (64, 64))
    assert all(30 / 255 < value < 80 / 255 for value in data.mean)
    assert all(0.05 < value < 0.4 for value in data.std)


def test_what_cannot_be_trained_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few to train on"):
        open_labelled("yolo", yolo(tmp_path / "few", all=3), (64, 64))
    home = tmp_path / "c"
    coco(home, "train", 8)
    coco(home, "val", 8)
    path = home / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace('"bar"', '"bus"'))
    with pytest.raises(DataError, match="all parts of a data set need the same"):
        open_labelled("coco", home, (64, 64))
    with pytest.raises(DataError, match="expected roadscenes, yolo:DIR or coco:DIR"):
        open_scenes("voc:here", (64, 64))
    with pytest.raises(DataError, match="these options are for roadscenes"):
        open_scenes(f"yolo:{tmp_path / 'few'}", (64, 64), held_out_frames=5)
    assert is_scenes("yolo:x") and is_scenes("roadscenes") and not is_scenes("folder:x")
