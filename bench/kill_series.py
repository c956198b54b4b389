"""What happens to frames when a process is killed (SIGKILL) at random times?

Camera, head, manager and edge run as processes of their own over real DDS. One of them is killed,
started again after two seconds, and the next kill comes a random time after all is well again:

* edge: every frame that the head accepts is answered exactly once, by the car while there is no
  edge, and by the edge again once it is back.
* manager: the same, and the head keeps its plan while there is no manager.
* head: a dead process cannot answer for the frames that it held, at most ``max_in_flight`` and two.
  But none is answered twice, every earlier one was answered, the next head's ledger is balanced,
  and the edge and the manager serve it as they are.

    python bench/kill_series.py [--kills 20] [--who edge manager head] [--seed 1] [--together]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.process_table import CAMERA, EDGE, HEAD, MANAGER, ProcessRow
from dapdee_ros.processes import Processes

WHO = ("edge", "manager", "head")
PATIENCE_S = 90.0
MAX_IN_FLIGHT = 4


class SeriesError(Exception):
    """Something did not come back; the message says what was waited for."""


@dataclass
class Witness:
    """Hears every result, ledger and plan. Written on one thread, read on another."""

    results: list[msg.InferenceResult] = field(default_factory=list)
    ledgers: dict[int, msg.FrameLedger] = field(default_factory=dict)
    plans: list[msg.PartitionPlan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._node = rclpy.create_node(f"witness_{time.monotonic_ns()}")
        deep = qos.tensor_qos(True, 1000)
        self._node.create_subscription(msg.InferenceResult, "inference", self.results.append, deep)
        self._node.create_subscription(msg.FrameLedger, "ledger", self._take_ledger, qos.LATCHED)
        self._node.create_subscription(msg.PartitionPlan, "plan", self.plans.append, qos.LATCHED)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        self.ledgers[ledger.session] = ledger

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Until the condition holds; raises SeriesError if it never does."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise SeriesError(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(0.02)

    def wait_for_plan(self, since: int) -> None:
        """Until another plan has come than the first ``since``."""
        self.wait(lambda: len(self.plans) > since, "the new manager's first plan")

    def wait_for_edge(self, since: int, what: str) -> None:
        """Until the edge has answered a frame under a manager's plan, from result ``since`` on."""
        self.wait(
            lambda: any(r.place == r.PLACE_EDGE and r.plan_epoch for r in self.results[since:]),
            what,
        )


@dataclass
class Series:
    """The processes of one series, and how to start each."""

    processes: Processes
    witness: Witness
    dice: random.Random
    parameters: dict[ProcessRow, dict[str, Any]]
    pause_s: float

    def start(self, row: ProcessRow) -> None:
        """Start one process."""
        self.processes.start(row.executable, self.parameters[row], names=row.takers)

    def start_all(self) -> None:
        """Start all and wait until they work together."""
        for row in self.parameters:
            if row is CAMERA:
                # Matching takes seconds where the witness has announced itself for long already;
                # what the head answers before that is not heard.
                self.witness.wait(lambda: self.witness.ledgers, "the head's first ledger")
            self.start(row)
        self.witness.wait_for_edge(0, "the edge answers for the first time")

    def kill(self, row: ProcessRow) -> None:
        """Kill at a random moment, and note what the others do until it is started again."""
        time.sleep(self.dice.uniform(0.0, 1.5))
        self.processes.kill(row.executable)
        time.sleep(self.pause_s)

    def settle(self) -> None:
        """Stop the camera and wait until every frame has ended."""
        self.processes.stop(["camera"], within_s=10.0)
        session = self.witness.results[-1].session
        ledger = self.witness.ledgers
        self.witness.wait(lambda: ledger[session].in_flight == 0, "all frames have ended")
        time.sleep(1.0)  # a ledger comes every 0.2 s: now the last word is there, and all results


