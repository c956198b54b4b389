"""Cars that may use two edge servers: failover, return, drain, and what a hostile one can do."""

from __future__ import annotations

from array import array
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter as Override
from ros_world import DomainLease

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.parameters import ParameterError
from dapdee_ros.nodes.servers import declare_server, declare_servers
from dapdee_ros.sealing.key_file import SUFFIX, new_ring, save_new

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
START_S = 90.0
SERVERS = ["edge1", "edge2"]
SENDS = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=f32"
EDGE = msg.InferenceResult.PLACE_EDGE


class Street:
    """Cars in namespaces of their own, and the edge servers that all of them may use."""

    def __init__(self, ros: RosWorld, cars: list[str], env: dict[str, str], edge_key: str) -> None:
        self.ros, self.cars, self._edge_env = ros, cars, {**env, "DAPDEE_LINK_KEY": edge_key}
        self.results: dict[str, list[msg.InferenceResult]] = {}
        self.ledgers: dict[str, list[msg.FrameLedger]] = {}
        self.edges: dict[str, Program] = {}
        for car in cars:
            deep = qos.tensor_qos(True, 1000)
            self.results[car] = ros.collect(msg.InferenceResult, f"/{car}/inference", deep)
            self.ledgers[car] = ros.collect(msg.FrameLedger, f"/{car}/ledger", qos.LATCHED)
        for server in SERVERS:
            self.start_edge(server)

    def start_edge(self, server: str) -> None:
        settings = {"threads": 1, "cars": self.cars, "server": server}
        self.edges[server] = self.ros.start(
            "edge", settings, "-r", f"__node:={server}", env=self._edge_env
        )

    def begin_car(self, car: str, env: dict[str, str], rate_hz: float = 10.0) -> Program:
        """Start a car's processes; returns its manager."""
        inside = ("-r", f"__ns:=/{car}")
        shared = {"deadline_s": 1.0, "servers": SERVERS}
        self.ros.start("head", {**shared, "threads": 1}, *inside, env=env)
        manager = self.ros.start("manager", {**shared, "pinned_plan": SENDS}, *inside, env=env)
        self.ros.start("camera", {"rate_hz": rate_hz}, *inside, env=env)
        return manager

    def last(self, car: str, count: int = 1) -> list[str]:
        """Which servers answered the last frames, each as planned; else empty."""
        return [r.site if r.place == EDGE else "" for r in self.results[car][-count:]]

    def wait_for(self, servers: list[str], what: str, timeout_s: float = START_S) -> None:
        """Until each car has had three frames in succession from one of these servers."""

        def served() -> bool:
            return all(
                len(set(last := self.last(car, 3))) == 1 and len(last) == 3 and last[0] in servers
                for car in self.cars
            )

        self.ros.spin_until(served, timeout_s, what)

    def check_ledgers(self) -> None:
        """Every accepted frame has ended once, or is still open."""
        for car, results in self.results.items():
            numbers = [r.frame_number for r in results]
            assert len(set(numbers)) == len(numbers), f"{car} answered a frame twice"
            self.ros.spin_until(partial(bool, self.ledgers[car]), what="a ledger")
            ledger = self.ledgers[car][-1]
            assert ledger.accepted == ledger.results + ledger.drops + ledger.in_flight
            assert ledger.drops == 0, list(ledger.drop_reasons)

    def drain(self, server: str, value: bool) -> None:
        client = self.ros.node(f"drains_{server}_{value}").create_client(
            SetParameters, f"/{server}/set_parameters"
        )
        told = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
        request = SetParameters.Request(parameters=[Parameter(name="drain", value=told)])
        (result,) = self.ros.call(client, request).results
        assert result.successful


