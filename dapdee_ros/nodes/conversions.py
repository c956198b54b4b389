"""Converts messages to the runtime's types and back; nothing is decided here."""

from __future__ import annotations

import math
from array import array
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.codecs import TensorSpec
from dapdee_ros.codecs.class_maps import deflated_map
from dapdee_ros.core.frames import (
    FramePlan,
    FrameResult,
    HeadFrame,
    Place,
    Server,
    Status,
    TailAnswer,
)
from dapdee_ros.core.ledger import LedgerSummary
from dapdee_ros.core.manager_events import ResultCame, TellPlan
from dapdee_ros.nodes.images import class_map_to_image
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.device_profile import DeviceProfile, codec_times_in
from dapdee_ros.planning.errors import ObjectiveError, PlanningError, ProfileError
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.plan import NO_CODEC
from dapdee_ros.planning.sites import EDGE
from dapdee_ros.tasks.task import Task


def head_frame_to_message(frame: HeadFrame, header: Header, car_id: str = "") -> msg.HeadTensor:
    """The message that sends a frame to the edge, with its image's header."""
    tensors = [
        msg.TensorSpec(
            name=spec.name,
            dtype=spec.dtype,
            shape=list(spec.shape),
            scale=array("f", spec.scale),
            zero_point=array("f", spec.zero_point),
            offset=spec.offset,
            length=spec.length,
        )
        for spec in frame.specs
    ]
    message = msg.HeadTensor(
        header=header,
        car_id=car_id,
        frame_number=frame.number,
        session=frame.session,
        sent_s=frame.sent_s,
        model_id=frame.model_id,
        answer_within_s=frame.answer_within_s,
        server=_within(frame.server, 64),
        exit=frame.exit_number,
        codec=frame.codec,
        tensors=tensors,
    )
    message.data = frame.data
    return message


def message_to_head_frame(message: msg.HeadTensor) -> HeadFrame:
    """A received frame; nothing in it is trusted yet. The data is not copied."""
    return HeadFrame(
        number=message.frame_number,
        session=message.session,
        sent_s=message.sent_s,
        model_id=message.model_id,
        exit_number=message.exit,
        codec=message.codec,
        specs=[
            TensorSpec(
                name=t.name,
                dtype=t.dtype,
                shape=tuple(t.shape),
                scale=t.scale,
                zero_point=t.zero_point,
                offset=t.offset,
                length=t.length,
            )
            for t in message.tensors
        ],
        data=message.data,
        car_id=message.car_id,
        context=message.header,
        answer_within_s=message.answer_within_s,
        server=message.server,
    )


def _within(text: str, most: int) -> str:
    """A string cut to its field's bound in ``msg/``: receivers would refuse a longer one."""
    return text if len(text) <= most else text[: most - 4] + " ..."


def _fill(
    message: msg.InferenceResult, answer: Any | None, task: Task, *, over_link: bool = False
) -> None:
    for name, value in task.fields(answer).items():
        if isinstance(value, str):
            setattr(message, name, _within(value, 256))
        elif name != "class_map":
            setattr(message, name, value)
        elif over_link:
            message.deflated_class_map = array("B", deflated_map(value))
        else:
            message.class_map = class_map_to_image(value, message.header)


def tail_answer_to_message(
    answer: TailAnswer, header: Header, task: Task, car_id: str = ""
) -> msg.InferenceResult:
    """The edge's answer to a head."""
    message = msg.InferenceResult(
        header=header,
        car_id=car_id,
        frame_number=answer.number,
        session=answer.session,
        status=int(answer.status),
        detail=_within(answer.detail, 1024),
        exit=answer.exit_number,
        place=int(Place.EDGE),
        site=_within(answer.server, 64),
        server=_within(answer.server, 64),
        tail_s=answer.tail_s,
        sent_bytes=answer.received_bytes,
        residence_s=answer.residence_s,
        sent_echo_s=answer.sent_echo_s,
        car_slowdown=math.nan,
        edge_slowdown=answer.edge_slowdown,
        send_interval_s=answer.send_interval_s,
    )
    _fill(message, answer.answer, task, over_link=True)
    return message


def message_to_tail_answer(
    message: msg.InferenceResult, task: Task, server: str = EDGE
) -> TailAnswer:
    """An answer that was received from an edge server of this name."""
    known = message.status in Status._value2member_map_
    return TailAnswer(
        number=message.frame_number,
        session=message.session,
        status=Status(message.status) if known else Status.ERROR,
        detail=message.detail,
        answer=task.answer_in(message) if message.status == Status.OK else None,
        exit_number=message.exit,
        tail_s=message.tail_s,
        residence_s=message.residence_s,
        sent_echo_s=message.sent_echo_s,
        received_bytes=message.sent_bytes,
        edge_slowdown=message.edge_slowdown,
        context=message,
        send_interval_s=message.send_interval_s,
        server=server,
    )


