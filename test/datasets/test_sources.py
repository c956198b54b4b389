from pathlib import Path

import cv2
import numpy as np
import pytest

from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns
from dapdee_ros.datasets.sources import CIFAR10_CLASSES, open_data
from dapdee_ros.datasets.split import DataError


def _write(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.empty((*size, 3), np.uint8)
    image[:] = colour
    cv2.imwrite(str(path), image[..., ::-1])


def _folders(root: Path, classes: tuple[str, ...], count: int, suffix: str = "png") -> None:
    for place, name in enumerate(classes):
        for number in range(count):
            _write(root / name / f"{number:04d}.{suffix}", (40 * place, 250, number))


def test_rendered_signs_are_new_in_every_epoch_and_never_held_out() -> None:
    source = open_data("roadsigns", size=(16, 16), frames_per_epoch=5, held_out_frames=4)
    assert source.labels == LABELS
    first, second = source.train(0), source.train(1)
    assert first.images.shape == (5, 16, 16, 3)
    assert len(first) == source.frames_per_epoch() == 5
    assert np.array_equal(source.train(0).images, first.images)
    seen = {frame.tobytes() for part in (first, second) for frame in part.images}
    held = {frame.tobytes() for frame in source.held_out().images}
    calibration = {frame.tobytes() for frame in source.calibration().images}
    assert len(seen) == 10
    assert len(seen | held | calibration) == 18
    assert second.labels[0] == RoadSigns(1, (16, 16)).frame(5).label
    assert "seed" in source.held_out().description


def test_folders_with_their_own_split(tmp_path: Path) -> None:
    _folders(tmp_path / "train", ("car", "bus"), 3)
    _folders(tmp_path / "test", ("car", "bus"), 2)
    source = open_data(f"folder:{tmp_path}")
    assert source.labels == ("bus", "car")
    assert source.size == (8, 8)
    train, held = source.train(0), source.held_out()
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    # Colours come out as red, green, blue: cars were written with red 0.
    assert train.images[3, 0, 0].tolist() == [0, 250, 0]
    assert train.images[0, 0, 0].tolist() == [40, 250, 0]
    assert len(held) == 4
    assert len(source.calibration()) == 2


def test_one_folder_is_split_in_five(tmp_path: Path) -> None:
    _folders(tmp_path, ("a", "b"), 5)
    source = open_data(f"folder:{tmp_path}")
    assert (len(source.train(0)), len(source.held_out())) == (8, 2)
    assert sorted(source.held_out().labels.tolist()) == [0, 1]


def test_sizes_are_made_equal_when_one_is_asked_for(tmp_path: Path) -> None:
    _folders(tmp_path, ("a", "b"), 5)
    _write(tmp_path / "a" / "9.png", (1, 2, 3), size=(20, 10))
    with pytest.raises(DataError, match=r"9\.png is 10x20, the others are 8x8"):
        open_data(f"folder:{tmp_path}")
    assert open_data(f"folder:{tmp_path}", size=(16, 12)).train(0).images.shape[1:] == (16, 12, 3)


def test_cifar10_as_folders(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("test", 1)):
        for place, name in enumerate(CIFAR10_CLASSES):
            for number in range(count):
                _write(tmp_path / part / name / f"{number}.jpg", (place, 0, 0), size=(32, 32))
    source = open_data(f"cifar10:{tmp_path}")
    assert source.labels == CIFAR10_CLASSES
    assert source.train(0).labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert (source.size, source.flip, source.shift) == ((32, 32), True, 4)


def test_cifar10_batches_that_were_changed_are_not_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(DataError, match="incomplete or was changed"):
        open_data(f"cifar10:{tmp_path}")


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected roadsigns, cifar10:DIR or folder:DIR"):
        open_data("imagenet")
    with pytest.raises(DataError, match="no CIFAR-10 in"):
        open_data(f"cifar10:{tmp_path}")
    with pytest.raises(DataError, match="is not a folder"):
        open_data(f"folder:{tmp_path}/absent")
    with pytest.raises(DataError, match="holds 0 class folders"):
        open_data(f"folder:{tmp_path}")
    _folders(tmp_path, ("a",), 5)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"no images in .*b"):
        open_data(f"folder:{tmp_path}")
    (tmp_path / "b" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.png cannot be read as an image"):
        open_data(f"folder:{tmp_path}")


def test_classes_of_both_parts_must_agree(tmp_path: Path) -> None:
    _folders(tmp_path / "train", ("car", "bus"), 1)
    _folders(tmp_path / "test", ("car", "tram"), 1)
    with pytest.raises(DataError, match="has other classes"):
        open_data(f"folder:{tmp_path}")


def _photo(path: Path, seed: int = 0) -> bytes:
    """An image with so much detail that a quarter of its file still decodes."""
    image = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "gif", "bmp"])
