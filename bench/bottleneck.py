"""What quality do how many bytes buy: image codecs, quantised boundaries, bottlenecks?

Every frame runs once as it is, and once through each codec at each of its settings: JPEG and WebP
of the image at 8 qualities each, ``u8z`` and ``u4z`` at a few boundaries, and every operating point
of the model's bottlenecks, encoded to the bytes of the wire and decoded again. The quality is that
of the deepest exit. Two figures: how many bytes a bottleneck needs for the quality of the image
codec that needs the fewest within 0.005 of the full network, over that codec's bytes; and how many
the smallest point within 0.01 needs, over those of the JPEG of the same quality. Between two
settings of a codec the logarithm of the bytes is interpolated.

Writes a plot (SVG and PNG) and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from dapdee_ros.cli.bottleneck_data import open_frames
from dapdee_ros.codecs.bottleneck.file import read_bottleneck
from dapdee_ros.codecs.jpeg import JPEG
from dapdee_ros.codecs.plain import NO_VALUES
from dapdee_ros.codecs.webp import WEBP
from dapdee_ros.exits.bottlenecks import of_model
from dapdee_ros.exits.card import ModelCard, find_model
from dapdee_ros.exits.codec_calibration import boundaries_to_measure
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.planning.sweep_chart import save
from dapdee_ros.runtime.bottleneck_codec import bottleneck_codecs
from dapdee_ros.runtime.sent_boundary import sent_boundary
from dapdee_ros.tasks.task import task_of
from dapdee_ros.training.bottlenecks.judging import comparisons

QUALITIES = (2, 5, 10, 20, 35, 50, 75, 90)
BOUNDARY_CODECS = ("u8z", "u4z")
NEAR, ALLOWED = 0.005, 0.01

Arrays = dict[str, NDArray[Any]]
Sent = Callable[[Arrays], tuple[Arrays, int]]
"""What arrives of some tensors, and the bytes that it took."""


class Setting(NamedTuple):
    """A codec at one of its settings: its family, what sets it, and where it codes."""

    family: str
    name: str
    boundary: tuple[str, ...]
    sent: Sent


@dataclass(frozen=True)
class Measured:
    """What a setting was found to cost: mean bytes, quality, what is lost of it, its error."""

    family: str
    name: str
    mean_bytes: float
    quality: float
    lost: float
    error: float


def image_settings(image: str) -> Iterator[Setting]:
    """JPEG and WebP of the network's input."""
    for coder in (JPEG, WEBP):
        for quality in QUALITIES:
            at_quality = replace(coder, quality=quality)

            def sent(tensors: Arrays, coder: Any = at_quality) -> tuple[Arrays, int]:
                values = tensors[image]
                data = np.frombuffer(coder.encode(values).data, np.uint8)
                back = coder.decode(data, NO_VALUES, NO_VALUES, values.shape, "uint8")
                return {image: back}, len(data)

            yield Setting(coder.name, f"quality {quality}", (image,), sent)


def boundary_settings(
    model: Runnable, boundaries: Sequence[str], codecs: Sequence[str]
) -> Iterator[Setting]:
    """Codecs of single tensors, and the bottlenecks' points."""

    def by_wire(codec: str, sets: Any) -> Sent:
        def sent(tensors: Arrays) -> tuple[Arrays, int]:
            back = sent_boundary(tensors, codec, sets)
            return dict(back.tensors), back.coded_bytes

        return sent

    for codec in codecs:
        for boundary in boundaries:
            yield Setting(codec, boundary, (boundary,), by_wire(codec, {}))
    points = bottleneck_codecs(model.card, model.engine)
    for name, point in points.items():
        family = f"bottleneck {name.partition('@')[0]}"
        yield Setting(family, name, tuple(point.boundary), by_wire(name, points))


