"""What do gates bring? The planner with and without them, at four link rates and with two cars.

Times are the profiles' (a full-speed and a Pi-like car against the same edge server), what the gate
does with each frame is real: frames that calibration has not seen go through the network, and those
that are confident enough at the plan's gate end there. Where a plan's codec loses something, the
frames go through it. Both planners choose among the same exits, cuts and codecs, and may give up
the same accuracy, counted from the most accurate plan without a gate. Ends with one JSON line;
--write puts the table into a document.

    python -m bench.gates --model vgg16-cifar10 --data cifar10:data/cifar10
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dapdee_ros.codecs import CODEC_NAMES, decode, encode
from dapdee_ros.datasets.sources import open_data
from dapdee_ros.datasets.split import Split
from dapdee_ros.exits.card import ModelCard, find_model
from dapdee_ros.exits.gates import softmax
from dapdee_ros.exits.model_folder import LoadedModel, load_model
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS

MOST_OVER, MUST_REACH, MOST_LOST = 1.02, 0.75, 0.005
BEGIN, END = "<!-- bench/gates.py: {} -->", "<!-- end of {} -->"


@dataclass
class Frames:
    """Frames that calibration has not seen, through the whole network once.

    Attributes:
        model: the network.
        split: the frames.
        logits: of each exit, shallowest first, float32 ``(N, K)``.
    """

    model: LoadedModel
    split: Split
    logits: list[NDArray[np.float32]]
    _right: dict[tuple[int, tuple[str, ...], str], NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: LoadedModel, data: str, count: int) -> Frames:
        """Up to ``count`` frames of ``data`` and what the network says to them."""
        source = open_data(data, size=model.card.input_size)
        seen = {image.tobytes() for image in source.calibration().images}
        held_out = source.held_out()
        new = [i for i, image in enumerate(held_out.images) if image.tobytes() not in seen]
        # Spread over all of them: stored images may be sorted by class.
        new = [new[i * len(new) // count] for i in range(count)] if count < len(new) else new
        split = Split(
            held_out.images[new],
            held_out.labels[new],
            f"{len(new)} frames of: {held_out.description}, none of them calibrated on",
        )
        dag = model.runner.dag
        rows: list[list[NDArray[np.float32]]] = [[] for _ in dag.exits]
        for image in split.images:
            found = model.runner.run({dag.input: torch.from_numpy(image[None])}, dag.outputs)
            for row, sink in zip(rows, dag.outputs, strict=True):
                row.append(found[sink].numpy()[0])
        return cls(model, split, [np.array(row) for row in rows])

    def ends(self, gate: int | None, threshold: float | None) -> NDArray[np.bool_]:
        """Which frames end at this gate, ``(N,)``."""
        if gate is None or threshold is None:
            return np.zeros(len(self.split), bool)
        calibration = self.model.card.calibration
        assert calibration is not None
        sure = softmax(self.logits[gate - 1], calibration.temperatures[gate - 1]).max(axis=1)
        return sure >= threshold

    def right(self, exit_number: int, boundary: tuple[str, ...], codec: str) -> NDArray[np.bool_]:
        """Which frames an exit gets right with this boundary sent by this codec, ``(N,)``."""
        if not boundary or codec == "f32":
            return self.logits[exit_number - 1].argmax(axis=1) == self.split.labels
        key = (exit_number, boundary, codec)
        if key not in self._right:
            self._right[key] = np.array([self._through(i, *key) for i in range(len(self.split))])
        return self._right[key]

    def _through(self, i: int, exit_number: int, boundary: tuple[str, ...], codec: str) -> bool:
        runner, dag = self.model.runner, self.model.runner.dag
        image = torch.from_numpy(self.split.images[i : i + 1])
        sent = {n: t.numpy() for n, t in runner.run({dag.input: image}, boundary).items()}
        specs, data = encode(sent, codec)
        nodes = [dag.by_name[name] for name in boundary]
        arrived = decode(specs, data, codec, {n.name: (n.shape, n.dtype) for n in nodes})
        sink = dag.exit_sink(exit_number)
        logits = runner.run({n: torch.from_numpy(a) for n, a in arrived.items()}, [sink])[sink]
        return int(logits.argmax()) == int(self.split.labels[i])


def outcome(problem: Problem, plan: Plan, frames: Frames) -> dict[str, float]:
    """Mean seconds and accuracy of a plan over the frames, and the share that its gate ended."""
    ended = frames.ends(plan.gate, plan.gate_threshold)
    right = frames.right(plan.exit_number, plan.boundary, plan.codec)
    gate_s = 0.0
    if plan.gate is not None:
        gate_part = problem.dag.exit_part(plan.gate)
        gate_s = sum(problem.car.node_seconds[name] for name in gate_part)
        right = np.where(ended, frames.right(plan.gate, (), ""), right)
    return {
        "mean_s": float(np.where(ended, gate_s, plan.latency_s).mean()),
        "accuracy": float(right.mean()),
        "share": float(ended.mean()),
    }


def words(plan: Plan, measured: dict[str, float]) -> str:
    """A plan in a table's cell."""
    where = "car alone" if plan.device_only else f"`{' '.join(plan.boundary)}` as {plan.codec}"
    if plan.gate is None:
        return f"exit {plan.exit_number}, {where}"
    gate = f"gate {plan.gate} at {plan.gate_threshold:g} ends {measured['share']:.0%}"
    return f"{gate}, else exit {plan.exit_number}, {where}"


