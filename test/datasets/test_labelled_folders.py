"""Data sets in YOLO's and COCO's layout: what they show, and what is wrong with them, in words."""

from __future__ import annotations

import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.shared_data import shared

from dapdee_ros.datasets.coco_folder import open_coco
from dapdee_ros.datasets.frame_source import UNLABELLED, SourceError
from dapdee_ros.datasets.frame_sources import open_source
from dapdee_ros.datasets.split import DataError
from dapdee_ros.datasets.yolo_folder import open_yolo
from dapdee_ros.exits.label_names import COCO

HEIGHT, WIDTH = 40, 80
YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: car\n  1: person\n"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Two images held out and one to train on."""
    for name in ("val/a1", "val/a10", "train/b"):
        picture(tmp_path / "images" / f"{name}.jpg")
        written(tmp_path / "labels" / f"{name}.txt", "1 0.5 0.5 0.25 0.5\n")
    written(tmp_path / "labels" / "val" / "a10.txt", "\n0 0.1 0.2 0.3 0.2 0.3 0.6\n1 .5 .5 1 1\n")
    written(tmp_path / "data.yaml", YAML)
    return tmp_path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """One image with two objects and a crowd, and one without."""
    for name in ("a", "b"):
        picture(tmp_path / "val" / f"{name}.jpg")
    square: list[Any] = [[10, 10, 30, 10, 30, 30, 10, 30]]
    small = {"counts": [12 * HEIGHT + 12, 4, HEIGHT * (WIDTH - 12) - 16], "size": [HEIGHT, WIDTH]}
    annotations = [
        {
            "id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20],
            "segmentation": square,
        },
        {"id": 2, "image_id": 7, "category_id": 90, "bbox": [12, 12, 1, 4], "segmentation": small},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 80, 40], "iscrowd": 1},
    ]  # fmt: skip
    write_coco(tmp_path, annotations=annotations)
    return tmp_path


def write_coco(folder: Path, **otherwise: Any) -> Path:
    values: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [],
        "categories": [{"id": 90, "name": "person"}, {"id": 3, "name": "car"}],
    }
    path = folder / "annotations" / "instances_val.json"
    if path.exists():
        values = json.loads(path.read_text())
    return written(path, json.dumps(values | otherwise))


def test_the_objects_of_a_yolo_folder(yolo: Path) -> None:
    for where in (yolo, yolo / "data.yaml", yolo / "images" / "val"):
        found = open_yolo(where)
        assert found.labels == ("car", "person") and len(found) == 2
        assert [path.name for path in found.files] == ["a1.jpg", "a10.jpg"]
        frame = found[0]
        assert frame.image.shape == (HEIGHT, WIDTH, 3) and frame.truth is not None
        np.testing.assert_allclose(np.array(frame.truth.boxes), [[30, 10, 50, 30]])
        assert frame.truth.box_labels.tolist() == [1]
        outlined = found[1].truth
        assert outlined is not None and outlined.box_labels.tolist() == [0, 1]
        np.testing.assert_allclose(
            np.array(outlined.boxes), [[8, 8, 24, 24], [0, 0, 80, 40]], atol=1e-4
        )
    assert [path.name for path in open_yolo(yolo, "train").files] == ["b.jpg"]


