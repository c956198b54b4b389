"""A detector and a segmenter with random weights as model folders, small enough for any test."""

from __future__ import annotations

from pathlib import Path

from cli.test_import import detector, segmenter

from dapdee_ros.cli.main import main

LABELS = ("car", "person", "sign")


def small_detector(folder: Path) -> Path:
    """The model, letterboxed to 16x16 and with one exit; its folder is below ``folder``."""
    path = detector().save(folder / "net.onnx")
    options = ["--decoder", "yolo", "--score", "0.05", "--option", "box_scale=16"]
    names = ["--labels", ",".join(LABELS), "--out", str(folder / "det")]
    assert main(["import", str(path), *options, *names]) == 0
    return folder / "det"


SURFACES = ("road", "sky", "person")


def small_segmenter(folder: Path) -> Path:
    """A segmenter of 16x16 pixels in cells of two; its folder is below ``folder``."""
    path = segmenter().save(folder / "seg.onnx")
    options = ["--task", "segmentation", "--option", "cell_px=2"]
    names = ["--labels", ",".join(SURFACES), "--out", str(folder / "seg")]
    assert main(["import", str(path), *options, *names]) == 0
    return folder / "seg"