def with_bottlenecks(card: ModelCard, files: Sequence[Path]) -> ModelCard:
    """A card that has these bottlenecks instead of those of its folder, if any are named."""
    if not files:
        return card
    named = tuple(of_model(read_bottleneck(path), card.model_id, card.dag) for path in files)
    return replace(card, bottlenecks=named)


def measure(
    model: Runnable, settings: Sequence[Setting], frames: Any, truths: Sequence[Any]
) -> list[Measured]:
    """Run all frames through all settings."""
    dag, engine = model.card.dag, model.engine
    deepest = len(dag.exits)
    outputs = list(dag.exit_outputs(deepest))
    compare = comparisons(task_of(model.card), truths)
    found = [compare(deepest) for _ in settings]
    sizes: list[list[int]] = [[] for _ in settings]
    wanted = dict.fromkeys([n for s in settings for n in s.boundary if n != dag.input] + outputs)
    for frame in tqdm(range(len(frames)), desc="frames", unit="frame", file=sys.stderr):
        image = {dag.input: frames.pixels(np.array([frame]))}
        plain = image | engine.run(image, list(wanted))
        for comparison, size, setting in zip(found, sizes, settings, strict=True):
            arrived, coded_bytes = setting.sent({n: plain[n] for n in setting.boundary})
            coded = engine.run(arrived, outputs)
            size.append(coded_bytes)
            comparison.add(frame, [plain[o] for o in outputs], [coded[o] for o in outputs])
    measured = []
    for comparison, size, setting in zip(found, sizes, settings, strict=True):
        lost, error = comparison.change()
        numbers = (comparison.qualities()[1], lost, error)
        mean_bytes = round(float(np.mean(size)), 1)
        measured.append(
            Measured(setting.family, setting.name, mean_bytes, *(round(n, 5) for n in numbers))
        )
    return measured


def bytes_at(rows: Sequence[Measured], quality: float) -> float | None:
    """Fewest bytes with which some settings reach a quality, interpolated; None: they do not."""
    least: float | None = None
    worse: Measured | None = None
    # Only what is better than everything smaller is worth choosing.
    for row in sorted(rows, key=lambda row: row.mean_bytes):
        if row.quality >= quality:
            least = row.mean_bytes
            if worse is not None and row.quality > worse.quality:
                share = (quality - worse.quality) / (row.quality - worse.quality)
                least = float(
                    np.exp(np.interp(share, [0, 1], np.log([worse.mean_bytes, row.mean_bytes])))
                )
            break
        if worse is None or row.quality > worse.quality:
            worse = row
    return least


def summary(rows: Sequence[Measured], full: float) -> dict[str, Any]:
    """The two figures, and what they stand on."""
    images = [row for row in rows if row.family in (JPEG.name, WEBP.name)]
    families: dict[str, list[Measured]] = {}
    for row in rows:
        if row.family.startswith("bottleneck"):
            families.setdefault(row.family, []).append(row)
    points = [row for family in families.values() for row in family]
    near = [row for row in images if row.lost <= NEAR]
    found: dict[str, Any] = {"full_quality": round(full, 5)}
    if near:
        best = min(near, key=lambda row: row.mean_bytes)
        reached = [bytes_at(family, best.quality) for family in families.values()]
        fewest = min((size for size in reached if size is not None), default=None)
        found["best_image_codec"] = vars(best)
        found["bottleneck_over_best_image_codec"] = fewest and round(fewest / best.mean_bytes, 4)
    if points:
        allowed = [row for row in points if row.lost <= ALLOWED]
        chosen = (
            min(allowed, key=lambda row: row.mean_bytes)
            if allowed
            else min(points, key=lambda row: row.lost)
        )
        jpegs = [row for row in images if row.family == JPEG.name]
        jpeg_bytes = bytes_at(jpegs, chosen.quality)
        found["within_0.01"] = bool(allowed)
        found["chosen_point"] = vars(chosen)
        found["jpeg_bytes_at_its_quality"] = jpeg_bytes and round(jpeg_bytes)
        found["bottleneck_over_jpeg"] = jpeg_bytes and round(chosen.mean_bytes / jpeg_bytes, 4)
        of_codec = [
            bytes_at([row for row in images if row.family == name], chosen.quality)
            for name in (JPEG.name, WEBP.name)
        ]
        image_bytes = min((size for size in of_codec if size is not None), default=None)
        found["image_bytes_at_its_quality"] = image_bytes and round(image_bytes)
        found["bottleneck_over_image"] = image_bytes and round(chosen.mean_bytes / image_bytes, 4)
    return found


