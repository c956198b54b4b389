"""A detector with random weights as a model folder, small enough for any test."""

from __future__ import annotations

from pathlib import Path

from cli.test_import import detector

from dapdee_ros.cli.main import main

LABELS = ("car", "person", "sign")


def small_detector(folder: Path) -> Path:
    """The model, letterboxed to 16x16 and with one exit; its folder is below ``folder``."""
    path = detector().save(folder / "net.onnx")
    options = ["--decoder", "yolo", "--score", "0.05", "--option", "box_scale=16"]
    names = ["--labels", ",".join(LABELS), "--out", str(folder / "det")]
    assert main(["import", str(path), *options, *names]) == 0
    return folder / "det"
