"""What a plan means for one network: what head and tail have to compute, as names and seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dapdee_ros.codecs.camera_file import CAMERA, WIRE_CODECS
from dapdee_ros.codecs.wire import MOST_TENSORS
from dapdee_ros.core.frames import DEADLINE_BOUNDS_S, WINDOW_BOUNDS, FramePlan
from dapdee_ros.graph.dag import GraphError, ModelDag

if TYPE_CHECKING:
    from dapdee_ros.planning.device_profile import DeviceProfile


@dataclass(frozen=True)
class HeadProgram:
    """A plan, worked out for one network.

    Attributes:
        plan: the plan.
        stages: what to compute, in order: the gate's outputs if there is a gate, then the rest.
        boundary: the tensors to send, in topological order; empty if the car finishes alone.
        outputs: the nodes whose tensors answer, if the car finishes alone; else empty.
        kept: tensors from which any exit can still be finished here.
        gate_profiled_s: profiled seconds up to the gate; NaN without a profile or gate.
        head_profiled_s: profiled seconds of the whole head; NaN without a profile.
        finish_profiled_s: for each exit that the car can still answer with, profiled seconds from
            the kept tensors to it (0 without a profile).
        overhead_s: profiled seconds that a frame costs the car beside the network; a part that
            takes less says nothing of the car's slowdown.
    """

    plan: FramePlan
    stages: tuple[tuple[str, ...], ...]
    boundary: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: tuple[str, ...]
    gate_profiled_s: float
    head_profiled_s: float
    finish_profiled_s: Mapping[int, float]
    overhead_s: float = 0.0


@dataclass(frozen=True)
class TailProgram:
    """What the edge has to do for one (exit, boundary), worked out once.

    Attributes:
        outputs: the nodes whose tensors answer.
        expected: shape and dtype of each tensor that has to come.
        profiled_s: profiled seconds from there to the outputs; NaN without a profile.
    """

    outputs: tuple[str, ...]
    expected: Mapping[str, tuple[tuple[int, ...], str]]
    profiled_s: float


class Programs:
    """Works out plans for a network and the machine that runs it.

    Attributes:
        dag: the network's DAG.
        profile: seconds per node on this machine, or None.
        points: the bottlenecks' points by codec name, with the boundary that each codes.
    """

    def __init__(
        self,
        dag: ModelDag,
        profile: DeviceProfile | None = None,
        points: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.dag = dag
        self.profile = profile
        self.points = dict(points or {})
        self.tail_program = lru_cache(maxsize=256)(self._tail_program)

    @property
    def exit_count(self) -> int:
        """Number of exits."""
        return len(self.dag.exits)

    def alone(self) -> list[HeadProgram]:
        """What the car does without a manager: one program per exit, shallowest first."""
        return [self.head_program(FramePlan(0, n)) for n in range(1, self.exit_count + 1)]

    def profiled_s(self, names: Iterable[str]) -> float:
        """Sum of the profiled seconds of some nodes; NaN without a profile."""
        if self.profile is None:
            return math.nan
        return sum(self.profile.node_seconds.get(name, 0.0) for name in names)

    def _cut_s(self, boundary: Iterable[str]) -> float:
        """What a head or a tail takes in addition for a boundary; NaN without a profile."""
        if self.profile is None:
            return math.nan
        return self.profile.boundary_s(self.dag.by_name[name] for name in boundary)

    def missing_nodes(self, given: Iterable[str], outputs: Sequence[str]) -> frozenset[str]:
        """Nodes that have to run to get from the given tensors to an exit's outputs.

        Raises:
            GraphError: if a given tensor is not needed, or the given tensors do not suffice.
        """
        given = frozenset(given)
        wanted, used, answer = {*outputs}, set(), " and ".join(map(repr, outputs))
        for node in reversed(self.dag.nodes):
            if node.name not in wanted:
                continue
            if node.name in given:
                used.add(node.name)
            elif not node.inputs:
                raise GraphError(f"the tensors {sorted(given)} do not suffice to compute {answer}")
            else:
                wanted.update(node.inputs)
        if unused := given - used:
            raise GraphError(f"the tensors {sorted(unused)} are of no use to compute {answer}")
        return frozenset(wanted - used)

    def head_program(self, plan: FramePlan) -> HeadProgram:
        """Work out what a plan means for this network.

        Raises:
            GraphError: if the plan does not fit the network; the message says why.
        """
        outputs = self.dag.exit_outputs(plan.exit_number)
        if len(plan.boundary) > MOST_TENSORS:
            raise GraphError(f"a boundary of {len(plan.boundary)}, at most {MOST_TENSORS} may be")
        unknown = [name[:80] for name in plan.boundary if name not in self.dag.by_name]
        if unknown:
            raise GraphError(f"boundary nodes {unknown[:5]} are not in this model")
        if len(set(plan.boundary)) < len(plan.boundary):
            raise GraphError(f"the boundary {list(plan.boundary)} names a tensor twice")
        _check_servers(plan)
        _check_bounds("deadline_s", plan.deadline_s, DEADLINE_BOUNDS_S)
        _check_bounds("max_in_flight", plan.max_in_flight, WINDOW_BOUNDS)
        if plan.boundary:
            self.missing_nodes(plan.boundary, outputs)
            self._check_codec(plan)
        head = self.dag.ancestors(plan.boundary or outputs)
        order = {node.name: position for position, node in enumerate(self.dag.nodes)}
        boundary = tuple(sorted(plan.boundary, key=order.__getitem__))
        gate_nodes: frozenset[str] = frozenset()
        stages: list[tuple[str, ...]] = []
        if plan.gate is not None:
            gate_outputs = self.dag.exit_outputs(plan.gate)
            if not 0 < plan.gate < plan.exit_number:
                raise GraphError(f"gate {plan.gate} must be shallower than exit {plan.exit_number}")
            if not 0 <= plan.gate_threshold <= 1:
                raise GraphError(f"gate threshold {plan.gate_threshold} is not between 0 and 1")
            gate_nodes = self.dag.ancestors(gate_outputs)
            shared = gate_nodes & self.dag.ancestors(outputs)
            if not shared <= head:
                raise GraphError(f"gate {plan.gate} lies behind the cut {list(boundary)}")
            stages.append(gate_outputs)
        if boundary:
            # An exit whose whole part has run has no boundary: its outputs are what is left of it.
            kept = {
                name
                for exit_ in self._exits_up_to(plan)
                for name in self.dag.boundary(head, exit_) or self.dag.exit_outputs(exit_)
            }
            last = tuple(sorted(kept | set(boundary), key=order.__getitem__))
        else:
            kept, last = set(), outputs
        stages.append(last)
        finish = {}
        for exit_ in self._exits_up_to(plan) if boundary else ():
            rest = self.dag.exit_part(exit_) - head
            seconds = self.profiled_s(rest)
            finish[exit_] = 0.0 if math.isnan(seconds) else seconds
        return HeadProgram(
            plan=plan,
            stages=tuple(stages),
            boundary=boundary,
            outputs=() if boundary else outputs,
            kept=tuple(sorted(kept, key=order.__getitem__)),
            gate_profiled_s=self.profiled_s(gate_nodes) if gate_nodes else math.nan,
            head_profiled_s=self.profiled_s(head | gate_nodes) + self._cut_s(boundary),
            finish_profiled_s=finish,
            overhead_s=self.profile.overhead.frame_s if self.profile is not None else 0.0,
        )

    def _check_codec(self, plan: FramePlan) -> None:
        codec, boundary = plan.codec, list(plan.boundary)
        if codec not in WIRE_CODECS and codec not in self.points:
            known = sorted([*WIRE_CODECS, *self.points])
            raise GraphError(f"codec {codec[:40]!r} is unknown; known: {known}")
        if codec == CAMERA and boundary != [self.dag.input]:
            raise GraphError(
                f"codec {CAMERA!r} sends the camera's own file in place of the input "
                f"{self.dag.input!r}, not {boundary}"
            )
        if codec in self.points and sorted(boundary) != sorted(self.points[codec]):
            raise GraphError(
                f"codec {codec!r} codes {list(self.points[codec])} together, not {boundary}"
            )

    def _tail_program(self, exit_number: int, names: frozenset[str]) -> TailProgram:
        outputs = self.dag.exit_outputs(exit_number)
        unknown = sorted(name[:80] for name in names if name not in self.dag.by_name)
        if unknown:
            raise GraphError(f"tensors {unknown[:5]} are not in this model")
        missing = self.missing_nodes(names, outputs)
        by_name = self.dag.by_name
        return TailProgram(
            outputs=outputs,
            expected={name: (by_name[name].shape, by_name[name].dtype) for name in names},
            profiled_s=self.profiled_s(missing) + self._cut_s(names),
        )

    def _exits_up_to(self, plan: FramePlan) -> range:
        return range(1, plan.exit_number + 1)


def _check_servers(plan: FramePlan) -> None:
    for server in plan.servers:
        if server.remote_s < 0 or math.isinf(server.remote_s):
            raise GraphError(f"the {server.name[:64]} is predicted to take {server.remote_s} s")


def _check_bounds(name: str, value: float | None, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if value is not None and not low <= value <= high:  # a NaN is not between them either
        raise GraphError(f"the plan's {name} is {value:g}, expected {low:g} to {high:g}")
