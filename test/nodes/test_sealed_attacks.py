"""A sealed link under attack: what is forged, altered, repeated or foreign is ignored."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sealed_world import NOW, environment, sealed
from test_sealed_link import START_S, remote, start_car

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.sealing.envelope import Envelope, read_envelope
from dapdee_ros.sealing.key_file import finished, load_ring, new_ring, rotated, save_over

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
TOPICS = ("head_tensor", "edge_result", "probe", "probe_echo", "edge/profile", "edge/load")
HANDSHAKE = ("link_hello", "link_session")
FORGED_SCORE = 0.123


class Outsider:
    """Somebody in the link's domain without its key: records, and says what it likes."""

    def __init__(self, domain_id: int) -> None:
        self._context = Context()
        self._context.init([], initialize_logging=False, domain_id=domain_id)
        self.node = Node("outsider", context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.recorded: dict[str, list[bytes]] = {topic: [] for topic in (*TOPICS, *HANDSHAKE)}
        self._publishers: dict[str, Any] = {}
        self._said: set[bytes] = set()
        for topic in self.recorded:
            profile = qos.tensor_qos(True, 50)
            self._publishers[topic] = self.node.create_publisher(msg.Sealed, topic, profile)
            # The profile is said once; who comes later is told it if he asks.
            heard = qos.LATCHED if topic.endswith("profile") else qos.PROBE
            self.node.create_subscription(
                msg.Sealed, topic, partial(self._record, topic), heard, raw=True
            )

    def _record(self, topic: str, raw: bytes) -> None:
        if raw not in self._said:  # it hears itself as well
            self.recorded[topic].append(raw)

    def hear(self) -> None:
        self._executor.spin_once(timeout_sec=0.005)

    def heard(self, topic: str) -> list[bytes]:
        self.hear()
        return self.recorded[topic]

    def say(self, topic: str, raw: bytes) -> None:
        self._said.add(raw)
        self._publishers[topic].publish(raw)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        self._context.try_shutdown()


@contextmanager
def outsider(env: dict[str, str]) -> Iterator[Outsider]:
    made = Outsider(int(env["DAPDEE_LINK_DOMAIN"]))
    try:
        yield made
    finally:
        made.close()


class Board:
    """What the nodes say of their link on /diagnostics."""

    def __init__(self, ros: RosWorld) -> None:
        self.said: dict[str, str] = {}
        ros.node("board").create_subscription(
            DiagnosticArray, "/diagnostics", self._take, qos.DIAGNOSTICS
        )

    def _take(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.endswith(": seal"):
                self.said[status.name] = f"{status.level[0]} {status.message}"

    def says(self, name: str, words: str) -> bool:
        return words in self.said.get(name, "")


def seconds_to(program: Program, first: str, then: str) -> float:
    """Seconds from the first line of a log that holds one text to the first with another."""
    at = []
    for words in (first, then):
        line = next(line for line in program.output().splitlines() if words in line)
        at.append(float(re.search(r"\[(\d+\.\d+)\]", line).group(1)))  # type: ignore[union-attr]
    return at[1] - at[0]


def lost(results: list[msg.InferenceResult]) -> set[str]:
    """Why frames did not come back, other than that this machine is busy.

    On a busy machine the edge says so, or is so late that the car does not even send the next one.
    """
    here = [r for r in results if r.place != r.PLACE_EDGE]
    busy = ("edge: busy", "the window to the edge is full")
    return {r.detail for r in here if not r.detail.startswith(busy)}


def test_what_is_forged_altered_or_repeated_changes_nothing(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    plain = ros.node("plain")  # on the car itself, under the names that an open link has
    answers = plain.create_publisher(msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10))
    echoes = plain.create_publisher(msg.Probe, "probe_echo", qos.PROBE)
    profiles = plain.create_publisher(msg.DeviceProfile, "edge/profile", qos.LATCHED)
    loads = plain.create_publisher(msg.NodeLoad, "edge/load", qos.STATE)
    board = Board(ros)
    chance = random.Random(7)
    with sealed(tmp_path) as env, outsider(env) as outsider_node:
        head, manager, camera = start_car(ros, env)
        edge = ros.start("edge", {"threads": 1}, env=env)
        ros.spin_until(lambda: len(remote(results)) >= 5, START_S, "results from the edge")
        before = len(results)
        end_s = time.monotonic() + 8.0

        def goes_on() -> bool:
            # The attack takes a processor of its own; a slow machine gets longer for its frames.
            left_s = end_s - time.monotonic()
            return left_s > 0 or (left_s > -START_S and len(remote(results[before:])) < 20)

        while goes_on():
            ros.executor.spin_once(timeout_sec=0.01)
            for _ in range(4):
                outsider_node.hear()
            latest = results[-1]
            for number in range(latest.frame_number, latest.frame_number + 4):
                forged = msg.InferenceResult(
                    session=latest.session, frame_number=number, class_id=1, exit=latest.exit
                )
                forged.score = FORGED_SCORE
                answers.publish(forged)
            echoes.publish(msg.Probe(session=latest.session, sequence=1, sent_s=1e12))
            profiles.publish(
                msg.DeviceProfile(
                    model_id=CARD.model_id,
                    node_names=[node.name for node in CARD.dag.nodes],
                    node_seconds=[10.0] * len(CARD.dag.nodes),
                )
            )
            loads.publish(msg.NodeLoad(machine="forged", slowdown=1e6))
            for topic, known in outsider_node.recorded.items():
                if not known:
                    continue
                raw = chance.choice(known)
                outsider_node.say(topic, raw)  # again
                broken = bytearray(raw)
                broken[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
                outsider_node.say(topic, bytes(broken))
                outsider_node.say(topic, raw[: chance.randrange(len(raw))])
                outsider_node.say(
                    chance.choice(list(outsider_node.recorded)), raw
                )  # on another topic
                envelope = read_envelope(raw)
                turned = Envelope(envelope.key_id, envelope.receiver, envelope.sender, 1, bytes(64))
                outsider_node.say(topic, turned.to_bytes())
        ros.spin_until(
            lambda: any("not sealed with our key" in text for text in board.said.values()),
            what="a word about it on /diagnostics",
        )
        assert len(remote(results[before:])) >= 20
        assert not any(abs(r.score - FORGED_SCORE) < 1e-3 for r in results)
        assert len({r.frame_number for r in results}) == len(results)
        assert not lost(results[before:])
        assert all(
            sum(plan.predicted_site_s[1:]) < 1.0 for plan in plans
        )  # of the edge's own profile
        assert any(outsider_node.recorded["edge/profile"])
        assert camera.stop() == 0
        ros.spin_until(lambda: ledgers and ledgers[-1].in_flight == 0)
        for program in (head, manager, edge):
            assert program.stop() == 0, program.output()
            # Logs stay short whatever comes.
            assert len(program.output().splitlines()) < 60
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops


def test_with_another_key_the_car_drives_alone_and_both_sides_say_why(
    ros: RosWorld, tmp_path: Path
) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    board = Board(ros)
    with sealed(tmp_path) as env:
        other = environment(new_ring("other", NOW), tmp_path, int(env["DAPDEE_LINK_DOMAIN"]))
        programs = [*start_car(ros, env), ros.start("edge", {"threads": 1}, env=other)]
        ros.spin_until(lambda: len(results) >= 10, START_S, "results")
        for name in ("/head: seal", "/link_monitor: seal", "/edge: seal"):
            ros.spin_until(
                partial(board.says, name, "not sealed with our key"),
                START_S,
                f"{name} says that another key is used",
            )
            assert board.said[name].startswith("1 ")
            assert "no peer has answered with our key" in board.said[name]
        assert not remote(results)
        for program in programs:
            assert program.stop() == 0, program.output()


def test_a_side_without_a_key_is_not_heard_and_both_say_so(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    board = Board(ros)
    with sealed(tmp_path) as env:
        start_car(ros, env)
        ros.start("edge", {"threads": 1})
        ros.spin_until(lambda: len(results) >= 10, START_S, "results")
        ros.spin_until(lambda: "no peer has answered" in board.said.get("/head: seal", ""))
        # In a test ROS keeps to this machine; elsewhere this would be the warning `insecure`.
        ros.spin_until(lambda: "no key" in board.said.get("/edge: seal", ""))
        assert not remote(results)


def test_a_killed_edge_is_heard_again_soon_after_it_is_back(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    with sealed(tmp_path) as env:
        start_car(ros, env)
        edge = ros.start("edge", {"threads": 1}, env=env)
        ros.spin_until(lambda: len(remote(results)) >= 5, START_S, "results from the edge")
        edge.process.send_signal(signal.SIGKILL)
        edge.wait()
        back = ros.start("edge", {"threads": 1}, env=env)
        known = len(results)
        ros.spin_until(lambda: len(remote(results[known:])) >= 5, START_S, "results again")
        taken_s = seconds_to(back, "link sealed with", "link: sealed with head")
        print(f"sealed again {taken_s:.2f} s after the link was opened")
        assert taken_s < 5.0


def test_keys_are_rotated_without_losing_a_frame(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    for side in ("car", "edge"):
        (tmp_path / side).mkdir()
    with sealed(tmp_path / "car") as env, outsider(env) as outsider_node:
        car_file = Path(env["DAPDEE_LINK_KEY"])
        ring = load_ring(car_file)
        theirs = environment(ring, tmp_path / "edge", int(env["DAPDEE_LINK_DOMAIN"]))
        head, _manager, camera = start_car(ros, env)
        ros.start("edge", {"threads": 1}, env=theirs)
        ros.spin_until(lambda: len(remote(results)) >= 5, START_S, "results from the edge")
        before = len(results)
        two = rotated(ring, NOW)
        for path, keys in (
            (car_file, two),
            (Path(theirs["DAPDEE_LINK_KEY"]), two),
            (car_file, finished(two)),
            (Path(theirs["DAPDEE_LINK_KEY"]), finished(two)),
        ):
            save_over(keys, path)
            end_s = time.monotonic() + 4.0
            while time.monotonic() < end_s:
                ros.executor.spin_once(timeout_sec=0.01)
                outsider_node.hear()
        new_id = two.key_ids[0]
        for topic in ("head_tensor", "edge_result"):
            outsider_node.recorded[topic].clear()
            ros.spin_until(partial(outsider_node.heard, topic))
            assert {read_envelope(raw).key_id for raw in outsider_node.recorded[topic]} == {new_id}
        assert not lost(results[before:])
        assert camera.stop() == 0
        ros.spin_until(lambda: ledgers and ledgers[-1].in_flight == 0)
        assert head.stop() == 0
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops
    assert last.drops <= 1  # the frame before the first, while the head warms up


@pytest.mark.parametrize("fault", ["mode", "torn", "missing"])
@pytest.mark.parametrize("executable", ["head", "edge", "manager"])
def test_a_key_that_cannot_be_used_ends_the_start_and_never_opens_the_link(
    ros: RosWorld, tmp_path: Path, executable: str, fault: str
) -> None:
    with sealed(tmp_path) as env:
        path = Path(env["DAPDEE_LINK_KEY"])
        if fault == "mode":
            path.chmod(0o644)
        elif fault == "torn":
            path.write_bytes(path.read_bytes()[:40])
        else:
            path.unlink()
        program = ros.start(executable, {}, env=env)
        assert program.wait(START_S) == 2
        (line,) = program.output().strip().splitlines()
        assert str(path) in line


def test_a_wrong_parameter_beside_a_key_ends_the_start_in_order(
    ros: RosWorld, tmp_path: Path
) -> None:
    with sealed(tmp_path) as env:
        program = ros.start("manager", {"model": "no-such-model"}, env=env)
        assert program.wait(START_S) == 2
        assert "parameter model" in program.output()