def main() -> int:
    """Run the series that were asked for and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each process (default 20)")
    parser.add_argument("--who", nargs="+", choices=WHO, default=WHO, help="whom to kill")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--pause-s", type=float, default=2.0, help="until the restart (default 2)")
    parser.add_argument("--rate-hz", type=float, default=10.0, help="frames/s (default 10)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="kill all of them in one run, the head first: the last head's ledger covers the rest",
    )
    parser.add_argument("--domain", type=int, help="ROS domain id (default: a random one)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    domain = args.domain or random.SystemRandom().randint(1, 101)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    figures: dict[str, Any] = {"bench": "kill_series", "seed": args.seed, "ok": True}
    rclpy.init(args=[], domain_id=domain)
    try:
        order = sorted(args.who, key=list(reversed(WHO)).index)
        for series in [order] if args.together else [[who] for who in args.who]:
            name = "+".join(series)
            figures[name] = run_series(series, args)
            figures["ok"] &= figures[name]["ok"]
    finally:
        rclpy.try_shutdown()
    print(json.dumps(figures))
    return 0 if figures["ok"] else 1


def run_series(whom: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Processes killed many times; what was found, with ``ok`` if all promises were kept."""
    witness = Witness()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill_series_") as folder:
        processes = Processes(Path(folder), dict(os.environ))
        of_signs = {"model": "roadsigns"}
        deadline = {**of_signs, "deadline_s": 0.5}
        series = Series(
            processes,
            witness,
            random.Random(f"{args.seed} {' '.join(whom)}"),
            {
                # So slow a car is glad of an edge, so that there are frames on their way.
                HEAD: {
                    **deadline,
                    "threads": 1,
                    "emulated_slowdown": 10.0,
                    "ledger_period_s": 0.2,
                    "max_in_flight": MAX_IN_FLIGHT,
                },
                EDGE: {**of_signs, "threads": 1},
                MANAGER: deadline,
                CAMERA: {"source": "roadsigns", "rate_hz": args.rate_hz},
            },
            args.pause_s,
        )
        try:
            series.start_all()
            found: dict[str, Any] = {"broken": []}
            for who in whom:
                killed = KILL[who](series, args.kills)
                found |= {**killed, "broken": found["broken"] + killed["broken"]}
            processes.check()
            series.settle()
            found |= account(witness, heads=args.kills + 1 if "head" in whom else 1)
        except SeriesError:
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')}", file=sys.stderr)
            raise
        finally:
            processes.stop(within_s=10.0)
            witness.close()
    kept = found.pop("broken") + found.pop("unaccounted_for")
    found = {"kills": args.kills, **found, "broken": kept, "ok": not kept}
    found["seconds"] = round(time.monotonic() - started_s, 1)
    print(f"{' '.join(whom)}: {json.dumps(found)}", flush=True)
    return found


def kill_edge(series: Series, kills: int) -> dict[str, Any]:
    back_s = []
    for number in range(kills):
        series.kill(EDGE)
        since = len(series.witness.results)
        started_s = time.monotonic()
        series.start(EDGE)
        series.witness.wait_for_edge(since, f"the edge answers after kill {number + 1}")
        back_s.append(time.monotonic() - started_s)
    return {"broken": [], "slowest_return_s": round(max(back_s), 1)}


def kill_manager(series: Series, kills: int) -> dict[str, Any]:
    broken = []
    for number in range(kills):
        witness = series.witness
        series.kill(MANAGER)
        # A last plan of the dead manager may have reached the head, or not; it stays either way.
        kept = {r.plan_epoch for r in witness.results[-5:]}
        if len(kept) != 1 or 0 in kept:
            broken.append(f"kill {number + 1}: the head went on with the plans {sorted(kept)}")
        plans, since = len(witness.plans), len(witness.results)
        series.start(MANAGER)
        witness.wait_for_plan(plans)
        witness.wait_for_edge(since, f"the edge answers after kill {number + 1}")
    return {"broken": broken}


