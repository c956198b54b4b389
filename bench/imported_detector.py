"""Whether an imported detector finds what it found whole, however it is cut and coded.

YOLOX-nano is imported from its ONNX file and run on the 128 images of COCO's val2017 in the sample:
whole, at seeded cuts with f32, at the same cuts with every lossy codec (of the image: JPEG and
WebP), and through real nodes that take the images from the folder in YOLO's layout. Compression
after a codec loses nothing, which is checked, and its bytes are told. Needs yolox_nano.onnx and
coco-sample.zip in ../shared/data beside the checkout, or in $DAPDEE_DATA. Takes four minutes on an
idle core. Ends with one JSON line; fails if f32 or the nodes change the mAP.

    python bench/imported_detector.py
    python bench/imported_detector.py --images 16 --cuts 3 --no-nodes
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dapdee_ros.cli.main import main as dapdee
from dapdee_ros.codecs import codec_named, decode, encode
from dapdee_ros.datasets.labelled_pictures import LabelledPictures
from dapdee_ros.datasets.yolo_folder import open_yolo
from dapdee_ros.engines.engine import Engine
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.cuts import contract, cuts
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.tasks.task import task_of

DATA = Path(os.environ.get("DAPDEE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FILES = ("yolox_nano.onnx", "coco-sample.zip")
SCORE, IOU = 0.01, 0.65
"""As COCO's results of YOLOX are measured."""

INNER = ("f16", "u8", "u8c", "u4", "u4c")
COMPRESSED = ("f32z", "f16z", "u8z", "u8cz", "u4z", "u4cz")
PICTURES = ("jpeg", "webp")
EXACT = 0.001
_START_S, _RATE_HZ, _DEADLINE_S = 60.0, 2.0, 5.0
_EVERY = 16
"""Of the images, one whose compressed bytes are looked at."""


@dataclass(frozen=True)
class Subject:
    """The imported detector and what it is tried on.

    Attributes:
        card: the model.
        engine: what runs it.
        task: what its outputs mean.
        images: inputs of the network.
        truths: the objects, in pixels of the images.
        sizes: height and width of each image.
    """

    card: ModelCard
    engine: Engine
    task: Detector
    images: tuple[NDArray[np.uint8], ...]
    truths: tuple[Detections, ...]
    sizes: tuple[tuple[int, int], ...]

    def quality(self, answers: Sequence[Detections]) -> tuple[float, float]:
        """The mAP and mAP50 of answers about the network's input."""
        evaluator = self.task.evaluator()
        for answer, truth, size in zip(answers, self.truths, self.sizes, strict=True):
            placed = placement(size, self.card.input_spec)
            evaluator.add(self.task.in_source(answer, placed.to_source), truth)
        figures = evaluator.figures()
        return figures["mAP"], figures["mAP50"]

    def answer(self, given: Mapping[str, NDArray[Any]]) -> Detections:
        """What the exit finds from tensors that it can be computed from."""
        (outputs,) = self.card.dag.exits
        came = self.engine.run(dict(given), outputs)
        return self.task.decode([came[name] for name in outputs], 1)


def subject_of(model: Path, pictures: LabelledPictures, images: int) -> Subject:
    """The detector with the first images of the data set."""
    runnable = load_runnable(model, "onnxruntime", threads=1)
    card, task = runnable.card, task_of(runnable.card)
    assert isinstance(task, Detector)
    found = [pictures[place] for place in tqdm(range(min(images, len(pictures))), "read images")]
    truths = []
    for frame in found:
        assert frame.truth is not None and frame.truth.boxes is not None
        classes = frame.truth.box_labels
        truths.append(Detections(frame.truth.boxes, np.ones(len(classes)), classes))
    return Subject(
        card,
        runnable.engine,
        task,
        tuple(network_input(frame.image, card.input_spec) for frame in found),
        tuple(truths),
        tuple((frame.image.shape[0], frame.image.shape[1]) for frame in found),
    )


def boundaries_of(subject: Subject, count: int, seed: int) -> list[tuple[str, ...]]:
    """Seeded cuts inside the network."""
    dag = subject.card.dag
    every = cuts(contract(dag).dag, 1)
    inner = sorted(
        {cut.boundary for cut in every if cut.boundary and dag.input not in cut.boundary}
    )
    return random.Random(seed).sample(inner, min(count, len(inner)))


