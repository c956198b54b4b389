"""The lowest latency of one exit as a minimum cut (after DADS, corrected).

C. Hu, W. Bao, D. Wang, F. Liu: Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge,
IEEE INFOCOM 2019, reduces the split with the lowest latency to a minimum cut: source d is the car,
sink e the edge server, an arc d->v is cut if v runs on the edge server and costs t_e(v), v->e is
cut if v runs on the car and costs t_d(v), and v->w costs the transfer of v's tensor. A tensor with
several readers is charged once, through an auxiliary vertex.

The published graph needs two corrections, both on by default:

- ``one_way``: an infinite arc from each reader back to what it reads. Without it a node on the edge
  server may feed one on the car, at no cost for the way back: such a "split" is none.
- ``pin_input``: an infinite arc from d to the input, which is where the camera is. Without it the
  input may "start" on the edge server and its upload is free.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import networkx

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.codec_cost import CodecCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.policy import Problem, Situation

# Times become whole picoseconds: flows over integers end exactly, and rounding stays far below
# what any clock can measure.
_PER_SECOND = 1e12


@dataclass(frozen=True)
class CutCosts:
    """What one exit's nodes and tensors cost now, slowdowns counted in.

    Attributes:
        car_s: seconds on the car by node of the exit's part, in topological order.
        edge_s: seconds on the edge server, likewise.
        on_air_s: seconds that a node's tensor occupies the link; a tensor that the codec does not
            code is missing and is never sent.
        encode_s: seconds to encode it on the car, and what its bytes take there.
        decode_s: seconds to decode it on the edge server, likewise.
        rtt_s: round trip and what crossing costs both sides, paid once if anything is sent. What
            every frame costs the car is left out: no cut changes it.
        outputs: the exit's output nodes.
    """

    car_s: Mapping[str, float]
    edge_s: Mapping[str, float]
    on_air_s: Mapping[str, float]
    encode_s: Mapping[str, float]
    decode_s: Mapping[str, float]
    rtt_s: float
    outputs: tuple[str, ...]

    @classmethod
    def of(
        cls,
        dag: ModelDag,
        exit_number: int,
        car: DeviceProfile,
        edge: DeviceProfile,
        codec: CodecCost,
        situation: Situation,
    ) -> CutCosts:
        """The costs of an exit in a situation; an unusable link sends no tensor.

        Raises:
            PlanningError: if there is more than one hop.
        """
        if len(situation.hops) != 1:
            raise PlanningError(f"a minimum cut is over one hop, there are {len(situation.hops)}")
        (on_car, on_edge), link = situation.sites, situation.link
        part = dag.exit_part(exit_number)
        nodes = [node for node in dag.nodes if node.name in part]
        coded = {node.name: codec.tensor(node) for node in nodes} if link.usable else {}
        sent = {name: cost for name, cost in coded.items() if cost is not None}
        return cls(
            {n.name: on_car.slowdown * car.node_seconds[n.name] for n in nodes},
            {n.name: on_edge.slowdown * edge.node_seconds[n.name] for n in nodes},
            {name: 8 * cost.coded_bytes / link.rate_bps for name, cost in sent.items()},
            {
                name: on_car.slowdown * (cost.encode_s + car.boundary_s([dag.by_name[name]]))
                + on_car.overhead.s_per_byte * cost.coded_bytes
                for name, cost in sent.items()
            },
            {
                name: on_edge.slowdown * (cost.decode_s + edge.boundary_s([dag.by_name[name]]))
                + on_edge.overhead.s_per_byte * cost.coded_bytes
                for name, cost in sent.items()
            },
            link.rtt_s + on_car.overhead.crossing_s + on_edge.overhead.seconds((0,)),
            dag.exit_outputs(exit_number),
        )

    @classmethod
    def of_situation(
        cls, problem: Problem, exit_number: int, codec: CodecCost, situation: Situation
    ) -> CutCosts:
        """The costs of a problem's exit with one codec in a situation."""
        return cls.of(problem.dag, exit_number, problem.car, problem.edge, codec, situation)

    def without(self, names: Collection[str]) -> CutCosts:
        """The same where these tensors may not be sent."""
        sent = {name: s for name, s in self.on_air_s.items() if name not in names}
        return replace(self, on_air_s=sent)


@dataclass(frozen=True)
class Split:
    """A head with the three times of its split, in s.

    Attributes:
        head: nodes on the car.
        boundary: tensors that are sent.
        head_s: T_d, encoding included.
        on_air_s: time the boundary occupies the link.
        rtt_s: the round trip, 0 if nothing is sent.
        edge_s: T_e, decoding included.
    """

    head: frozenset[str]
    boundary: tuple[str, ...]
    head_s: float
    on_air_s: float
    rtt_s: float
    edge_s: float

    @property
    def latency_s(self) -> float:
        """T_d + T_t + T_e."""
        return self.head_s + self.rtt_s + self.on_air_s + self.edge_s

    @property
    def period_s(self) -> float:
        """The slowest of car, link and edge server."""
        return max(self.head_s, self.on_air_s, self.edge_s)