def test_names_may_be_a_list_of_lines(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    written(yolo / "classes.txt", "car\nperson\n\n")
    assert open_yolo(yolo / "images" / "train").labels == ("car", "person")
    with pytest.raises(DataError, match=r"several folders of images: give one of .*train, .*val"):
        open_yolo(yolo)
    assert len(open_yolo(yolo, "val")) == 2


def test_an_image_without_a_text_file_shows_nothing(
    yolo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (yolo / "labels" / "val" / "a1.txt").unlink()
    truth = open_yolo(yolo)[0].truth
    assert truth is not None and truth.boxes is not None and len(truth.boxes) == 0
    assert "1 of 2 images" in caplog.text
    (yolo / "labels" / "val" / "a10.txt").unlink()
    with pytest.raises(DataError, match=r"the truth is missing: .*expected .*a1.txt"):
        open_yolo(yolo)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2 0.5 0.5 0.1 0.1", r"a1.txt, line 1: class 2, but .*data.yaml names 2 classes \(0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1, but"),
        ("1 0.5 0.5 0.1", "line 1 is '1 0.5 0.5 0.1', expected a class and centre x"),
        ("car 0.5 0.5 0.1 0.1", "expected a class and centre x"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a class and centre x"),
        ("1 nan 0.5 0.1 0.1", "expected a class and centre x"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "expected a class and centre x"),
    ],
)
def test_lines_that_are_no_objects_are_named(yolo: Path, line: str, why: str) -> None:
    written(yolo / "labels" / "val" / "a1.txt", line)
    with pytest.raises(DataError, match=why):
        open_yolo(yolo)


@pytest.mark.parametrize("line", ["1 0.9 0.5 0.5 0.1", "1 40 20 10 10", "1 0.5 0.5 -0.1 2.5"])
def test_boxes_outside_their_image_are_named(yolo: Path, line: str) -> None:
    written(yolo / "labels" / "val" / "a1.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(
        DataError, match=r"a1.txt, line 2: the box .* is outside the image of 80x40"
    ):
        open_yolo(yolo)[0]


def test_a_rounding_error_is_no_box_outside(yolo: Path) -> None:
    written(yolo / "labels" / "val" / "a1.txt", "1 0.5 0.5 1.00001 1.004\n")
    truth = open_yolo(yolo)[0].truth
    assert truth is not None and np.array(truth.boxes).tolist() == [[0, 0, 80, 40]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("names: [car, person]\nnc: 3\n", r"there are 3 classes \(nc\), and names 2"),
        ("names: {0: car, 2: person}\n", r"names has the numbers \[0, 2\], expected \[0, 1\]"),
        ("names: 3\n", "names is 3, expected a list"),
        ("names: [car\n", "cannot be read as YAML"),
        ("nc: 2\n", "does not name its classes"),
        ("names: [car, person]\nval: images/none\n", "there is no folder .*images/none"),
        ("names: [car, person]\nval: [1]\n", r"val is \[1\], expected one folder"),
    ],
)
def test_yaml_files_that_contradict_themselves_are_named(yolo: Path, text: str, why: str) -> None:
    path = written(yolo / "data.yaml", text)
    with pytest.raises(DataError, match=why):
        open_yolo(path)


def test_what_is_no_yolo_folder_is_said(yolo: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder in YOLO's layout"):
        open_yolo(tmp_path / "none")
    with pytest.raises(DataError, match="has no 'test' part, only train, val"):
        open_yolo(yolo, "test")
    (yolo / "images" / "empty").mkdir()
    written(yolo / "data.yaml", YAML.replace("images/val", "images/empty"))
    with pytest.raises(DataError, match="is empty: there are no images"):
        open_yolo(yolo)
    written(yolo / "more.yaml", YAML)
    with pytest.raises(DataError, match=r"several YAML files with names, data.yaml and more.yaml"):
        open_yolo(yolo)


def test_a_picture_that_cannot_be_read_is_named(yolo: Path) -> None:
    path = yolo / "images" / "val" / "a1.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a1.jpg cannot be read as an image: it is truncated"):
        open_yolo(yolo)[0]


def test_the_objects_and_class_maps_of_a_coco_folder(coco: Path) -> None:
    for where in (coco, coco / "annotations", coco / "annotations" / "instances_val.json"):
        found = open_coco(where)
        assert found.labels == found.surfaces == ("car", "person")  # by rising id
        truth = found[0].truth
        assert truth is not None and truth.box_labels.tolist() == [0, 1]
        assert np.array(truth.boxes).tolist() == [[10, 10, 30, 30], [12, 12, 13, 16]]
        wanted = np.full((HEIGHT, WIDTH), UNLABELLED)
        wanted[10:30, 10:30] = 0
        wanted[12:16, 12] = 1
        np.testing.assert_array_equal(truth.class_map, wanted)
        nothing = found[1].truth
        assert nothing is not None and nothing.boxes is not None and len(nothing.boxes) == 0


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"annotations": [{"id": 4, "image_id": 9, "category_id": 3}]}, "4 is of image 9, which"),
        (
            {"annotations": [{"id": 4, "image_id": 7, "category_id": 1}]},
            r"is of category 1; the file has 2 categories: \[3, 90\]",
        ),
        ({"annotations": [{"id": 4, "image_id": "x"}]}, "image_id of .* is 'x', not a number"),
        ({"annotations": []}, "the truth is missing"),
        ({"annotations": "none"}, "has no list 'annotations'"),
        ({"images": []}, "is empty: it lists no images"),
        ({"images": [{"id": 7, "file_name": "c.jpg"}]}, "c.jpg of .* is in none of .*val"),
        ({"images": [{"id": 7}]}, "has no file_name"),
        ({"categories": []}, "there are no categories"),
        (
            {"annotations": [{"id": 4, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]},
            "a bbox is not left, top, width and height",
        ),
        (
            {"annotations": [{"id": 4, "image_id": 7, "category_id": 3, "bbox": [0, 0, 99, 9]}]},
            "annotation 4: the box .* is outside the image of 80x40",
        ),
        (
            {"annotations": [
                {"id": 4, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9],
                 "segmentation": {"counts": "?", "size": [2, 2]}},
            ]},
            "annotation 4: its segmentation",
        ),
    ],
)  # fmt: skip
def test_annotations_that_contradict_themselves_are_named(
    coco: Path, entries: dict[str, Any], why: str
) -> None:
    write_coco(coco, **entries)
    with pytest.raises(DataError, match=why):
        open_coco(coco)[0]