def cut_once(
    subject: Subject, boundary: tuple[str, ...], codecs: Sequence[str], bar: tqdm[Any]
) -> list[dict[str, Any]]:
    """The mAP of one cut with some codecs, and what is sent."""
    dag = subject.card.dag
    expected = {n: (tuple(dag.by_name[n].shape), dag.by_name[n].dtype) for n in boundary}
    usable = [c for c in codecs if all(codec_named(c).accepts(*expected[n]) for n in boundary)]
    answers: dict[str, list[Detections]] = {codec: [] for codec in usable}
    sent: dict[str, list[int]] = {codec: [] for codec in (*usable, *COMPRESSED)}
    for place, image in enumerate(subject.images):
        head = subject.engine.run({dag.input: image}, boundary)
        tensors = {name: head[name] for name in boundary}
        for codec in usable:
            specs, data = encode(tensors, codec)
            back = decode(specs, data, codec, expected)
            sent[codec].append(len(data))
            answers[codec].append(subject.answer(back))
            squeezed = f"{codec}z"
            if squeezed in COMPRESSED and place % _EVERY == 0:
                specs, data = encode(tensors, squeezed)
                again = decode(specs, data, squeezed, expected)
                if not all(np.array_equal(again[name], back[name]) for name in boundary):
                    raise RuntimeError(f"{squeezed} changes what {codec} gives")
                sent[squeezed].append(len(data))
        bar.update()
    rows = []
    for codec in usable:
        quality = subject.quality(answers[codec])
        smaller = sent.get(f"{codec}z")
        rows.append(
            {
                "boundary": list(boundary),
                "codec": codec,
                "mAP": round(quality[0], 4),
                "mAP50": round(quality[1], 4),
                "bytes": round(sum(sent[codec]) / len(sent[codec])),
                "compressed_bytes": round(sum(smaller) / len(smaller)) if smaller else None,
            }
        )
    return rows


# Through real nodes ------------------------------------------------------------------------------


