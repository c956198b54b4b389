"""A replay's plans and results, as a bag."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.frames import BagFrame, FrameStore
from dapdee_ros.bags.message_types import (
    INFERENCE_RESULT,
    LINK_QUALITY,
    PARTITION_PLAN,
    message_types,
    new_message,
)
from dapdee_ros.bags.replayed_run import ReplayedFrame, ReplayedRun
from dapdee_ros.bags.shown_answers import INFO_TOPICS, TOPICS_OF, infos, mono8, shown
from dapdee_ros.bags.writer import BagWriter, offered_qos
from dapdee_ros.core.frames import Place
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.planning.plan import NO_CODEC
from dapdee_ros.simulation.outcomes import DecidedPlan
from dapdee_ros.tasks.task import NO_ANSWER, Task, task_of

TOPICS = {"inference": INFERENCE_RESULT, "plan": PARTITION_PLAN, "link_quality": LINK_QUALITY}
"""Topics of every result bag with their types; named as those of the nodes."""

_CAR_ID = ""  # a bag's images do not name their car
_SECOND_NS = 1_000_000_000


def write_result_bag(
    path: Path,
    storage: str,
    run: ReplayedRun,
    card: ModelCard,
    store: FrameStore,
    arrivals_s: NDArray[np.float64],
) -> None:
    """Write one policy's run.

    A result carries its image's header, and is recorded at the time it would have arrived: the
    frame's recording time plus its latency. Plans and link estimates are placed between the frames
    as in the run, by both clocks.

    Args:
        path: the bag's folder, which must not exist.
        storage: ``mcap`` or ``sqlite3``.
        run: the run.
        card: the model.
        store: its frames.
        arrivals_s: their arrival in the run, float64 ``(n,)``.

    Raises:
        BagError: if it cannot be written; then nothing is left behind.
    """
    log_clock = _Clock(arrivals_s, [frame.log_ns for frame in store.frames])
    task = task_of(card)
    stamp_clock = _Clock(arrivals_s, [frame.stamp_ns for frame in store.frames])
    messages: list[tuple[int, str, Any]] = []
    for replayed in run.frames:
        frame = store.frames[replayed.index]
        log_ns = frame.log_ns + round(replayed.outcome.result.latency_s * _SECOND_NS)
        messages.append((log_ns, "/inference", _result(replayed, frame, task)))
        header = _header(frame.stamp_ns, frame.frame_id)
        on_edge = replayed.outcome.result.place is Place.EDGE
        for name, message in shown(replayed.answer, card.labels, header, on_edge=on_edge).items():
            messages.append((log_ns, f"/{name}", message))
    first = store.frames[0]
    for name, message in infos(card.name, card.labels, _header(first.stamp_ns)).items():
        messages.append((first.log_ns, f"/{name}", message))
    for decided in run.plans:
        stamp_ns = stamp_clock.at(decided.at_s)
        messages.append((log_clock.at(decided.at_s), "/plan", _plan(decided, stamp_ns, run, card)))
    for at_s, link in run.links:
        messages.append((log_clock.at(at_s), "/link_quality", _link(link, stamp_clock.at(at_s))))
    with BagWriter(path, storage) as writer:
        for name, kind in (TOPICS | TOPICS_OF[task.name] | INFO_TOPICS).items():
            latched = name == "plan" or name in INFO_TOPICS
            writer.add_topic(f"/{name}", kind, offered_qos(latched=latched))
        for log_ns, topic, message in sorted(messages, key=lambda entry: entry[0]):
            writer.write(topic, log_ns, message)


class _Clock:
    """Maps the run's time to a clock of the bag: exact at each frame, linear in between."""

    def __init__(self, arrivals_s: NDArray[np.float64], clock_ns: list[int]) -> None:
        self._arrivals_s = arrivals_s
        self._zero_ns = clock_ns[0]
        # Relative to the first: a float holds no nanoseconds since 1970.
        self._offsets_s = np.array([(ns - clock_ns[0]) / _SECOND_NS for ns in clock_ns])

    def at(self, now_s: float) -> int:
        offset_s = float(np.interp(now_s, self._arrivals_s, self._offsets_s))
        # After the last frame, time continues at the run's own rate.
        offset_s += max(0.0, now_s - float(self._arrivals_s[-1]))
        return self._zero_ns + round(offset_s * _SECOND_NS)


def _header(stamp_ns: int, frame_id: str = "") -> Any:
    sec, nanosec = divmod(stamp_ns, _SECOND_NS)
    stamp = new_message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return new_message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def _answer(task: Task, answer: Any, header: Any) -> dict[str, Any]:
    """An answer's fields, with sequences as the arrays that a bag's messages hold."""
    fields = NO_ANSWER | {
        name: np.array(value, NO_ANSWER[name].dtype) if isinstance(value, tuple) else value
        for name, value in task.fields(answer).items()
    }
    return fields | {"class_map": mono8(fields["class_map"], header)}


def _result(replayed: ReplayedFrame, frame: BagFrame, task: Task) -> Any:
    result, plan = replayed.outcome.result, replayed.plan
    sent = result.sent_bytes > 0
    header = _header(frame.stamp_ns, frame.frame_id)
    kind = message_types().types[INFERENCE_RESULT]
    return new_message(
        INFERENCE_RESULT,
        header=header,
        car_id=_CAR_ID,
        frame_number=result.number,
        session=0,
        status=kind.STATUS_OK,  # type: ignore[attr-defined]
        detail=result.detail,
        **_answer(task, replayed.answer, header),
        exit=result.exit_number,
        place=int(result.place),
        site=result.site,
        plan_epoch=plan.epoch,
        boundary=list(plan.boundary) if sent else [],
        codec=plan.codec if sent else "",
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


def _plan(decided: DecidedPlan, stamp_ns: int, run: ReplayedRun, card: ModelCard) -> Any:
    plan = decided.plan
    return new_message(
        PARTITION_PLAN,
        header=_header(stamp_ns),
        car_id=_CAR_ID,
        epoch=decided.epoch,
        model_id=card.model_id,
        exit=plan.exit_number,
        boundary=list(plan.boundary),
        codec="" if plan.codec == NO_CODEC else plan.codec,
        gate=plan.gate or 0,
        gate_threshold=plan.gate_threshold or 0.0,
        latency_weight=plan.objective.latency,
        period_weight=plan.objective.period,
        energy_weight=plan.objective.energy_s_per_j,
        load_score=math.nan,
        deadline_s=run.log.settings["deadline_s"],
        max_in_flight=run.log.settings["max_in_flight"],
        sites=[stage.site for stage in plan.stages],
        predicted_site_s=np.array([stage.seconds for stage in plan.stages], np.float64),
        predicted_hop_s=np.array([hop.seconds for hop in plan.crossings], np.float64),
        predicted_hop_bytes=np.array([round(h.sent_bytes) for h in plan.crossings], np.uint32),
        predicted_latency_s=plan.expected_latency_s,
        predicted_period_s=plan.period_s,
        predicted_energy_j=plan.energy_j,
        predicted_quality=plan.quality,
        late=plan.late,
        policy=run.policy,
        reason=decided.why,
    )


def _link(link: LinkEstimate, stamp_ns: int) -> Any:
    return new_message(
        LINK_QUALITY,
        header=_header(stamp_ns),
        car_id=_CAR_ID,
        uplink_bps=link.uplink_bps,
        rtt_s=link.rtt_s,
        loss_ratio=link.loss_ratio,
        connected=link.connected,
        age_s=link.age_s,
        uplink_spread=link.relative_spread,
        measurements=link.measurements,
    )
