"""Do spoiled messages harm anybody? Against the pure checks, and over DDS against real nodes.

1. 100,000 messages made from real ones (bytes flipped, cut and added in the serialised form, or
   fields set to what they should never be) through everything that looks at them before they have
   an effect: HeadTensor into the edge's check and decoders, PartitionPlan into the head's,
   DeviceProfile into the manager's, InferenceResult into the head's.
2. 2,000 over DDS: HeadTensors to a real edge, PartitionPlans to a real head, and answers to that
   head's frames from an edge that talks nonsense.

Nothing may fail but with a reason, no message may make anyone allocate more than a few times what
real ones need, and what is refused has to be counted.

    python bench/fuzz.py [--messages 100000] [--over-dds 2000] [--seed 1]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.codec import CODEC_NAMES, CodecError, encode
from dapdee_ros.codec.wire import MOST_DECODED_BYTES
from dapdee_ros.exits.card import find_model
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import (
    head_frame_to_message,
    message_to_frame_plan,
    message_to_head_frame,
    message_to_profile,
    message_to_tail_answer,
    profile_to_message,
)
from dapdee_ros.nodes.diagnostics import resident_bytes
from dapdee_ros.partition.device_profile import DeviceProfile
from dapdee_ros.partition.errors import ProfileError
from dapdee_ros.runtime.frames import HeadFrame, Status
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import FrameRefused, check_frame

ROOT = Path(__file__).resolve().parents[1]
MOST_PEAK_BYTES = 4_000_000
"""What one message may make anyone allocate; the largest real boundary here takes 262 kB."""

NUMBERS = (0, 1, 2, 5, 6, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1, -(2**31))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, 1e300, math.nan, math.inf, -math.inf, 0.5)
TEXTS = (
    "",
    "x",
    "image",
    "f32",
    "u8",
    "no such",
    "image\0",
    "\N{REPLACEMENT CHARACTER}",
    "x" * 9000,
)


class Refused(Exception):
    """A message was turned down as it should be; the message says why."""


def spoiled_bytes(data: bytes, dice: random.Random) -> bytes:
    """A serialised message with some bytes other than they were."""
    spoiled = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        what, at = dice.randrange(8), dice.randrange(len(spoiled))
        if what < 4:
            # Most fields stand before the data, so that is where it hurts.
            at = dice.randrange(min(len(spoiled), 600)) if what < 3 else at
            spoiled[at] ^= dice.randrange(1, 256)
        elif what == 4:
            spoiled[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x40"))
        elif what == 5:
            del spoiled[max(4, at) :]
        elif what == 6:
            spoiled += dice.randbytes(dice.choice((1, 3, 100, 5000)))
        else:
            del spoiled[at : at + dice.choice((1, 4, 8))]
        if len(spoiled) < 5:
            # Nothing but a header: Fast DDS itself holds such a message up.
            return bytes(spoiled) + b"\0" * 5
    return bytes(spoiled)


def spoil_fields(message: Any, dice: random.Random) -> None:
    """Set fields of a message to what they should never be, as far as their types allow."""
    kinds = message.get_fields_and_field_types()
    for _ in range(dice.choice((1, 1, 2, 3))):
        name = dice.choice(list(kinds))
        old = getattr(message, name)
        try:
            setattr(message, name, _spoiled_value(old, kinds[name], dice))
        except AssertionError:
            continue  # cannot even be said in this message


def _spoiled_value(old: Any, kind: str, dice: random.Random) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        # Not all setters look at the range, and conversion to C then leaves broken objects behind.
        bits = int(kind.removeprefix("u").removeprefix("int"))
        least, most = (
            (0, 2**bits) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        )
        return dice.choice([n for n in NUMBERS if least <= n < most])
    if isinstance(old, float):
        return dice.choice([f for f in FLOATS if kind == "double" or not 1e38 < abs(f) < math.inf])
    if isinstance(old, str):
        return dice.choice((*TEXTS, old + "x", old[:-1]))
    if isinstance(old, array):
        pool = (
            FLOATS[:6] + FLOATS[8:]
            if old.typecode in "fd"
            else [n for n in NUMBERS if 0 <= n < 256]
        )
        some = array(old.typecode, [dice.choice(pool) for _ in range(dice.choice((0, 1, 5, 70)))])
        return dice.choice((some, old[: len(old) // 2], old + old[:3], old[:0]))
    if isinstance(old, list):
        if old and dice.random() < 0.7:
            at = dice.randrange(len(old))
            changed = list(old)
            if isinstance(old[at], str):
                changed[at] = dice.choice((*TEXTS, old[0]))
            else:
                spoil_fields(changed[at], dice)
            return changed
        return dice.choice(([], old + old, old[1:], (old * 400)[:400]))
    if hasattr(old, "get_fields_and_field_types"):
        spoil_fields(old, dice)
    return old


@dataclass
class Target:
    """One kind of message and what looks at it.

    Attributes:
        kind: its type.
        real: real ones, serialised.
        check: takes one as far as it gets without an effect; raises Refused if it is no good.
    """

    kind: type
    real: list[bytes]
    check: Callable[[Any], None]

    def spoiled(self, dice: random.Random) -> bytes:
        """A spoiled one, serialised."""
        data = dice.choice(self.real)
        if dice.random() < 0.5:
            spoiled = spoiled_bytes(data, dice)
            # DDS fills payloads up to words, so a last byte that is missing is there on arrival.
            return spoiled + b"\0" * (-len(spoiled) % 4)
        message = deserialize_message(data, self.kind)
        spoil_fields(message, dice)
        return bytes(serialize_message(message))

    def verdict(self, data: bytes) -> str:
        """``passed``, ``unreadable`` or why it was refused."""
        try:
            message = deserialize_message(data, self.kind)
        except RuntimeError:
            return "unreadable"
        try:
            self.check(message)
        except Refused as refused:
            return f"refused: {refused}"
        return "passed"


def load_network() -> SplitNetwork:
    """The default model, with a profile in which every node takes a tenth of a millisecond."""
    from dapdee_ros.exits.model_folder import load_model

    model = load_model(find_model("roadsigns"))
    seconds = {node.name: 1e-4 for node in model.card.dag.nodes}
    return SplitNetwork(model, DeviceProfile(model.card.model_id, "made up", 1, seconds, "now"))


def targets(network: SplitNetwork) -> dict[str, Target]:
    """All kinds of messages that come over the network and have an effect."""
    card = network.model.card
    dag, exits = card.dag, len(card.dag.exits)
    cuts: list[tuple[str, ...]] = [(dag.input,)]
    for node in dag.nodes[3::9]:
        part = dag.ancestors([dag.exit_sink(exits)])
        if node.name in part:
            boundary = dag.boundary(dag.ancestors([node.name]), exits)
            cuts += [tuple(boundary)] if boundary else []
    rng = np.random.default_rng(0)
    tensors: list[bytes] = []
    plans: list[bytes] = []
    for number, cut in enumerate(cuts):
        arrays = {
            name: np.maximum(rng.normal(size=dag.by_name[name].shape) * 40, 0).astype(
                dag.by_name[name].dtype
            )
            for name in cut
        }
        for codec in CODEC_NAMES:
            try:
                specs, data = encode(arrays, codec)
            except CodecError:
                continue
            frame = HeadFrame(number, 1, 0.0, card.model_id, exits, codec, specs, data)
            tensors.append(bytes(serialize_message(head_frame_to_message(frame, Header()))))
            plan = msg.PartitionPlan(
                epoch=number + 1,
                model_id=card.model_id,
                exit=exits,
                boundary=list(cut),
                codec=codec,
                deadline_s=0.3,
                max_in_flight=4,
                predicted_transfer_s=0.02,
                predicted_tail_s=0.01,
                reason="made up",
            )
            plans.append(bytes(serialize_message(plan)))
    assert network.profile is not None
    profile = profile_to_message(network.profile, Header().stamp)
    answer = msg.InferenceResult(
        frame_number=1,
        session=1,
        status=0,
        class_id=1,
        label=card.labels[1],
        score=0.9,
        top_classes=array("i", [1, 0]),
        top_scores=array("f", [0.9, 0.1]),
        exit=exits,
        place=1,
        tail_s=0.01,
        residence_s=0.01,
        sent_bytes=100,
    )

    def check_tensor(message: Any) -> None:
        try:
            program, arrays = check_frame(network, message_to_head_frame(message))
        except FrameRefused as refused:
            raise Refused(str(refused)) from refused
        for name, values in arrays.items():
            if (values.shape, values.dtype.name) != program.expected[name]:
                raise AssertionError(f"{name} was decoded to {values.dtype} {values.shape}")

    def check_plan(message: Any) -> None:
        if message.model_id != card.model_id:
            raise Refused("another model")
        if not message.epoch:
            raise Refused("no epoch")
        try:
            network.head_program(message_to_frame_plan(message))
        except GraphError as error:
            raise Refused(str(error)) from error

    def check_profile(message: Any) -> None:
        try:
            message_to_profile(message).check_fits((n.name for n in dag.nodes), card.model_id)
        except ProfileError as error:
            raise Refused(str(error)) from error

    def check_answer(message: Any) -> None:
        answer = message_to_tail_answer(message)
        if answer.status is not Status.OK:
            raise Refused(f"status {answer.status}")
        if misfit := network.misfit(answer, exits):
            raise Refused(misfit)
        _ = [card.labels[c] for c in (message.class_id, *message.top_classes)]

    return {
        "HeadTensor": Target(msg.HeadTensor, tensors, check_tensor),
        "PartitionPlan": Target(msg.PartitionPlan, plans, check_plan),
        "DeviceProfile": Target(
            msg.DeviceProfile, [bytes(serialize_message(profile))], check_profile
        ),
        "InferenceResult": Target(
            msg.InferenceResult, [bytes(serialize_message(answer))], check_answer
        ),
    }


SHARES = {"HeadTensor": 0.5, "PartitionPlan": 0.3, "DeviceProfile": 0.1, "InferenceResult": 0.1}


def fuzz_pure(kinds: dict[str, Target], messages: int, seed: int) -> dict[str, Any]:
    """Spoiled messages against the checks; an exception other than a refusal ends the run."""
    dice = random.Random(seed)
    found: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    worst = shortest = longest = 0
    before_rss = resident_bytes()
    tracemalloc.start()
    try:
        for _ in range(messages):
            (name,) = dice.choices(list(SHARES), list(SHARES.values()))
            data = kinds[name].spoiled(dice)
            floor = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            verdict = kinds[name].verdict(data)
            worst = max(worst, tracemalloc.get_traced_memory()[1] - floor - len(data))
            outcome, _, reason = verdict.partition(": ")
            found[name][outcome] += 1
            if outcome == "refused":
                shortest = min(shortest or len(reason), len(reason))
                longest = max(longest, len(reason))
    finally:
        tracemalloc.stop()
    return {
        "messages": messages,
        **{name: dict(counts) for name, counts in found.items()},
        "peak_allocation_bytes": worst,
        "rss_growth_bytes": resident_bytes() - before_rss,
        "reason_lengths": [shortest, longest],
        "ok": worst < MOST_PEAK_BYTES and shortest > 3,
    }


@dataclass
class Nodes:
    """A real edge and a real head, and what is heard of them."""

    folder: Path
    answers: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    ledgers: list[Any] = field(default_factory=list)
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray

        self._rclpy = rclpy
        self.node = rclpy.create_node("fuzz")
        deep = qos.tensor_qos(True, 100)
        listen = self.node.create_subscription
        listen(msg.InferenceResult, "edge_result", self.answers.append, deep)
        listen(msg.InferenceResult, "inference", self.results.append, deep)
        listen(msg.FrameLedger, "ledger", self.ledgers.append, qos.LATCHED)
        listen(DiagnosticArray, "/diagnostics", self._take_diagnostics, qos.DIAGNOSTICS)

    def _take_diagnostics(self, message: Any) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {pair.key: pair.value for pair in status.values}

    def start(self, executable: str, **parameters: Any) -> None:
        """Start a node's process."""
        command = [sys.executable, str(ROOT / "scripts" / executable), "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        with (self.folder / f"{executable}.log").open("wb") as log:
            self.processes[executable] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def spin_until(self, condition: Callable[[], Any], timeout_s: float, what: str = "") -> bool:
        """Whether it came true; raises if a process has ended, or, with ``what``, if it did not."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    log = (self.folder / f"{name}.log").read_text(errors="replace")
                    raise SystemExit(f"{name} has ended:\n{log[-3000:]}")
            if time.monotonic() > end_s:
                if what:
                    raise SystemExit(f"not within {timeout_s} s: {what}")
                return False
            self._rclpy.spin_once(self.node, timeout_sec=0.02)
        return True

    def refused(self, node: str, kind: str = "") -> int:
        """How many messages of a kind (all if empty) a node says that it refused."""
        values = self.diagnostics.get(f"/{node}: refused", {})
        return int(values.get(f"refused ({kind})" if kind else "refused", 0))

    def fresh_diagnostics(self, node: str) -> None:
        """Wait for what a node says of itself from now on."""
        self.spin_until(lambda: False, 0.1)
        self.diagnostics.clear()
        self.spin_until(lambda: f"/{node}: refused" in self.diagnostics, 20.0, "diagnostics")

    def stop(self) -> None:
        """End all processes and the node."""
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.node.destroy_node()


def fuzz_over_dds(kinds: dict[str, Target], messages: int, seed: int, folder: Path) -> Any:
    """Spoiled messages to a real edge and a real head."""
    import rclpy

    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    rclpy.init(args=[])
    nodes = Nodes(folder)
    dice = random.Random(seed)
    try:
        nodes.start("edge", threads=1)
        nodes.start("head", threads=1, plan_timeout_s=3600.0, ledger_period_s=0.2)
        nodes.start("camera", rate_hz=20.0)
        tensors = nodes.node.create_publisher(
            msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 2)
        )
        nodes.spin_until(
            lambda: tensors.get_subscription_count() and nodes.results, 90.0, "head and edge"
        )
        nodes.fresh_diagnostics("edge")
        before = {name: resident_bytes(p.pid) for name, p in nodes.processes.items()}
        found: dict[str, Any] = {}
        found["tensors"] = to_the_edge(nodes, kinds["HeadTensor"], messages // 2, dice, tensors)
        nodes.processes.pop("edge").send_signal(signal.SIGINT)
        nodes.spin_until(lambda: tensors.get_subscription_count() == 0, 20.0, "the edge to end")
        rest = messages - messages // 2
        found["plans"] = to_the_head(nodes, kinds["PartitionPlan"], rest * 4 // 5, dice)
        found["answers"] = as_the_edge(nodes, kinds, rest - rest * 4 // 5, dice)
        after = {name: resident_bytes(p.pid) for name, p in nodes.processes.items()}
        found["head_growth_bytes"] = after["head"] - before["head"]
        found["edge_growth_bytes"] = found["tensors"].pop("rss") - before["edge"]
        grown = max(found["head_growth_bytes"], found["edge_growth_bytes"])
        parts = (found["tensors"], found["plans"], found["answers"])
        found["ok"] = all(part["ok"] for part in parts) and grown < MOST_DECODED_BYTES
        return found
    finally:
        nodes.stop()
        rclpy.try_shutdown()


def to_the_edge(
    nodes: Nodes, target: Target, messages: int, dice: random.Random, publisher: Any
) -> dict[str, Any]:
    """HeadTensors one at a time; each readable one has to be answered, each refusal counted."""
    outcomes: Counter[str] = Counter()
    unanswered = 0

    def ask(data: bytes) -> bool:
        nodes.answers.clear()
        publisher.publish(data)
        return nodes.spin_until(lambda: nodes.answers, 5.0)

    if not ask(target.real[0]):
        raise SystemExit("the edge does not answer a real frame")
    for _ in range(messages):
        data = target.spoiled(dice)
        if target.verdict(data) == "unreadable":
            outcomes["unreadable"] += 1
            publisher.publish(data)
            data = target.real[0]  # when this is answered, the one before it was looked at
        else:
            outcomes["readable"] += 1
        if not ask(data):
            unanswered += 1
            continue
        status = Status(nodes.answers[-1].status).name.lower()
        outcomes[status] += 1
        if status != "ok" and not nodes.answers[-1].detail:
            unanswered += 1
    if not ask(target.real[0]) or nodes.answers[-1].status:
        raise SystemExit("the edge no longer answers real frames")
    nodes.fresh_diagnostics("edge")
    wanted = outcomes["unreadable"] + outcomes["bad_tensor"] + outcomes["wrong_model"]
    wanted += outcomes["error"]
    return {
        "messages": messages,
        **outcomes,
        "without_answer_or_reason": unanswered,
        "counted": nodes.refused("edge"),
        "expected": wanted,
        "rss": resident_bytes(nodes.processes["edge"].pid),
        "ok": not unanswered and nodes.refused("edge") == wanted,
    }


def to_the_head(nodes: Nodes, target: Target, messages: int, dice: random.Random) -> dict[str, Any]:
    """PartitionPlans to a head at work; it has to count what it refuses and go on answering."""
    from rcl_interfaces.srv import GetParameters

    publisher = nodes.node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    client = nodes.node.create_client(GetParameters, "/head/get_parameters")
    nodes.spin_until(
        lambda: publisher.get_subscription_count() and client.service_is_ready(), 20.0, "the head"
    )
    outcomes: Counter[str] = Counter()
    for _ in range(messages):
        data = target.spoiled(dice)
        outcomes[target.verdict(data).partition(":")[0]] += 1
        publisher.publish(data)
        # The topic keeps one message, so the head gets the time to look at it. It answers on the
        # thread that takes the plans.
        time.sleep(0.002)
        future = client.call_async(GetParameters.Request(names=["deadline_s"]))
        nodes.spin_until(future.done, 20.0, "the head's callbacks")
    nodes.results.clear()
    publisher.publish(target.real[0])
    epoch = deserialize_message(target.real[0], msg.PartitionPlan).epoch
    nodes.spin_until(
        lambda: any(r.plan_epoch == epoch for r in nodes.results), 20.0, "results of a real plan"
    )
    nodes.fresh_diagnostics("head")
    wanted = outcomes["unreadable"] + outcomes["refused"]
    counted = nodes.refused("head", "plan") + nodes.refused("head", "unreadable message")
    nodes.node.destroy_publisher(publisher)
    return {
        "messages": messages,
        **outcomes,
        "counted": counted,
        "expected": wanted,
        # A latched topic of depth 1: one that comes while the last is still being taken wins.
        "ok": 0.98 * wanted <= counted <= wanted,
    }


def as_the_edge(
    nodes: Nodes, kinds: dict[str, Target], messages: int, dice: random.Random
) -> dict[str, Any]:
    """Answer the head's frames with nonsense; each still has to end exactly once."""
    answers = nodes.node.create_publisher(
        msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10)
    )
    sent: list[Any] = []
    nodes.node.create_subscription(
        msg.HeadTensor, "head_tensor", sent.append, qos.tensor_qos(True, 10)
    )
    target = kinds["InferenceResult"]
    # Such plans send every frame.
    plans = nodes.node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    plans.publish(kinds["PartitionPlan"].real[0])
    nodes.results.clear()
    for _ in range(messages):
        nodes.spin_until(lambda: sent, 20.0, "a frame from the head")
        frame = sent.pop(0)
        message = deserialize_message(target.real[0], msg.InferenceResult)
        message.frame_number, message.session = frame.frame_number, frame.session
        spoil_fields(message, dice)
        data = bytes(serialize_message(message))
        answers.publish(spoiled_bytes(data, dice) if dice.random() < 0.3 else data)
    nodes.processes["camera"].send_signal(signal.SIGINT)
    nodes.processes.pop("camera").wait(10)
    nodes.ledgers.clear()
    nodes.spin_until(
        lambda: nodes.ledgers and nodes.ledgers[-1].in_flight == 0, 20.0, "all frames ended"
    )
    nodes.fresh_diagnostics("head")
    numbers = [r.frame_number for r in nodes.results]
    ledger = nodes.ledgers[-1]
    balanced = ledger.accepted == ledger.results + ledger.drops
    return {
        "messages": messages,
        "results": len(numbers),
        "refused": nodes.refused("head", "frame refused by the edge"),
        "answered_twice": len(numbers) - len(set(numbers)),
        "balanced": balanced,
        "ok": balanced and len(numbers) == len(set(numbers)) and bool(ledger.rejected),
    }


def main() -> int:
    """Both parts; prints one JSON line."""
    import tempfile

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="against the pure checks")
    parser.add_argument("--over-dds", type=int, default=2000, help="over DDS; 0: none")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    network = load_network()
    kinds = targets(network)
    figures: dict[str, Any] = {"bench": "fuzz", "seed": args.seed}
    figures["pure"] = fuzz_pure(kinds, args.messages, args.seed)
    print(json.dumps(figures["pure"]), flush=True)
    ok = figures["pure"]["ok"]
    if args.over_dds:
        with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
            figures["over_dds"] = fuzz_over_dds(kinds, args.over_dds, args.seed, Path(folder))
        ok = ok and figures["over_dds"]["ok"]
    figures["ok"] = bool(ok)
    print(json.dumps(figures))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