def frame_result_to_message(
    result: FrameResult, header: Header, task: Task, car_id: str = ""
) -> msg.InferenceResult:
    """The one result of a frame, for the autonomy stack."""
    sent = result.sent_bytes > 0
    message = msg.InferenceResult(
        header=header,
        car_id=car_id,
        frame_number=result.number,
        session=result.session,
        status=msg.InferenceResult.STATUS_OK,
        detail=_within(result.detail, 1024),
        exit=result.exit_number,
        place=int(result.place),
        site=_within(result.site, 64),
        server=_within(result.server, 64),
        plan_epoch=result.plan.epoch,
        boundary=list(result.plan.boundary) if sent else [],
        codec=(result.sent_codec or result.plan.codec) if sent else "",
        head_s=result.head_s,
        transfer_s=result.transfer_s,
        tail_s=result.tail_s,
        latency_s=result.latency_s,
        sent_bytes=result.sent_bytes,
        car_slowdown=result.car_slowdown,
        edge_slowdown=result.edge_slowdown,
        residence_s=result.residence_s,
        sent_echo_s=result.sent_s,
        cpu_wait_s=result.cpu_wait_s,
    )
    _fill(message, result.answer, task)
    return message


def plan_to_message(
    told: TellPlan, *, stamp: Time, model_id: str, car_id: str = ""
) -> msg.PartitionPlan:
    """The message that sends a plan to the head."""
    plan = told.plan
    # The message layer aborts the process on an int or NumPy scalar in a float field, and plans may
    # come from any policy.
    return msg.PartitionPlan(
        header=Header(stamp=stamp),
        car_id=car_id,
        epoch=told.epoch,
        model_id=model_id,
        exit=int(plan.exit_number),
        boundary=list(plan.boundary),
        codec="" if plan.codec == NO_CODEC else plan.codec,
        gate=plan.gate or 0,
        gate_threshold=float(plan.gate_threshold or 0.0),
        latency_weight=float(plan.objective.latency),
        period_weight=float(plan.objective.period),
        energy_weight=float(plan.objective.energy_s_per_j),
        load_score=float(told.load_score),
        deadline_s=float(told.deadline_s),
        max_in_flight=int(told.max_in_flight),
        sites=[_within(stage.site, 64) for stage in plan.stages],
        predicted_site_s=[float(stage.seconds) for stage in plan.stages],
        # A plan that is pinned before there is a link would take forever; the head rejects
        # infinities, and NaN says that it is not known.
        predicted_hop_s=[
            float(hop.seconds) if math.isfinite(hop.seconds) else math.nan for hop in plan.crossings
        ],
        predicted_hop_bytes=[round(hop.sent_bytes) for hop in plan.crossings],
        spares=[_within(spare.name, 64) for spare in told.spares],
        spare_remote_s=[float(spare.remote_s) for spare in told.spares],
        spare_transfer_s=[float(spare.transfer_s) for spare in told.spares],
        predicted_latency_s=float(plan.expected_latency_s),
        predicted_period_s=float(plan.period_s),
        predicted_energy_j=float(plan.energy_j),
        predicted_quality=float(plan.quality),
        late=bool(plan.late),
        policy=_within(told.policy, 256),
        reason=_within(told.why, 1024),
    )


def objective_words(message: msg.PartitionPlan) -> str:
    """What a plan minimises: a name or its weights, empty where they make no sense."""
    try:
        weights = (message.latency_weight, message.period_weight, message.energy_weight)
        return str(Objective(*weights))
    except ObjectiveError:
        return ""


def _remote_s(message: msg.PartitionPlan) -> float:
    """Predicted seconds from sending a boundary to its answer; NaN if a part of them is missing."""
    hop_s, site_s = message.predicted_hop_s, message.predicted_site_s
    if message.boundary and (not hop_s or len(site_s) != len(hop_s) + 1):
        return math.nan
    return sum(hop_s) + sum(site_s[1:])


def _spares(message: msg.PartitionPlan) -> tuple[Server, ...]:
    """The other servers; none if a part of what is said of them is missing."""
    told = (message.spares, message.spare_remote_s, message.spare_transfer_s)
    if len({len(values) for values in told}) > 1:
        return ()
    return tuple(map(Server, *told))


