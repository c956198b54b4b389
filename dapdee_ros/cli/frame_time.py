"""Where a frame's time goes, for `dapdee profile`: measured parts, a table, a drawing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.planning.breakdown import Piece
    from dapdee_ros.planning.device_profile import DeviceProfile
    from dapdee_ros.planning.pinned import PinnedPlan
    from dapdee_ros.planning.sites import Hop

_WIDTH = 46


@dataclass(frozen=True)
class Beside:
    """What a frame costs this machine beside the network, as either side; empty without ROS."""

    car: dict[str, Any]
    edge: dict[str, Any]


def plan_asked(card: ModelCard, text: str) -> PinnedPlan:
    """The plan to show, the whole network on the car if none is named.

    Raises:
        CommandError: if it does not fit the model, or has a gate.
    """
    from dapdee_ros.graph.cuts import head_of
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.planning.pinned import PinnedPlan, parse_pinned

    try:
        plan = parse_pinned(text) or PinnedPlan(len(card.dag.exits))
        head_of(card.dag, plan.exit_number, plan.boundary)
    except (PlanningError, GraphError) as error:
        raise CommandError(f"--plan: {error}") from error
    if plan.gate is not None:
        raise CommandError("--plan: a frame that no gate ends is shown; leave the gate out")
    return plan


def measure_beside(card: ModelCard) -> Beside:
    """Measure this machine's parts; empty where ROS is not installed."""
    try:
        from dapdee_ros.nodes.own_overhead import car_parts, edge_parts
    except ImportError:
        return Beside({}, {})
    from dapdee_ros.tasks.task import task_of

    task = task_of(card)
    return Beside(car_parts(card, task), edge_parts(card, task))


def with_overhead(profile: DeviceProfile, beside: Beside, side: str) -> DeviceProfile:
    """The profile with what a frame costs the machine as that side."""
    if not beside.car:
        return profile
    from dapdee_ros.nodes.own_overhead import car_overhead_of, edge_overhead_of
    from dapdee_ros.planning.sites import CAR

    parts = car_overhead_of(beside.car) if side == CAR else edge_overhead_of(beside.edge)
    return replace(profile, overhead=parts)


def frame_time(
    card: ModelCard,
    plan: PinnedPlan,
    car: DeviceProfile,
    edge: DeviceProfile,
    beside: Beside,
    hop: Hop,
    edge_measured: bool,
) -> Piece:
    """A frame of the plan, by where its time goes.

    Args:
        card: the model.
        plan: the plan.
        car: profile of this machine.
        edge: that of the edge server.
        beside: what was measured here.
        hop: the link.
        edge_measured: whether the edge server is this machine too; otherwise what its own profile
            says it costs is one piece.

    Raises:
        CommandError: if the codec was not measured at the boundary.
    """
    from dapdee_ros.planning.breakdown import Way, frame_pieces
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.planning.from_card import problem_of

    way = Way()
    if plan.boundary:
        try:
            codec = problem_of(card, car, edge, [plan.codec]).basis.codec(plan.codec)
        except PlanningError as error:
            raise CommandError(f"--plan: {error}") from error
        costs = [codec.tensor(card.dag.by_name[name]) for name in plan.boundary]
        if None in costs:
            raise CommandError(f"--plan: codec {plan.codec} was not measured at this boundary")
        coded, encode_s, decode_s = (sum(column) for column in zip(*costs, strict=True))
        way = Way(plan.boundary, coded, encode_s, decode_s, hop)
    on_car: dict[str, float] = {}
    on_edge: dict[str, float] = {}
    if beside.car:
        from dapdee_ros.nodes.own_overhead import seconds_for

        on_car = seconds_for(beside.car, way.sent_bytes)
        on_edge = seconds_for(beside.edge, way.sent_bytes)
    if not edge_measured:
        on_edge = {"message": edge.overhead.seconds((way.sent_bytes,))}
    return frame_pieces(card.dag, plan.exit_number, way, car, edge, on_car, on_edge)


def table(whole: Piece) -> str:
    """The pieces as text, one per line."""
    from dapdee_ros.planning.breakdown import rows_of

    lines = []
    for level, name, seconds, share in rows_of(whole):
        words = f"{'  ' * level}{name}"
        if len(words) > _WIDTH:
            words = f"{words[: _WIDTH - 1]}…"
        lines.append(f"{words:{_WIDTH}}{1e3 * seconds:9.3f} ms {100 * share:5.1f} %")
    return "\n".join(lines)


def draw(whole: Piece, title: str, stem: Path) -> list[Path]:
    """Draw the pieces; returns the files."""
    from dapdee_ros.planning.flame import draw_frame

    return draw_frame(whole, title, stem)