@pytest.mark.alone
def test_two_cars_and_two_servers_through_a_kill_a_return_and_a_drain(ros: RosWorld) -> None:
    env = {"DAPDEE_LINK_KEY": "none"}
    street = Street(ros, ["car1", "car2"], env, "none")
    for car in street.cars:
        street.begin_car(car, env)
    street.wait_for(SERVERS, "both cars are served")

    # Kill the server that the first car uses, with whatever is on its way there.
    (victim,) = set(street.last("car1"))
    (other,) = {*SERVERS} - {victim}
    before = {car: len(results) for car, results in street.results.items()}
    street.edges[victim].kill()
    street.wait_for([other], "all are served by the other one", 10.0)
    ros.spin_for(1.0)
    for car, results in street.results.items():
        since = results[before[car] :]
        late = [(r.detail, r.latency_s) for r in since if r.latency_s > 1.0]
        assert len(late) <= 1, late  # the machine may be busy with something else
    street.check_ledgers()

    street.start_edge(victim)
    ros.spin_until(lambda: "loaded in" in street.edges[victim].output(), START_S, "it is back")
    ros.spin_for(2.0)
    # Drained, the other one loses its cars; they lose no frame, and need not finish any themselves.
    before = {car: len(results) for car, results in street.results.items()}
    street.drain(other, True)
    street.wait_for([victim], "the one that came back serves all", 10.0)
    ros.spin_for(2.0)
    for car, results in street.results.items():
        since = results[before[car] :]
        own = [r.detail for r in since if r.place != EDGE]
        assert len(own) <= 0.1 * len(since), own
    street.check_ledgers()
    street.drain(other, False)
    street.edges[victim].kill()
    street.wait_for([other], "the drained one serves all again", 10.0)
    street.check_ledgers()


