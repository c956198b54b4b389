"""Spoiled messages over DDS: to a real edge, to a real head, and in the edge's place."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

import dapdee_ros.msg as msg
from bench.fuzzing.spoiling import spoil_fields, spoiled_bytes
from bench.fuzzing.targets import MODEL, Target
from dapdee_ros.codecs.wire import MOST_DECODED_BYTES
from dapdee_ros.core.frames import Status
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.diagnostics import resident_bytes
from dapdee_ros.sealing.configured import KEY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Nodes:
    """A real edge and a real head, and their messages."""

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
    os.environ[KEY_VARIABLE] = "none"  # with a key nothing spoiled would get as far as this
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    rclpy.init(args=[])
    nodes = Nodes(folder)
    dice = random.Random(seed)
    try:
        nodes.start("edge", threads=1, model=folder / MODEL)
        nodes.start(
            "head", threads=1, model=folder / MODEL, plan_timeout_s=3600.0, ledger_period_s=0.2
        )
        nodes.start("camera", source="roadsigns", rate_hz=20.0)
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
        try:
            data = bytes(serialize_message(message))
        except RuntimeError:  # longer than its bound, which a serialiser does not say
            data = spoiled_bytes(target.real[0], dice)
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
