"""EDDI, as the DAPDEE paper compares with it: early exits and minimum cuts between blocks.

The deepest exit whose minimum cut meets the deadline, on a graph in which each block (everything
between two tensors that all ways pass) is one node: a branchy block is never split.
"""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.partition.codec_cost import CodecCost, TensorCost
from dapdee_ros.partition.device_profile import DeviceProfile
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policies.light_cut import light_plan
from dapdee_ros.partition.policy import Problem, Situation


class Eddi:
    """From the deepest exit up: minimum cut of the block chain; the first in time is taken."""

    def __init__(self, problem: Problem, codec: str = "f32") -> None:
        """Plan for this problem."""
        self._problem = problem.with_codecs(codec)
        exits = range(len(problem.dag.exits), 0, -1)
        self._chains = {number: _block_chain(self._problem, number) for number in exits}

    def plan(self, situation: Situation) -> Plan:
        """The deepest exit in time, else the fastest."""
        seen = []
        for number, chain in self._chains.items():
            cut = light_plan(chain, 1, situation, "")
            plan = situation.price(
                self._problem, number, cut.boundary, cut.codec,
                "minimum cut between blocks, the deepest exit in time",
            )  # fmt: skip
            if not plan.late:
                return plan
            seen.append(plan)
        return min(seen, key=lambda plan: plan.latency_s)


def _block_chain(problem: Problem, exit_number: int) -> Problem:
    """One exit's part as a chain of blocks, with the blocks' times.

    A node lies on all ways from the input to the exit if the ways through it are all ways there
    are; whole numbers make the comparison exact.
    """
    dag = problem.dag
    sink = dag.exit_sink(exit_number)
    part = dag.ancestors([sink])
    nodes = [node for node in dag.nodes if node.name in part]
    ways_to = {dag.input: 1}
    for node in nodes[1:]:
        ways_to[node.name] = sum(ways_to[name] for name in node.inputs)
    ways_from = dict.fromkeys(part, 0) | {sink: 1}
    for node in reversed(nodes):
        for name in node.inputs:
            ways_from[name] += ways_from[node.name]

    blocks: list[Node] = []
    car_s, edge_s = {}, {}
    car = edge = 0.0
    for node in nodes:
        car += problem.car.node_seconds[node.name]
        edge += problem.edge.node_seconds[node.name]
        if ways_to[node.name] * ways_from[node.name] == ways_to[sink]:
            before = (blocks[-1].name,) if blocks else ()
            blocks.append(
                Node(
                    node.name,
                    node.op,
                    before,
                    node.shape,
                    node.dtype,
                    node.output_bytes,
                    node.flops,
                )
            )
            car_s[node.name], edge_s[node.name] = car, edge
            car = edge = 0.0
    return Problem(
        ModelDag(tuple(blocks), (sink,)),
        _with_seconds(problem.car, car_s),
        _with_seconds(problem.edge, edge_s),
        [problem.exit_accuracy[exit_number - 1]],
        [_ForExit(codec, exit_number) for codec in problem.codecs],
    )


@dataclass(frozen=True)
class _ForExit:
    """A codec in a network whose only exit is exit ``number`` of the whole one."""

    codec: CodecCost
    number: int

    @property
    def name(self) -> str:
        """The codec's own name."""
        return self.codec.name

    def tensor(self, node: Node) -> TensorCost | None:
        """As for the whole network: blocks bear the names of real tensors."""
        return self.codec.tensor(node)

    def accuracy_loss(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        """What the exit loses in the whole network."""
        return self.codec.accuracy_loss(self.number, boundary)


def _with_seconds(profile: DeviceProfile, seconds: dict[str, float]) -> DeviceProfile:
    return DeviceProfile(
        profile.model_id, profile.device, profile.threads, seconds, profile.created
    )