def kill_head(series: Series, kills: int) -> dict[str, Any]:
    witness, broken = series.witness, []
    others = {n: pid for n, pid in series.processes.pids.items() if n != HEAD.executable}
    for number in range(kills):
        series.kill(HEAD)
        old, since = witness.results[-1].session, len(witness.results)
        series.start(HEAD)
        witness.wait_for_edge(since, f"the edge answers the head after kill {number + 1}")
        # Only a head that has published its ledger can be checked against it after its death.
        witness.wait(
            lambda: witness.results[-1].session in witness.ledgers, "the new head's ledger"
        )
        if witness.results[-1].session == old:
            broken.append(f"kill {number + 1}: the new head has the session of the old one")
    if {n: p for n, p in series.processes.pids.items() if n != HEAD.executable} != others:
        broken.append("another process was started anew")
    return {"broken": broken}


KILL = {"edge": kill_edge, "manager": kill_manager, "head": kill_head}


def account(witness: Witness, heads: int, *, drops_since_ledger: bool = False) -> dict[str, Any]:
    """Compare the received messages with the ledgers.

    Args:
        witness: what was heard.
        heads: how many heads there have been; all but the last one were killed.
        drops_since_ledger: whether a killed head may have dropped frames after its last ledger; not
            where ledgers come so often that they are none.
    """
    results = list(witness.results)
    found: dict[str, Any] = Counter(
        accepted=0, results=0, before_witness=0, drops=0, killed_with_their_head=0
    )
    wrong = []
    numbers: dict[int, list[int]] = defaultdict(list)
    for result in results:
        numbers[result.session].append(result.frame_number)
    twice = sum(len(n) - len(set(n)) for n in numbers.values())
    stamps = Counter((r.header.stamp.sec, r.header.stamp.nanosec) for r in results)
    if twice or max(stamps.values()) > 1:
        wrong.append(f"{twice} frames and {sum(n > 1 for n in stamps.values())} images twice")
    if len(numbers) != heads:
        wrong.append(f"{len(numbers)} sessions of {heads} heads")
    last = results[-1].session
    for session, answered in numbers.items():
        # A head may be killed before it has published its ledger; its results are known.
        ledger = witness.ledgers.get(session) or msg.FrameLedger(session=session)
        if ledger.accepted != ledger.results + ledger.drops + ledger.in_flight:
            wrong.append(f"the ledger of session {session} is not balanced")
        # What a killed head held: nobody can say what became of it, but it cannot be much.
        accepted = ledger.accepted if session == last else max(*answered, ledger.accepted)
        # The witness hears a restarted head's results from when it has met it. For those before,
        # the head's own count has to vouch.
        unheard = min(min(answered) - 1, ledger.results) if heads > 1 else 0
        open_ = accepted - unheard - len(answered) - ledger.drops
        told = ledger.results == unheard + len(answered)
        if session == last and (open_ or ledger.in_flight or not told):
            wrong.append(
                f"{ledger.accepted} accepted, {ledger.results} answered, {ledger.drops} dropped, "
                f"{ledger.in_flight} in flight, {len(answered)} results heard"
            )
        most = MAX_IN_FLIGHT + 2
        if drops_since_ledger:
            most += max(0, accepted - ledger.accepted)
        if session != last and not 0 <= open_ <= most:
            wrong.append(f"a killed head held {open_} frames, expected {most} at most")
        for name, count in (
            ("accepted", accepted),
            ("results", len(answered)),
            ("before_witness", unheard),
            ("drops", ledger.drops),
            ("killed_with_their_head", open_),
            ("deadline_misses", ledger.deadline_misses),
            ("late_answers", ledger.late_answers),
            ("refused", ledger.rejected),
        ):
            found[name] += count
    for place, name in enumerate(("on_car", "on_edge", "fallbacks")):
        found[name] = sum(r.place == place for r in results)
    reasons = {reason for ledger in witness.ledgers.values() for reason in ledger.drop_reasons}
    return {
        **found,
        "drop_reasons": sorted(reasons),
        "answered_twice": twice,
        "unaccounted_for": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
