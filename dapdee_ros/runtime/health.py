"""Health of ledger, edge and camera: the bounds, and advice beyond them; all our own."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dapdee_ros.core.frames import FramePlan, Status
from dapdee_ros.core.ledger import DropKind, LedgerSummary
from dapdee_ros.estimation.health import Findings, Health, Level, Recent, Value

_MANY = 0.05
_MOST_FALLBACKS = 0.5
_MANY_BUSY = 0.2
_QUIET_S = 5.0
_LEAST_RATE = 0.8


_DROP_ADVICE = {
    DropKind.SUPERSEDED: "the car falls behind; lower the camera's rate_hz or the model's size",
    DropKind.BAD_IMAGE: "its images cannot be used; set its driver to what the head accepts",
    DropKind.FAILED: "the network could not be computed; the reasons are in the head's log",
    DropKind.SHUTDOWN: "the head was stopped",
}
_REFUSAL_ADVICE = {
    Status.OK: "the edge's answers are implausible; the reasons are in the task refused",
    Status.WRONG_MODEL: "the edge runs another model (see the task refused); "
    "start both sides with the same one",
    Status.BAD_TENSOR: "the edge refuses what is sent; its reasons are in the task refused",
    Status.BUSY: "the edge is too slow for this rate; give it more threads or lower the rate_hz",
    Status.DRAINING: "the edge is being drained: wait until it takes frames again, or let the car "
    "use another one (parameter servers)",
    Status.ERROR: "the edge could not compute them; the reasons are in the edge's log",
}
_NO_ANSWER = "see the link, and whether the manager is running"


class LedgerHealth:
    """Judges a head's ledger by the last ten seconds."""

    def __init__(self) -> None:
        self._recent = {
            name: Recent()
            for name in ("accepted", "results", "drops", "misses", "fallbacks", "late")
        }
        self._kinds = {kind: Recent() for kind in DropKind}
        self._refusals = {status: Recent() for status in Status}

    def judge(
        self,
        now_s: float,
        ledger: LedgerSummary,
        *,
        fallbacks: int,
        deadline_s: float,
        quiet_s: float,
    ) -> Health:
        """The current health.

        Args:
            now_s: the time, in s.
            ledger: the ledger.
            fallbacks: its results that the car finished as fallback.
            deadline_s: the deadline that frames run under, in s.
            quiet_s: seconds since the last image, infinite before the first.
        """
        counts = {
            "accepted": ledger.accepted,
            "results": ledger.results,
            "drops": ledger.drops,
            "misses": ledger.deadline_misses,
            "fallbacks": fallbacks,
            "late": ledger.late_answers,
        }
        lately = {name: self._recent[name].grown(now_s, n) for name, n in counts.items()}
        kinds = {k: r.grown(now_s, ledger.kinds.get(k, 0)) for k, r in self._kinds.items()}
        refusals = {s: r.grown(now_s, ledger.refusals.get(s, 0)) for s, r in self._refusals.items()}
        window = f"of the last {self._recent['accepted'].window_s:.0f} s"
        found = Findings()
        if not ledger.balanced:
            found.add(
                Level.ERROR,
                f"unbalanced: of {ledger.accepted} accepted frames {ledger.results} were answered, "
                f"{ledger.drops} dropped and {ledger.in_flight} are in flight. This is a bug: "
                "restart the head and report it with its log",
            )
        if quiet_s > _QUIET_S:
            since = "" if math.isinf(quiet_s) else f" for {quiet_s:.0f} s"
            found.add(
                Level.STALE, f"no image has arrived{since}: is a camera publishing image_raw?"
            )
        if lately["drops"] > _MANY * lately["accepted"] and lately["drops"] > 1:
            kind = max(kinds, key=lambda k: kinds[k])
            reasons = {r: n for r, n in ledger.reasons.items() if ledger.kind_of.get(r) is kind}
            why = max(reasons, key=lambda reason: reasons[reason], default=kind.value)
            found.add(
                Level.WARN,
                f"{lately['drops']} of {lately['accepted']} frames {window} were dropped (mostly: "
                f"{why}): {_DROP_ADVICE[kind]}",
            )
        if lately["misses"] > _MANY * lately["results"] and lately["misses"] > 1:
            found.add(
                Level.WARN,
                f"{lately['misses']} of {lately['results']} answers {window} missed the deadline "
                f"of {1e3 * deadline_s:.0f} ms: raise deadline_s or lower the camera's rate_hz",
            )
        refused = max(refusals, key=lambda s: refusals[s])
        mostly = 2 * refusals[refused] >= lately["fallbacks"]
        advice = _REFUSAL_ADVICE[refused] if mostly else _NO_ANSWER
        if lately["fallbacks"] > _MOST_FALLBACKS * lately["results"] and lately["fallbacks"] > 1:
            found.add(
                Level.WARN,
                f"the car finished {lately['fallbacks']} of {lately['results']} frames {window} "
                f"in the edge's place: {advice}",
            )
        values: dict[str, Value] = {
            "accepted": ledger.accepted,
            "results": ledger.results,
            "drops": ledger.drops,
            "in_flight": ledger.in_flight,
            "fallbacks": fallbacks,
            "deadline_misses": ledger.deadline_misses,
            "late_answers": ledger.late_answers,
            "rejected": ledger.rejected,
        }
        values |= {f"dropped ({reason})": n for reason, n in ledger.reasons.items()}
        return found.verdict(f"{ledger.accepted} accepted, {ledger.results} answered", values)


