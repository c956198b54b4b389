"""A detector whose answer is known: it finds the cells of a grid that have a pure colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from engines.made_networks import Maker
from numpy.typing import NDArray

SIDE, CELL = 320, 32
LABELS = ("red", "green", "blue")

Corners = tuple[int, int, int, int]


def colour_detector(folder: Path) -> Path:
    """A model folder: 320x320 pixels, letterboxed, one box per cell of 32 pixels."""
    from dapdee_ros.cli.main import main

    make = Maker()
    make.shape = (1, 3, SIDE, SIDE)
    make.op("AveragePool", "x", "mean", kernel_shape=(CELL, CELL), strides=(CELL, CELL))
    # Middle of the cell, its own size, sure where it is bright; the colours are the classes.
    weights = np.zeros((8, 3, 1, 1), np.float32)
    weights[4], weights[5:, :, 0, 0] = 1.0, np.eye(3)
    bias = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0], np.float32)
    make.op("Conv", f"mean {make.weight('w', value=weights)} {make.weight('b', value=bias)}", "c")
    low, high = (make.weight(name, value=np.float32(v)) for name, v in (("low", 0), ("high", 1)))
    make.op("Clip", f"c {low} {high}", "cells")
    make.op("Reshape", f"cells {make.weight('shape', value=np.array([1, 8, -1]))}", "flat")
    make.op("Transpose", "flat", "boxes", perm=(0, 2, 1))
    out = folder / "colours"
    path = make.outputs("boxes").save(folder / "colours.onnx")
    options = ["--decoder", "yolox", "--strides", str(CELL), "--score", "0.6"]
    names = ["--labels", ",".join(LABELS), "--scale", "1/255"]
    image = ["--colour", "rgb", "--resize", "letterbox"]
    assert main(["import", str(path), *options, *names, *image, "--out", str(out)]) == 0
    return out


def painted(size: tuple[int, int], blocks: Mapping[Corners, int]) -> NDArray[np.uint8]:
    """A black image with rectangles of pure colour.

    Args:
        size: height and width in pixels.
        blocks: number of the colour by left, top, right and bottom.
    """
    image = np.zeros((*size, 3), np.uint8)
    for (left, top, right, bottom), colour in blocks.items():
        image[top:bottom, left:right, colour] = 255
    return image