def split_of(dag: ModelDag, exit_number: int, head: frozenset[str], costs: CutCosts) -> Split:
    """A head's times under these costs."""
    boundary = dag.boundary(head, exit_number)
    return Split(
        head,
        boundary,
        sum(s for name, s in costs.car_s.items() if name in head)
        + sum(costs.encode_s[name] for name in boundary),
        sum(costs.on_air_s[name] for name in boundary),
        costs.rtt_s if boundary else 0.0,
        sum(s for name, s in costs.edge_s.items() if name not in head)
        + sum(costs.decode_s[name] for name in boundary),
    )


def fastest_split(dag: ModelDag, exit_number: int, costs: CutCosts) -> Split:
    """The split of an exit with the lowest latency.

    The graph has no arc for the round trip, which is paid once if anything is sent. It is enough
    to compare the minimum cut with the car alone: whatever else sends pays it too.
    """
    alone = split_of(dag, exit_number, frozenset(costs.car_s), costs)
    split = split_of(dag, exit_number, minimum_cut(dag, costs), costs)
    return split if split.latency_s < alone.latency_s else alone


def minimum_cut(
    dag: ModelDag,
    costs: CutCosts,
    *,
    car_factor: float = 1.0,
    edge_factor: float = 1.0,
    one_way: bool = True,
    pin_input: bool = True,
    on_car: Collection[str] = (),
    flow_func: Callable[..., Any] | None = None,
) -> frozenset[str]:
    """Nodes on the car in a minimum cut of the graph above.

    Args:
        dag: the network.
        costs: what its nodes and tensors cost.
        car_factor: scales all car times (alpha of the heavy-load search).
        edge_factor: scales all edge times (its gamma).
        one_way: the first correction.
        pin_input: the second correction.
        on_car: nodes that have to run on the car.
        flow_func: a flow function of networkx; None takes its default.
    """
    graph = cut_graph(dag, costs, car_factor, edge_factor, one_way, pin_input, on_car)
    _, (car_side, _) = networkx.minimum_cut(graph, CAR_SIDE, EDGE_SIDE, flow_func=flow_func)
    return frozenset(name for kind, name in car_side if kind == "node")


# Source and sink. Vertices are pairs, so that no node's name can be that of another kind of vertex.
CAR_SIDE, EDGE_SIDE = ("side", "car"), ("side", "edge")
_ANSWER = ("answer", "")


def cut_graph(
    dag: ModelDag,
    costs: CutCosts,
    car_factor: float = 1.0,
    edge_factor: float = 1.0,
    one_way: bool = True,
    pin_input: bool = True,
    on_car: Collection[str] = (),
) -> networkx.DiGraph:
    """The flow network; see ``minimum_cut``. Capacities are whole picoseconds."""
    car = {name: _whole(car_factor * s) for name, s in costs.car_s.items()}
    edge = {name: _whole(edge_factor * s) for name, s in costs.edge_s.items()}
    sent = {
        # A codec that spares the car something may cost less than nothing, but a capacity cannot.
        name: _whole(
            max(0.0, s + car_factor * costs.encode_s[name] + edge_factor * costs.decode_s[name])
        )
        for name, s in costs.on_air_s.items()
    }
    # More than all finite arcs together: the cut of all v->e is finite and cheaper than this, so
    # no minimum cut holds an arc of this capacity.
    never = 1 + sum(car.values()) + sum(edge.values()) + sum(sent.values())

    # The answer is decoded from all outputs in one place, as if a node read them. The only output
    # of an exit needs none: it is in the head only if everything is.
    several = len({*costs.outputs}) > 1
    graph = networkx.DiGraph()
    for name in car:
        vertex = ("node", name)
        graph.add_edge(CAR_SIDE, vertex, capacity=edge[name])
        graph.add_edge(vertex, EDGE_SIDE, capacity=car[name])
        readers = [("node", reader) for reader in dag.readers[name] if reader in car]
        if name in costs.outputs and several:
            readers.append(_ANSWER)
        if not readers:
            continue
        tail = vertex
        if len(readers) > 1:
            tail = ("sent", name)
            graph.add_edge(vertex, tail, capacity=sent.get(name, never))
        for reader in readers:
            capacity = never if len(readers) > 1 else sent.get(name, never)
            graph.add_edge(tail, reader, capacity=capacity)
            if one_way:
                graph.add_edge(reader, vertex, capacity=never)
    if pin_input:
        graph.add_edge(CAR_SIDE, ("node", dag.input), capacity=never)
    for name in on_car:
        graph.add_edge(CAR_SIDE, ("node", name), capacity=never)
    return graph


def _whole(seconds: float) -> int:
    return round(seconds * _PER_SECOND)