def head_health(
    plan: FramePlan,
    model: str,
    *,
    deadline_s: float,
    max_in_flight: int,
    manager_silent_s: float,
    manager_plans: bool = True,
    queue_depth: int,
    slowdown: float,
    displaced: int,
) -> Health:
    """Judge a head's state: WARN while it has no plan.

    Args:
        plan: the plan that it follows.
        model: the model's name and id.
        deadline_s: the deadline that its frames run under, in s.
        max_in_flight: most frames that it has in flight.
        manager_silent_s: seconds since the manager's last heartbeat; infinite before its first
            plan.
        manager_plans: False if a manager reports that it has no plan.
        queue_depth: frames waiting, being computed or in flight.
        slowdown: measured over profiled seconds on the car.
        displaced: boundaries that were never sent because the link was too slow for them.
    """
    values: dict[str, Value] = {
        "model": model,
        "plan_epoch": plan.epoch,
        "exit": plan.exit_number,
        "boundary": ", ".join(plan.boundary),
        "codec": plan.codec if plan.boundary else "",
        "gate": plan.gate or 0,
        "deadline_s": deadline_s,
        "max_in_flight": max_in_flight,
        "manager_silent_s": manager_silent_s,
        "queue_depth": queue_depth,
        "slowdown": slowdown,
        "never_sent": displaced,
    }
    found = Findings()
    if not plan.epoch and not manager_plans:
        found.add(
            Level.WARN,
            "the manager has no plan yet, so the car finishes alone: its task plan and its log "
            "say what is missing",
        )
    elif not plan.epoch and math.isinf(manager_silent_s):
        found.add(
            Level.WARN,
            "no plan received, so the car finishes alone: is a manager running, with the same "
            "model and namespace?",
        )
    elif not plan.epoch:
        found.add(
            Level.WARN,
            f"no heartbeat from the manager for {manager_silent_s:.0f} s, so its plan has "
            "expired and the car finishes alone: is it still running? Restart it",
        )
    sends = f"sends {', '.join(plan.boundary)} as {plan.codec}" if plan.boundary else "alone"
    return found.verdict(f"plan {plan.epoch}: exit {plan.exit_number}, {sends}", values)


class EdgeHealth:
    """Judges an edge by its answers in the last ten seconds."""

    def __init__(self) -> None:
        self._recent = {name: Recent() for name in ("computed", "busy", "failed")}

    def judge(
        self, now_s: float, computed: int, refused: Mapping[str, int], queue_depth: int, model: str
    ) -> Health:
        """The current health.

        Args:
            now_s: the time, in s.
            computed: frames answered with a class since the start.
            refused: other answers since the start, by the status's name in lower case.
            queue_depth: frames waiting or being computed.
            model: the model's name and id.
        """
        busy, failed = refused.get("busy", 0), refused.get("error", 0)
        counts = {"computed": computed, "busy": busy, "failed": failed}
        lately = {name: self._recent[name].grown(now_s, n) for name, n in counts.items()}
        answered = lately["computed"] + lately["busy"]
        window_s = self._recent["busy"].window_s
        found = Findings()
        if lately["failed"]:
            found.add(
                Level.ERROR,
                f"{lately['failed']} frames of the last {window_s:.0f} s could not be computed: "
                "the reasons are in this node's log",
            )
        if lately["busy"] > _MANY_BUSY * answered and lately["busy"] > 1:
            found.add(
                Level.WARN,
                f"{lately['busy']} of {answered} frames of the last {window_s:.0f} s were refused "
                "as busy: this edge is too slow for their rate; give it more threads, or lower "
                "the camera's rate_hz",
            )
        values: dict[str, Value] = {
            "model": model,
            "answered": computed,
            "queue_depth": queue_depth,
            **{f"refused ({status})": n for status, n in refused.items()},
        }
        return found.verdict(f"{computed} frames answered, {lately['computed']} lately", values)


class CameraHealth:
    """Judges a camera by its actual rate."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._started_s = math.nan

    def judge(
        self,
        now_s: float,
        published: int,
        *,
        wanted_hz: float,
        waiting: bool,
        ended: str = "",
        failure: str = "",
        source: str = "",
    ) -> Health:
        """The current health.

        Args:
            now_s: the time, in s.
            published: frames so far.
            wanted_hz: the requested rate.
            waiting: whether there is no subscription yet, so that nothing is published.
            ended: why the source has ended, as text; empty while it runs.
            failure: why there are no frames, as text, if that is a fault.
            source: description of the source.
        """
        if published and math.isnan(self._started_s):
            self._started_s = now_s
        grown = self._recent.grown(now_s, published)
        seconds = self._recent.window_s
        whole = now_s - self._started_s > seconds  # NaN: no
        achieved_hz = grown / seconds if whole else math.nan
        values: dict[str, Value] = {
            "source": source,
            "published": published,
            "wanted_hz": wanted_hz,
            "achieved_hz": achieved_hz,
        }
        found = Findings()
        if failure:
            found.add(Level.ERROR, failure)
        elif ended:
            found.add(Level.STALE, ended)
        elif waiting:
            return Health(Level.OK, "waiting for a subscription to image_raw", values)
        elif achieved_hz == 0:
            found.add(
                Level.ERROR,
                f"no frame for {seconds:.0f} s: is the camera plugged in, and not in use "
                "elsewhere? The node keeps looking for it",
            )
        elif achieved_hz < _LEAST_RATE * wanted_hz:
            found.add(
                Level.WARN,
                f"{achieved_hz:.1f} of {wanted_hz:.4g} frames/s: the source or this machine is "
                "too slow; lower rate_hz, width and height",
            )
        return found.verdict(f"{wanted_hz:.4g} frames/s", values)