def draw(rows: Sequence[Measured], full: float, quality_name: str, title: str, stem: Path) -> None:
    """The plot: quality over bytes, one line per codec, standard errors of the loss as bars."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(100 * full, color="#777777", linestyle="--", linewidth=1, label="full network")
    for family in dict.fromkeys(row.family for row in rows):
        of = sorted((r for r in rows if r.family == family), key=lambda row: row.mean_bytes)
        axes.errorbar(
            [row.mean_bytes for row in of], [100 * row.quality for row in of],
            yerr=[100 * row.error for row in of], marker="o", markersize=4, capsize=2, label=family,
            linestyle="" if family in BOUNDARY_CODECS else "-", linewidth=1.2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("bytes per frame")
    axes.set_ylabel(f"{quality_name} in %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    for path in save(figure, stem):
        print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", default="roadscenes-det", help="a model folder, or the name of a model")
    add("--data", default="roadscenes", help="roadscenes, yolo:DIR, coco:DIR or classes' images")
    add("--frames", type=int, default=500, help="held-out frames to judge on")
    add(
        "--bottleneck", type=Path, action="append", default=[], metavar="FILE",
        help="measure this one, not those of the model's folder; may be repeated",
    )  # fmt: skip
    add("--at", help="boundaries for u8z and u4z (default: three, and the points')")
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path("build/bottleneck"), help="the plot, without its ending")
    args = parser.parse_args()
    loaded = load_runnable(find_model(args.model), threads=args.threads)
    model = replace(loaded, card=with_bottlenecks(loaded.card, args.bottleneck))
    card = model.card
    data = open_frames(args.data, card, 1, args.frames)
    if data.truths is None:
        parser.error(f"{args.data} does not say what its frames show in the classes of {card.name}")
    deepest = len(card.dag.exits)
    inner = [
        name
        for name, exits in boundaries_to_measure(card.dag).items()
        if deepest in exits and name != card.dag.input
    ]
    places = np.linspace(0, len(inner) - 1, min(3, len(inner))).round().astype(int)
    coded = [n for b in card.bottlenecks for n in b.file.boundary if len(b.file.boundary) == 1]
    chosen = args.at.split(",") if args.at else [*dict.fromkeys([inner[k] for k in places] + coded)]
    settings = [
        *image_settings(card.dag.input),
        *boundary_settings(model, chosen, BOUNDARY_CODECS),
    ]
    rows = measure(model, settings, data.judged, data.truths)
    full = rows[0].quality + rows[0].lost
    print(f"{card.name}, {data.description}: {len(data.judged)} frames, full network {full:.4f}")
    print(f"{'codec':24} {'setting':28} {'bytes':>9} {'quality':>8} {'lost':>8} {'error':>7}")
    for row in rows:
        print(
            f"{row.family:24} {row.name:28} {row.mean_bytes:9.0f} {row.quality:8.4f} "
            f"{row.lost:+8.4f} {row.error:7.4f}"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{card.name} at {card.input_size[1]}x{card.input_size[0]}, {len(data.judged)} frames"
    draw(rows, full, task_of(card).quality_name, title, args.out)
    figures = {
        "bench": "bottleneck", "model": card.name, "model_id": card.model_id,
        "frames": len(data.judged), **summary(rows, full), "rows": [vars(row) for row in rows],
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