def test_a_picture_that_is_cut_off_is_named(kind: str, tmp_path: Path) -> None:
    _folders(tmp_path, ("a", "b"), 5)
    torn = tmp_path / "a" / f"torn.{kind}"
    whole = _photo(torn)
    for size in (len(whole) // 4, len(whole) - len(whole) // 8):
        torn.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"torn\.{kind} cannot be read as an image: it is"):
            open_data(f"folder:{tmp_path}", size=(8, 8))
    torn.write_bytes(whole)
    assert open_data(f"folder:{tmp_path}", size=(8, 8)).frames_per_epoch() == 9


def test_hidden_files_and_folders_are_nobody_s(tmp_path: Path) -> None:
    _folders(tmp_path, ("a", "b"), 5)
    _folders(tmp_path, (".thumbnails", ".git"), 3)
    (tmp_path / "a" / "._0001.png").write_bytes(b"what another system keeps of a file")
    source = open_data(f"folder:{tmp_path}")
    assert source.labels == ("a", "b") and source.frames_per_epoch() == 8


@pytest.mark.parametrize("kind", ["webp", "tif", "TIFF", "gif"])
def test_these_kinds_are_read(kind: str, tmp_path: Path) -> None:
    for name in "ab":
        for number in range(5):
            path = tmp_path / name / f"{number}.{kind.lower()}"
            _write(path, (40, 250, 60))
            path.rename(path.with_suffix(f".{kind}"))
    source = open_data(f"folder:{tmp_path}")
    assert source.frames_per_epoch() == 8
    # A GIF has 256 colours, and mixes others from them.
    usual = np.median(source.train(0).images, axis=(0, 1, 2))
    assert np.abs(usual - (40, 250, 60)).max() <= 32


def test_what_is_passed_over_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _folders(tmp_path, ("a", "b"), 5)
    for name in ("1.heic", "2.heic", "labels.csv", "README"):
        (tmp_path / "a" / name).write_text("?")
    open_data(f"folder:{tmp_path}")
    (said,) = [r.getMessage() for r in caplog.records]
    assert "4 files are skipped (1 .csv, 2 .heic, 1 README)" in said
    assert ".jpg" in said


def test_half_a_split_is_refused_and_a_class_may_be_called_train(tmp_path: Path) -> None:
    _folders(tmp_path / "half" / "train", ("a", "b"), 5)
    with pytest.raises(DataError, match=r"no test/ or val/.*give .*train, of which every fifth"):
        open_data(f"folder:{tmp_path}/half")
    (tmp_path / "half" / "train").rename(tmp_path / "half" / "validation")
    with pytest.raises(DataError, match=r"holds validation/ .* no train/"):
        open_data(f"folder:{tmp_path}/half")
    _folders(tmp_path / "vehicles", ("car", "train"), 5)
    assert open_data(f"folder:{tmp_path}/vehicles").labels == ("car", "train")
    with pytest.raises(DataError, match=r"holds train/ with folders in it, but no test/"):
        _folders(tmp_path / "cifar" / "train", CIFAR10_CLASSES[:2], 1)
        open_data(f"cifar10:{tmp_path}/cifar")