def study(
    card: ModelCard, cars: dict[str, DeviceProfile], edge: DeviceProfile, frames: Frames,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a car and rate."""
    rows = []
    codecs = args.codecs.split(",") if args.codecs else CODEC_NAMES
    for car_name, car in cars.items():
        problem = problem_of(card, car, edge, codecs)
        for rate_name, rate_bps in FIXED_RATES_BPS.items():
            link = Hop(rate_bps, args.rtt_s)
            row: dict[str, Any] = {"car": car_name, "link": rate_name, "uplink_bps": rate_bps}
            for name, gates in (("off", False), ("on", True)):
                plan = problem.table.decide(Situation(
                    car_and_edge(), (link,), args.deadline_s, "latency",
                    quality_tolerance=args.tolerance, gates=gates,
                ))  # fmt: skip
                measured = outcome(problem, plan, frames)
                row[name] = {k: round(v, 6) for k, v in measured.items()} | {
                    "predicted_mean_s": round(plan.expected_latency_s, 6),
                    "predicted_quality": round(plan.quality, 6),
                    "late": plan.late,
                    "plan": words(plan, measured),
                }
            row["ratio"] = round(row["on"]["mean_s"] / row["off"]["mean_s"], 4)
            row["lost"] = round(row["off"]["accuracy"] - row["on"]["accuracy"], 4)
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| car | link | mean without | mean with gates | ratio | accuracy without, with "
        "| plan without gates | plan with gates |",
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for row in rows:
        off, on = row["off"], row["on"]
        link = f"{row['link']} {row['uplink_bps'] / 1e6:g} Mbit/s"
        lines.append(
            f"| {row['car']} | {link} | {off['mean_s'] * 1e3:.1f} ms | {on['mean_s'] * 1e3:.1f} ms "
            f"| {row['ratio']:.2f} | {off['accuracy']:.4f}, {on['accuracy']:.4f} "
            f"| {off['plan']} | {on['plan']} |"
        )
    return "\n".join(lines)


def write(path: Path, model: str, text: str) -> None:
    """Put a model's table between its two marks in a document."""
    marks = BEGIN.format(model), END.format(model)
    before, begin, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"{path} has no lines {' and '.join(marks)} to put the table between")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--data", default="roadsigns", help="roadsigns or cifar10:DIR")
    parser.add_argument("--frames", type=int, default=10_000, help="at most (default 10000)")
    parser.add_argument("--rtt-s", type=float, default=0.03)
    parser.add_argument("--deadline-s", type=float, default=0.3)
    parser.add_argument("--tolerance", type=float, default=0.0, help="accuracy to give up")
    parser.add_argument("--codecs", help="a,b,c (default: all that are calibrated)")
    parser.add_argument("--write", type=Path, help="document to put the table into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = load_model(find_model(args.model))
    card = model.card
    profiles = sample_profiles(card.model_id)
    if card.calibration is None or len(profiles) < 2:
        raise SystemExit(
            f"{card.name} needs a calibration and two profiles in config/profiles, of a slow and a "
            f"fast machine; there are {len(profiles)}: see `dapdee calibrate`, `dapdee profile`"
        )
    cars, edge = {"full speed": profiles[-1], "Pi-like": profiles[0]}, profiles[-1]
    frames = Frames.of(model, args.data, args.frames)
    rows = study(card, cars, edge, frames, args)
    if args.write:
        about = "\n".join(
            [
                f"{card.name}, {frames.split.description}; deadline {args.deadline_s:g} s, round "
                f"trip {args.rtt_s * 1e3:g} ms, accuracy tolerance {args.tolerance:g}.",
                *(f"- {name}: {p.device}, {p.note or 'as it is'}" for name, p in cars.items()),
            ]
        )
        write(args.write, card.name, f"{about}\n\n{table(rows)}")
    met = {
        "never_slower": all(row["ratio"] <= MOST_OVER for row in rows),
        "pays_somewhere": any(row["ratio"] <= MUST_REACH for row in rows),
        "accuracy_kept": all(row["lost"] <= MOST_LOST for row in rows),
    }
    figures = {
        "bench": "gates",
        "model": card.name,
        "frames": frames.split.description,
        "ratio": {f"{row['car']} {row['link']}": row["ratio"] for row in rows},
        "lost": {f"{row['car']} {row['link']}": row["lost"] for row in rows},
        "met": met,
        "wall_s": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