def through_nodes(subject: Subject, model: Path, folder: Path, plan: str) -> dict[str, Any]:
    """The mAP of what the head publishes for the camera's images, against its truth.

    Args:
        subject: for the task.
        model: the model folder.
        folder: of images in YOLO's layout.
        plan: the pinned plan.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    import dapdee_ros.msg as msg
    from dapdee_ros.nodes import qos
    from dapdee_ros.processes import Processes

    rclpy.init()
    node = rclpy.create_node("bench_imported_detector")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    answers: dict[tuple[int, int], Any] = {}
    truths: dict[tuple[int, int], Any] = {}
    places: list[int] = []

    def take(store: dict[tuple[int, int], Any], read: Any, message: Any) -> None:
        stamp = message.header.stamp
        store[stamp.sec, stamp.nanosec] = read(message)

    def take_result(message: Any) -> None:
        take(answers, subject.task.answer_in, message)
        places.append(message.place)

    node.create_subscription(msg.InferenceResult, "inference", take_result, qos.RESULT)
    node.create_subscription(
        msg.SceneTruth, "truth", lambda m: take(truths, subject.task.truth_in, m), qos.RESULT
    )
    common = {"model": str(model), "engine": "onnxruntime", "threads": 1}
    planned = {"model": str(model), "pinned_plan": plan, "deadline_s": _DEADLINE_S}
    wanted = len(subject.images)
    with tempfile.TemporaryDirectory() as logs:
        processes = Processes(Path(logs), dict(os.environ))
        try:
            processes.start("edge", common)
            processes.start("head", {**common, "deadline_s": _DEADLINE_S})
            processes.start("manager", planned)
            # The plan first: the head finishes what comes before it by itself.
            _spin(executor, lambda: node.count_publishers("plan") > 0, _START_S)
            _spin(executor, lambda: node.count_publishers("inference") > 0, _START_S)
            _spin(executor, lambda: False, 3.0)
            camera = {"source": "yolo", "path": str(folder), "loop": False, "rate_hz": _RATE_HZ}
            processes.start("camera", camera)
            took_s = wanted / _RATE_HZ + _START_S
            _spin(executor, lambda: len(answers) >= wanted, took_s)
        finally:
            processes.stop(within_s=8.0)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    # The camera publishes every image once, in their order; its first truths may come before this
    # node hears it.
    stamps = sorted({*answers, *truths})
    places_of = dict(zip(stamps, subject.truths, strict=False)) if len(stamps) == wanted else truths
    evaluator = subject.task.evaluator()
    for stamp, answer in answers.items():
        if stamp in places_of:
            evaluator.add(answer, places_of[stamp])
    same = sum(_same_boxes(truths[s], places_of[s]) for s in stamps if s in truths)
    figures = evaluator.figures()
    edge = msg.InferenceResult.PLACE_EDGE
    return {
        "plan": plan,
        "images": len(stamps),
        "answered": len(answers),
        "truths_right": same,
        "on_edge": sum(place == edge for place in places),
        "mAP": round(figures["mAP"], 4),
        "mAP50": round(figures["mAP50"], 4),
    }


def _same_boxes(a: Detections, b: Detections) -> bool:
    return np.array_equal(a.class_ids, b.class_ids) and np.allclose(a.boxes, b.boxes, atol=0.01)


def _spin(executor: Any, done: Any, most_s: float) -> None:
    end_s = time.monotonic() + most_s
    while not done() and time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.1)


# Command -----------------------------------------------------------------------------------------


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="(default 128, all)")
    parser.add_argument("--cuts", type=int, default=10, help="(default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of the cuts (default 1)")
    parser.add_argument("--no-nodes", action="store_true", help="without real nodes")
    parser.add_argument("--only-nodes", action="store_true", help="cut nothing else")
    return parser.parse_args()


def main() -> int:
    """Import, measure, print."""
    args = arguments_of()
    missing = [name for name in FILES if not (DATA / name).is_file()]
    if missing:
        print(f"skipped: {' and '.join(missing)} not in {DATA}; set $DAPDEE_DATA to their folder")
        return 0
    with tempfile.TemporaryDirectory(prefix="imported-detector-") as home:
        return _measure(args, Path(home))


def _measure(args: argparse.Namespace, home: Path) -> int:
    model = home / "yolox"
    options = ["--decoder", "yolox", "--labels", "coco", "--score", str(SCORE), "--iou", str(IOU)]
    if dapdee(["import", str(DATA / FILES[0]), *options, "--out", str(model)]):
        return 1
    with zipfile.ZipFile(DATA / FILES[1]) as archive:
        archive.extractall(home, [n for n in archive.namelist() if "val2017" in n or ".yaml" in n])
    sample = home / "coco-sample"
    pictures = open_yolo(sample)
    subject = subject_of(model, pictures, args.images)
    dag = subject.card.dag
    whole = subject.quality(
        [subject.answer({dag.input: image}) for image in tqdm(subject.images, "whole")]
    )
    print(f"whole: mAP {whole[0]:.4f}, mAP50 {whole[1]:.4f}, {len(subject.images)} images")
    rows: list[dict[str, Any]] = []
    boundaries = boundaries_of(subject, args.cuts, args.seed)
    tried = [] if args.only_nodes else boundaries
    with tqdm(total=len(subject.images) * (len(tried) + 1), desc="cuts") as bar:
        for boundary in tried:
            rows += cut_once(subject, boundary, ("f32", *INNER), bar)
        rows += cut_once(subject, (dag.input,), ("f32", *PICTURES), bar)
    print("| cut | codec | bytes | compressed | mAP | mAP50 | mAP lost |\n" + "| --- " * 7 + "|")
    for row in rows:
        cut = row["boundary"][0] + (f" + {n} more" if (n := len(row["boundary"]) - 1) else "")
        lost = round(whole[0] - row["mAP"], 4) + 0.0  # no minus before a zero
        print(
            f"| {cut} | {row['codec']} | {row['bytes']} | {row['compressed_bytes'] or '-'} "
            f"| {row['mAP']:.4f} | {row['mAP50']:.4f} | {lost:.4f} |"
        )
    exact = [row for row in rows if row["codec"] == "f32"]
    apart = max(max(abs(row["mAP"] - whole[0]), abs(row["mAP50"] - whole[1])) for row in exact)
    nodes = []
    if not args.no_nodes and len(subject.images) == len(pictures):
        folder = sample / "images" / "val2017"
        names = ",".join(boundaries[0])
        for plan in ("exit=1 device-only", f"exit=1 boundary={names} codec=f32"):
            nodes.append(through_nodes(subject, model, folder, plan))
            print(f"nodes: {nodes[-1]}")
    of_nodes = [abs(found["mAP"] - whole[0]) for found in nodes]
    complete = all(found["answered"] == found["images"] == len(pictures) for found in nodes)
    holds = apart <= EXACT and max(of_nodes, default=0.0) <= EXACT and complete
    print(
        json.dumps(
            {
                "bench": "imported_detector",
                "images": len(subject.images),
                "mAP": round(whole[0], 4),
                "mAP50": round(whole[1], 4),
                "f32_apart": round(apart, 6),
                "lost": {c: _lost(rows, c, whole[0]) for c in (*INNER, *PICTURES)},
                "nodes": nodes,
                "holds": holds,
            }
        )
    )
    return 0 if holds else 1


def _lost(rows: Sequence[Mapping[str, Any]], codec: str, whole: float) -> dict[str, float]:
    """The median and the largest mAP lost with a codec; of nothing if it was not tried."""
    lost = [whole - row["mAP"] for row in rows if row["codec"] == codec]
    if not lost:
        return {}
    return {"median": round(float(np.median(lost)), 4), "most": round(max(lost), 4)}


if __name__ == "__main__":
    sys.exit(main())