def test_with_a_key_the_link_to_every_server_is_sealed(
    ros: RosWorld, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lease = DomainLease()
    request.addfinalizer(lease.close)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    save_new(new_ring("car1", "2026-01-01T00:00:00Z"), keys / f"car1{SUFFIX}")
    env = {"DAPDEE_LINK_DOMAIN": str(lease.domain_id)}
    street = Street(ros, ["car1"], env, str(keys))
    manager = street.begin_car("car1", {**env, "DAPDEE_LINK_KEY": str(keys / f"car1{SUFFIX}")})
    street.wait_for(SERVERS, "it is served over a sealed link")
    (victim,) = set(street.last("car1"))
    (other,) = {*SERVERS} - {victim}
    ros.spin_until(lambda: manager.output().count("policy exact made") >= 2, START_S, "both plans")
    street.edges[victim].kill()
    street.wait_for([other], "it is served by the other one", 15.0)
    street.check_ledgers()


def said(program: Program, words: str) -> bool:
    return words in program.output()


def given(ros: RosWorld, **parameters: Any) -> Node:
    return ros.add(
        Node("given", parameter_overrides=[Override(n, value=v) for n, v in parameters.items()])
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["edge1", "edge1"], "listed twice"),
        (["1edge"], "is no name"),
        (["edge/1"], "is no name"),
        (["x" * 65], "is no name"),
        (["car"], "a meaning of its own"),
    ],
)
def test_servers_that_make_no_sense_are_named(ros: RosWorld, names: list[str], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        declare_servers(given(ros, servers=names))


def test_a_server_without_a_name_is_the_only_one(ros: RosWorld) -> None:
    assert declare_servers(given(ros, servers=[""])) == ["edge"]
    assert declare_server(given(ros, server="")) == "edge"
    with pytest.raises(ParameterError, match="is no name"):
        declare_server(given(ros, server="edge 1"))


def profile(seconds: float, **changes: Any) -> msg.DeviceProfile:
    names = [node.name for node in CARD.dag.nodes]
    each = seconds / (len(names) - 1)
    values = {
        "model_id": CARD.model_id,
        "device": "made up",
        "threads": 1,
        "node_names": names,
        "node_seconds": array("d", [0.0] + [each] * (len(names) - 1)),
        "created": "2026-01-01T00:00:00",
        **changes,
    }
    return msg.DeviceProfile(**values)


def test_what_one_server_says_of_itself_spoils_no_plan_for_the_other(ros: RosWorld) -> None:
    node = ros.node("told")
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    links = node.create_publisher(msg.LinkQuality, "link_quality", qos.LINK)
    profiles = {
        side: node.create_publisher(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
        for side in ("car", "edge1/edge", "edge2/edge")
    }
    manager = ros.start(
        "partition_manager", {"deadline_s": 1.0, "min_dwell_s": 0.0, "servers": SERVERS}
    )
    ros.spin_until(links.get_subscription_count, START_S, "the manager")

    def link(server: str) -> None:
        links.publish(msg.LinkQuality(server=server, uplink_bps=2e7, rtt_s=0.01, connected=True))

    profiles["car"].publish(profile(0.5))
    for wrong, words in (
        ({"model_id": "another"}, "the edge1 runs another,"),
        ({"node_seconds": array("d", [float("nan")] * len(CARD.dag.nodes))}, "edge1 is not used"),
        ({"node_names": ["a", "b"]}, "edge1 is not used"),
    ):
        profiles["edge1/edge"].publish(profile(0.01, **wrong))
        ros.spin_until(partial(said, manager, words), 10.0, words)
    profiles["edge2/edge"].publish(profile(0.01))
    link("edge1")
    link("edge2")
    ros.spin_until(lambda: plans and plans[-1].boundary, 10.0, "a plan that sends")
    assert (list(plans[-1].sites), list(plans[-1].spares)) == (["car", "edge2"], [])
    # A server that nobody named has no say; the other one, known at last, can stand in.
    link("edge3")
    profiles["edge1/edge"].publish(profile(0.013))
    ros.spin_until(lambda: list(plans[-1].spares) == ["edge1"], 10.0, "a spare")
    told = plans[-1]
    assert list(told.sites) == ["car", "edge2"]
    assert told.spare_remote_s[0] == pytest.approx(
        told.predicted_hop_s[0] + 1.3 * told.predicted_site_s[1], rel=0.1
    )
    profiles["edge2/edge"].publish(profile(0.01, draining=True))
    ros.spin_until(lambda: list(plans[-1].sites) == ["car", "edge1"], 10.0, "the other server")
    assert list(plans[-1].spares) == []


def test_an_answer_counts_only_from_the_server_that_was_asked(ros: RosWorld) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    node = ros.node("servers")
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    tensor_qos = qos.tensor_qos(True, 10)
    answers = {
        name: node.create_publisher(msg.InferenceResult, f"{name}/edge_result", tensor_qos)
        for name in SERVERS
    }
    frames: dict[str, list[msg.HeadTensor]] = {
        name: ros.collect(msg.HeadTensor, f"{name}/head_tensor", tensor_qos) for name in SERVERS
    }
    head = ros.start(
        "head",
        {"threads": 1, "servers": SERVERS, "plan_timeout_s": 600.0, "deadline_s": 2.0},
    )
    ros.spin_until(plans.get_subscription_count, START_S, "the head")

    def plan(epoch: int, *servers: str) -> msg.PartitionPlan:
        own, *spares = servers
        return msg.PartitionPlan(
            epoch=epoch, model_id=CARD.model_id, exit=len(CARD.dag.exits),
            boundary=[CARD.dag.input], codec="f32", deadline_s=2.0, max_in_flight=4,
            sites=["car", own], predicted_site_s=[0.01, 0.01], predicted_hop_s=[0.01],
            predicted_hop_bytes=[1000], spares=spares, spare_remote_s=[0.02] * len(spares),
            spare_transfer_s=[0.01] * len(spares),
        )  # fmt: skip

    plans.publish(plan(1, "edge3"))
    ros.spin_until(lambda: "edge server 'edge3'" in head.output(), 10.0, "the refusal")
    plans.publish(plan(2, "edge1", "edge2"))
    # Each server that may be asked hears at once what it will have to compute.
    ros.spin_until(lambda: all(frames.values()), 20.0, "the announcements")
    ros.start("camera", {"rate_hz": 2.0})

    def answer(to: msg.HeadTensor, name: str, over: str) -> None:
        answers[over].publish(
            msg.InferenceResult(
                frame_number=to.frame_number, session=to.session, server=name, site=name,
                exit=to.exit, place=EDGE, class_id=1, label="x", score=0.9,
                top_classes=[1], top_scores=[0.9], sent_echo_s=to.sent_s,
            )
        )  # fmt: skip

    ros.spin_until(lambda: frames["edge1"][-1].frame_number, START_S, "a frame")
    first = frames["edge1"][-1]
    assert first.server == "edge1"
    answer(first, "edge2", "edge1")  # on a topic that is not its own
    answer(first, "edge2", "edge2")  # nobody asked it yet
    # The first one is silent, so the other one is asked, with the same bytes, and answers.
    ros.spin_until(
        lambda: first.frame_number in {f.frame_number for f in frames["edge2"]}, 5.0, "the resend"
    )
    again = next(f for f in frames["edge2"] if f.frame_number == first.frame_number)
    assert (again.server, bytes(again.data) == bytes(first.data)) == ("edge2", True)
    assert first.frame_number not in {r.frame_number for r in results}
    answer(again, "edge2", "edge2")
    ros.spin_until(
        lambda: first.frame_number in {r.frame_number for r in results}, 5.0, "its result"
    )
    result = next(r for r in results if r.frame_number == first.frame_number)
    assert (result.site, result.server, result.place) == ("edge2", "edge2", EDGE)
    assert "edge1" in result.detail