def message_to_frame_plan(message: msg.PartitionPlan) -> FramePlan:
    """The parts of a plan that the head acts on; it checks whether they fit the model."""
    return FramePlan(
        epoch=message.epoch,
        exit_number=message.exit,
        boundary=tuple(message.boundary),
        codec=message.codec,
        gate=message.gate or None,
        gate_threshold=message.gate_threshold,
        predicted_remote_s=_remote_s(message),
        deadline_s=message.deadline_s,
        max_in_flight=message.max_in_flight,
        predicted_transfer_s=sum(message.predicted_hop_s) if message.boundary else math.nan,
        server=message.sites[1] if message.boundary and len(message.sites) > 1 else EDGE,
        spares=_spares(message) if message.boundary else (),
    )


def message_to_result_came(message: msg.InferenceResult) -> ResultCame:
    """The information that the manager takes from a result."""
    return ResultCame(
        message.plan_epoch,
        Place.CAR_FALLBACK if (place := Place.of(message.place)) is None else place,
        message.exit,
        message.latency_s,
        message.head_s,
        message.transfer_s,
        message.car_slowdown,
        message.edge_slowdown,
        message.tail_s,
        message.sent_bytes,
        message.source_bytes,
        message.load_s,
        message.server,
    )


def profile_to_message(
    profile: DeviceProfile, stamp: Time, car_id: str = "", *, draining: bool = False
) -> msg.DeviceProfile:
    """The message of a profile, to be latched."""
    return msg.DeviceProfile(
        header=Header(stamp=stamp),
        car_id=car_id,
        model_id=profile.model_id,
        device=_within(profile.device, 256),
        threads=profile.threads,
        node_names=list(profile.node_seconds),
        node_seconds=array("d", profile.node_seconds.values()),
        draining=draining,
        created=profile.created,
        engine=_within(profile.engine, 128),
        overhead_frame_s=float(profile.overhead.frame_s),
        overhead_crossing_s=float(profile.overhead.crossing_s),
        overhead_s_per_byte=float(profile.overhead.s_per_byte),
        cut_s=float(profile.cut_s),
        cut_s_per_byte=float(profile.cut_s_per_byte),
        compute_w=float(profile.energy.compute_w),
        send_j_per_byte=float(profile.energy.send_j_per_byte),
        wait_w=float(profile.energy.wait_w),
        codec_names=list(profile.codecs),
        codec_seconds=array("d", [s for times in profile.codecs.values() for s in times]),
    )


def message_to_profile(message: msg.DeviceProfile) -> DeviceProfile:
    """A received profile.

    Raises:
        ProfileError: if it is invalid.
    """
    names, seconds = message.node_names, message.node_seconds
    if len(names) != len(seconds):
        raise ProfileError(f"{len(names)} nodes with the seconds of {len(seconds)}")
    node_seconds = dict(zip(names, seconds, strict=True))
    if len(node_seconds) < len(names):
        raise ProfileError("a node is named twice")
    try:
        energy = EnergyPrices(message.compute_w, message.send_j_per_byte, message.wait_w)
    except PlanningError as error:
        raise ProfileError(f"energy: {error}") from error
    profile = DeviceProfile(
        model_id=message.model_id,
        device=message.device,
        threads=message.threads,
        node_seconds=node_seconds,
        created=message.created,
        engine=message.engine,
        overhead=Overhead(
            message.overhead_frame_s, message.overhead_crossing_s, message.overhead_s_per_byte
        ),
        cut_s=message.cut_s,
        cut_s_per_byte=message.cut_s_per_byte,
        codecs=codec_times_in(message.codec_names, message.codec_seconds),
        energy=energy,
    )
    profile.check_credible()
    return profile


def ledger_to_message(summary: LedgerSummary, session: int, stamp: Time) -> msg.FrameLedger:
    """The message of the ledger."""
    places = summary.places
    return msg.FrameLedger(
        header=Header(stamp=stamp),
        session=session,
        accepted=summary.accepted,
        results=summary.results,
        drops=summary.drops,
        in_flight=summary.in_flight,
        results_car=places.get(Place.CAR, 0),
        results_edge=places.get(Place.EDGE, 0),
        results_fallback=places.get(Place.CAR_FALLBACK, 0),
        deadline_misses=summary.deadline_misses,
        late_answers=summary.late_answers,
        rejected=summary.rejected,
        drop_reasons=list(summary.reasons),
        drop_counts=array("Q", summary.reasons.values()),
    )
