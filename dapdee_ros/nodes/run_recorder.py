"""The node that records a run: frames with their truth, plans, link, ledger."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, OrderedDict, deque
from pathlib import Path

from rclpy.node import Node

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import Place
from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
from dapdee_ros.files import FileError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import objective_words
from dapdee_ros.nodes.ending import StopProcess
from dapdee_ros.nodes.message_checks import link_fault, result_fault
from dapdee_ros.nodes.parameters import ParameterError, declare_settings
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import RunRecorderSettings
from dapdee_ros.nodes.servers import ServerInUse
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import listen_checking
from dapdee_ros.planning.sites import own_name
from dapdee_ros.report.journal import Journal
from dapdee_ros.report.run_log import DropRecord, FrameRecord, LinkRecord, PlanRecord
from dapdee_ros.tasks.records import NO_ANSWER, Record, Records
from dapdee_ros.tasks.running_quality import RunningQuality
from dapdee_ros.tasks.task import task_of

_TRUTHS_REMEMBERED = 1000


class RunRecorder(Node):
    """Subscribes to all small topics and writes a run log when it ends."""

    def __init__(self) -> None:
        super().__init__("run_recorder")
        self.rejections = Rejections()
        settings = declare_settings(self, RunRecorderSettings)
        self._path = Path(settings.path)
        self._seconds = settings.seconds
        self._verbose = settings.print_status
        self._start_s = settings.started_s or time.monotonic()
        try:
            card = read_card(find_model(settings.model))
            about = json.loads(settings.settings)
        except (ModelFolderError, ValueError) as error:
            raise ParameterError(f"parameters model and settings: {error}") from error
        self._labels, self._task = list(card.labels), task_of(card)
        self._records = Records(self._task.name, self._labels)
        try:
            self._journal = Journal(self._path)
        except FileError as error:
            raise ParameterError(f"parameter path: {error}") from error
        self._journal.note(
            settings=about,
            labels=self._labels,
            exit_count=len(card.dag.exits),
            task=self._task.name,
            quality_name=self._task.quality_name,
            first_result_s=None,
            ledger={},
        )
        self._told_of_loss = False
        self._first_result_s: float | None = None
        self._frames = self._plans = 0
        self._plan: PlanRecord | None = None
        self._last: deque[FrameRecord] = deque(maxlen=10)
        self._quality = RunningQuality(self._records)
        self._dropped: Counter[str] = Counter()
        self._truths: OrderedDict[tuple[int, int], Record] = OrderedDict()
        self._link: msg.LinkQuality | None = None
        self._server = ServerInUse()
        # Before the results: the executor handles the first subscription first, and a result is
        # scored with the truth known at that time.
        listen_checking(
            self, msg.SceneTruth, "truth", self._take_truth, qos.RESULT, self.rejections
        )
        listen_checking(
            self,
            msg.InferenceResult,
            "inference",
            self._take_result,
            qos.RESULT,
            self.rejections,
            check=result_fault,
        )
        listen_checking(
            self, msg.PartitionPlan, "plan", self._take_plan, qos.LATCHED, self.rejections
        )
        listen_checking(
            self,
            msg.PartitionPlan,
            "plan_forecast",
            self._take_forecast,
            qos.STATE,
            self.rejections,
        )
        listen_checking(
            self,
            msg.LinkQuality,
            "link_quality",
            self._take_link,
            qos.LINK,
            self.rejections,
            check=link_fault,
        )
        listen_checking(
            self,
            msg.LinkQuality,
            "link_truth",
            self._take_truth_link,
            qos.STATE,
            self.rejections,
            check=link_fault,
        )
        listen_checking(
            self, msg.FrameLedger, "ledger", self._take_ledger, qos.LATCHED, self.rejections
        )
        every(self, 1.0, self._tick)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Task log."""
        frames = self._frames
        values: dict[str, Value] = {
            "frames": frames,
            "plans": self._plans,
            "lost": self._journal.lost,
            "path": str(self._path),
            "refused": sum(self.rejections.counts.values()),
        }
        if self._journal.lost:
            return {
                "log": Health(
                    Level.ERROR,
                    f"{self._journal.lost} records could not be written: free space on the disk",
                    values,
                )
            }
        if not frames:
            return {"log": Health(Level.STALE, "no result yet: is a head running?", values)}
        return {"log": Health(Level.OK, f"{frames} frames for {self._path}", values)}

    def _now(self) -> float:
        return time.monotonic() - self._start_s

    def _add(self, name: str, record: FrameRecord | PlanRecord | LinkRecord | DropRecord) -> None:
        if not self._journal.add(name, record) and not self._told_of_loss:
            self._told_of_loss = True
            self.get_logger().error(
                f"the log {self._path} cannot be written any more: free space on the disk; "
                "records are lost until then"
            )

    def _take_truth(self, truth: msg.SceneTruth) -> None:
        stamp = (truth.header.stamp.sec, truth.header.stamp.nanosec)
        shown = self._task.truth_in(truth)
        if shown is not None:
            self._truths[stamp] = self._task.record(shown)
        if len(self._truths) > _TRUTHS_REMEMBERED:
            self._truths.popitem(last=False)

    def _take_result(self, result: msg.InferenceResult) -> None:
        now = self._now()
        if self._first_result_s is None:
            self._first_result_s = now
            self._journal.note(first_result_s=now)
        stamp = (result.header.stamp.sec, result.header.stamp.nanosec)
        frame = FrameRecord(
            at_s=now,
            number=result.frame_number,
            answer=self._answer_in(result),
            truth=self._truths.get(stamp),
            score=result.score,
            exit_number=result.exit,
            place="unknown" if (place := Place.of(result.place)) is None else place.word,
            plan_epoch=result.plan_epoch,
            head_s=result.head_s,
            transfer_s=result.transfer_s,
            tail_s=result.tail_s,
            latency_s=result.latency_s,
            sent_bytes=result.sent_bytes,
            codec=result.codec,
            server=own_name(result.server),
        )
        self._add("frames", frame)
        self._frames += 1
        self._last.append(frame)
        self._quality.add(frame.answer, frame.truth)

    def _answer_in(self, result: msg.InferenceResult) -> Record:
        """The answer of any head; ``NO_ANSWER`` if it is not one of the model's."""
        try:
            record: Record = self._task.record(self._task.answer_in(result))
            self._records.read(record)
        except ValueError as error:
            self.get_logger().warning(
                f"a result is recorded without its answer: {error}", throttle_duration_sec=10.0
            )
            return NO_ANSWER
        return record

    def _take_plan(self, plan: msg.PartitionPlan) -> None:
        self._server.on_plan(plan)
        self._plan = self._plan_record(plan)
        self._add("plans", self._plan)
        self._plans += 1

    def _take_forecast(self, plan: msg.PartitionPlan) -> None:
        self._add("forecasts", self._plan_record(plan))

    def _plan_record(self, plan: msg.PartitionPlan) -> PlanRecord:
        return PlanRecord(
            at_s=self._now(),
            epoch=plan.epoch,
            exit_number=plan.exit,
            boundary=list(plan.boundary),
            codec=plan.codec,
            late=plan.late,
            predicted_latency_s=plan.predicted_latency_s,
            reason=plan.reason,
            policy=plan.policy,
            mode=objective_words(plan),
            deadline_s=_finite(plan.deadline_s),
            predicted_quality=_finite(plan.predicted_quality),
            predicted_energy_j=_finite(plan.predicted_energy_j) or 0.0,
        )

    def _take_link(self, link: msg.LinkQuality) -> None:
        if not self._server.is_of(link):
            return
        self._link = link
        self._add("links", self._record(link))

    def _take_truth_link(self, link: msg.LinkQuality) -> None:
        self._add("link_truth", self._record(link))

    def _record(self, link: msg.LinkQuality) -> LinkRecord:
        return LinkRecord(
            at_s=self._now(),
            uplink_bps=_finite(link.uplink_bps),
            rtt_s=_finite(link.rtt_s),
            connected=link.connected,
        )

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        names = ledger.get_fields_and_field_types()
        values = {name: getattr(ledger, name) for name in names if name != "header"}
        self._journal.note(
            ledger={
                name: list(value) if name.startswith("drop_") else value
                for name, value in values.items()
            }
        )
        # The ledger only counts; the log also has times, at the ledger's period.
        counts = Counter(dict(zip(ledger.drop_reasons, ledger.drop_counts, strict=True)))
        for reason, count in (counts - self._dropped).items():
            self._add("drops", DropRecord(at_s=self._now(), reason=reason, count=count))
        self._dropped = counts

    def _tick(self) -> None:
        if self._verbose:
            print(self._status(), flush=True)
        first_s = self._first_result_s
        if self._seconds and first_s is not None and self._now() >= first_s + self._seconds:
            raise StopProcess

    def _status(self) -> str:
        last = self._last
        if not last:
            return f"{self._now():4.0f} s  waiting for the first result"
        latency_ms = 1e3 * sorted(f.latency_s for f in last)[len(last) // 2]
        plan = self._plan
        cut = "no plan yet"
        if plan is not None:
            sent = (
                f"send {'+'.join(plan.boundary)} as {plan.codec}" if plan.boundary else "all on car"
            )
            cut = f"exit {plan.exit_number}, {sent}"
        link = "no link"
        if self._link is not None and self._link.connected:
            link = f"{self._link.uplink_bps / 1e6:5.2f} Mbit/s"
        # One of several edge servers by its name.
        where = last[-1].server if last[-1].place == Place.EDGE.word else ""
        where = where or last[-1].place
        quality, objects = self._quality.quality, self._quality.objects_per_frame
        right = "" if quality is None else f"  {self._task.quality_name} {quality:4.0%}"
        if objects is not None:
            right += f"  {objects:4.1f} objects"
        return (
            f"{self._now():4.0f} s  {self._frames:4d} frames  {latency_ms:4.0f} ms  {link}  "
            f"{where:<8}{right}  {cut}"
        )

    def destroy_node(self) -> None:
        """Complete the log, then end the node.

        Raises:
            FileError: if the log could not be written, or not all of it.
        """
        try:
            self._journal.complete()
        finally:
            super().destroy_node()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main() -> int:
    """Record until stopped."""
    return run_nodes(lambda: [RunRecorder()])