def test_what_is_no_coco_folder_is_said(coco: Path) -> None:
    path = coco / "annotations" / "instances_val.json"
    with pytest.raises(DataError, match="expected a folder in COCO's layout"):
        open_coco(coco / "none")
    with pytest.raises(DataError, match="has no JSON file with annotations"):
        open_coco(coco / "val")
    (coco / "val" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"lists b\.jpg, and there is no .*b\.jpg"):
        open_coco(coco)
    path.with_name("instances_train.json").write_text(path.read_text())
    with pytest.raises(DataError, match="several files of annotations: give one of"):
        open_coco(coco)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=r"instances_val.json cannot be read as JSON"):
        open_coco(path)


def test_a_camera_shows_them_with_their_truth_at_any_size(coco: Path) -> None:
    source = open_source("coco", path=str(coco), size=(80, 0))
    assert source.labels == ("car", "person") and source.rate_hz is None
    frames = [frame for frame in source if frame is not None]
    assert [frame.image.shape for frame in frames] == [(80, 160, 3)] * 2
    truth = frames[0].truth
    assert truth is not None
    assert np.array(truth.boxes).tolist() == [[20, 20, 60, 60], [24, 24, 26, 32]]
    assert truth.class_map is not None and truth.class_map.shape == (80, 160)
    assert (truth.class_map == 1).sum() == 16


def test_a_camera_leaves_out_what_cannot_be_read(
    yolo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (yolo / "images" / "val" / "a1.jpg").write_bytes(b"none")
    source = open_source("yolo", path=str(yolo), loop=True)
    assert all(frame is not None and frame.truth is not None for frame in islice(source, 3))
    assert caplog.text.count("a1.jpg is left out") == 1
    with pytest.raises(SourceError, match="needs a path: that of the data set"):
        open_source("yolo")
    with pytest.raises(SourceError, match="expected a folder in COCO's layout"):
        open_source("coco", path=str(yolo / "none"))


def test_the_first_images_of_coco_s_own_data(tmp_path: Path) -> None:
    with zipfile.ZipFile(shared("coco-sample.zip")) as archive:
        wanted = [name for name in archive.namelist() if "val2017" in name or ".yaml" in name]
        archive.extractall(tmp_path, wanted)
    found = open_yolo(tmp_path / "coco-sample")
    assert found.labels == COCO and len(found) == 128
    truths = [found[place].truth for place in range(len(found))]
    assert sum(len(truth.box_labels) for truth in truths if truth is not None) == 898
