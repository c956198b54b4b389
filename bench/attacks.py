"""How can an attacker on the network change a car's behaviour, without and with a key?

Camera, head, manager and edge run as processes of their own; a rogue process joins their ROS domain
(all on the loopback interface) and runs one attack after the other: forged answers, plans,
profiles, results, echoes, link states and loads, and floods of large and of malformed messages.
Without a key it reaches every topic. With a key it is where a radio network would let it be: in the
link's domain, while the car's inner topics stay on the car.

For each attack: the share of frames that the edge finished, forged and wrong answers, latency,
plans in force and processor time, beside the same of a time without it. Without a key no process
may end, no ledger lose a frame and no frame be answered twice. With a key, beyond that, nothing may
change.

    python bench/attacks.py [--attacks answers plans ...] [--keys open sealed] [--seconds 8]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the parts beside this file

import dapdee_ros.msg as msg
from bench.attacking.rogue import ATTACKS, FORGED_EPOCH, MARK, attack
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.topics import listen_checking
from dapdee_ros.process_table import CAMERA, EDGE, HEAD, MANAGER
from dapdee_ros.processes import Processes
from dapdee_ros.sealing.configured import DOMAIN_VARIABLE, KEY_VARIABLE
from dapdee_ros.sealing.key_file import new_ring, save_new

KEYS = ("open", "sealed")
DEADLINE_S = 0.5
MODEL = {"model": "roadsigns"}
START_S = 90.0
RECOVERY_S = 8.0
SETTLE_S = 1.0
_SHARE, _LATENCY, _LATENCY_S, _PLANS = 0.15, 1.5, 0.03, 10
"""What may differ by chance: shares, times (a factor and seconds more), plans in force."""


class AttackError(Exception):
    """The system did not come up; the message says what was waited for."""


class Witness:
    """Hears results, truths and ledgers on the car. Written on one thread, read on another."""

    def __init__(self, domain_id: int) -> None:
        rclpy.init(args=[], domain_id=domain_id)
        self.node = rclpy.create_node("witness")
        self.results: list[msg.InferenceResult] = []
        self.truths: dict[tuple[int, int], str] = {}
        self.ledgers: dict[int, msg.FrameLedger] = {}
        deep = qos.tensor_qos(True, 1000)
        refused = Rejections()
        for kind, topic, take, profile in (
            (msg.InferenceResult, "inference", self._take_result, deep),
            (msg.SceneTruth, "truth", self._take_truth, deep),
            (msg.FrameLedger, "ledger", self._take_ledger, qos.LATCHED),
        ):
            listen_checking(self.node, kind, topic, take, profile, refused)
        self.node.get_logger().set_level(LoggingSeverity.ERROR)  # it hears the attacks as well
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _take_result(self, result: msg.InferenceResult) -> None:
        # Forged results carry no image's stamp; a forged answer within a real one does.
        if result.header.stamp.sec:
            self.results.append(result)

    def _take_truth(self, truth: msg.SceneTruth) -> None:
        self.truths[truth.header.stamp.sec, truth.header.stamp.nanosec] = truth.label

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        if ledger.header.stamp.sec:
            self.ledgers[ledger.session] = ledger

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        rclpy.try_shutdown()


@dataclass
class System:
    """The processes of one run and who watches them."""

    processes: Processes
    witness: Witness

    def start(self) -> None:
        """Start all and wait until the edge answers."""
        self.witness.results.clear()
        # So slow a car is glad of an edge.
        head = {"threads": 1, "emulated_slowdown": 10.0, "ledger_period_s": 0.2}
        for row, parameters in (
            (EDGE, {**MODEL, "threads": 1}),
            (HEAD, {**MODEL, **head, "deadline_s": DEADLINE_S}),
            (MANAGER, {**MODEL, "deadline_s": DEADLINE_S}),
            (CAMERA, {"source": "roadsigns", "rate_hz": 10.0}),
        ):
            self.processes.start(row.executable, parameters, names=row.takers)
        self.wait(self.is_well, START_S, "the edge finishes the car's frames")

    def is_well(self) -> bool:
        """Whether the edge finishes frames under the manager's own plans."""
        last = self.witness.results[-10:]
        own = all(r.plan_epoch < FORGED_EPOCH and r.score != MARK for r in last)
        return len(last) == 10 and own and sum(r.place == r.PLACE_EDGE for r in last) >= 8

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> bool:
        """Until the condition holds; raises AttackError with ``what``, else returns whether."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                if not what:
                    return False
                raise AttackError(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(0.05)
        return True

    def watch(self, seconds: float, during: Callable[[], Any] = lambda: None) -> dict[str, Any]:
        """What the car does in so many seconds."""
        witness = self.witness
        before_s = self._cpu_s()
        since = len(witness.results)
        during()
        time.sleep(seconds)
        results = witness.results[since:]
        spent_s = {name: self._cpu_s()[name] - used for name, used in before_s.items()}
        time.sleep(0.3)  # a truth may come after its result
        return {**figures_of(results, witness.truths), **cpu_shares(spent_s, seconds)}

    def _cpu_s(self) -> dict[str, float]:
        spent = {}
        for name, pid in self.processes.pids.items():
            times = psutil.Process(pid).cpu_times()
            spent[name] = times.user + times.system
        return spent

    def broken(self) -> list[str]:
        """Which promises were not kept: as of now, whatever was done."""
        found = []
        try:
            self.processes.check()
        except Exception as error:  # whatever ended it says so in its own words
            found.append(str(error).splitlines()[0])
        twice = Counter((r.session, r.frame_number) for r in self.witness.results)
        if doubled := sum(count > 1 for count in twice.values()):
            found.append(f"{doubled} frames were answered twice")
        sessions = {r.session for r in self.witness.results}
        for session, ledger in self.witness.ledgers.items():
            parts = ledger.results + ledger.drops + ledger.in_flight
            if session in sessions and ledger.accepted != parts:
                found.append(f"a ledger of {ledger.accepted} accounts for {parts}")
        return found


def figures_of(
    results: list[msg.InferenceResult], truths: dict[tuple[int, int], str]
) -> dict[str, Any]:
    """What some results say of the car's behaviour."""
    count = max(1, len(results))
    known = [(r, truths.get((r.header.stamp.sec, r.header.stamp.nanosec))) for r in results]
    judged = [(r, label) for r, label in known if label is not None]
    latencies_s = sorted(r.latency_s for r in results) or [0.0]
    return {
        "results": len(results),
        "edge_share": round(sum(r.place == r.PLACE_EDGE for r in results) / count, 3),
        "forged": sum(r.score == MARK for r in results),
        "wrong_share": round(sum(r.label != label for r, label in judged) / max(1, len(judged)), 3),
        "median_latency_s": round(statistics.median(latencies_s), 4),
        "p95_latency_s": round(latencies_s[int(0.95 * (len(latencies_s) - 1))], 4),
        "plans": len({r.plan_epoch for r in results}),
        "under_forged_plans": sum(r.plan_epoch >= FORGED_EPOCH for r in results),
    }


def cpu_shares(spent_s: dict[str, float], seconds: float) -> dict[str, float]:
    """Share of one core by process."""
    return {f"cpu_{name}": round(used / seconds, 3) for name, used in spent_s.items()}


def changes(quiet: dict[str, Any], under: dict[str, Any]) -> list[str]:
    """The significant differences from the run without the attack, as text."""
    found = []
    if under["forged"]:
        found.append(f"{under['forged']} of {under['results']} answers were forged")
    if under["under_forged_plans"]:
        found.append(f"{under['under_forged_plans']} of {under['results']} under forged plans")
    for name in ("edge_share", "wrong_share"):
        if abs(under[name] - quiet[name]) > _SHARE:
            found.append(f"{name} {under[name]} instead of {quiet[name]}")
    if under["results"] < 0.8 * quiet["results"]:
        found.append(f"{under['results']} results instead of {quiet['results']}")
    slow_s = _LATENCY * quiet["median_latency_s"] + _LATENCY_S
    if under["median_latency_s"] > slow_s:
        was, now = quiet["median_latency_s"], under["median_latency_s"]
        found.append(f"median latency {1e3 * now:.0f} ms instead of {1e3 * was:.0f}")
    if under["plans"] > quiet["plans"] + _PLANS:
        found.append(f"{under['plans']} plans instead of {quiet['plans']}")
    return found


def run_series(key: str, attacks: list[str], seconds: float) -> dict[str, Any]:
    """All attacks on one system; what each changed."""
    domains = random.SystemRandom().sample(range(1, 102), 2)
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domains[0]), KEY_VARIABLE: "none"}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="attacks_") as folder:
        attacked = domains[0]
        if key == "sealed":
            path = Path(folder) / "pair.json"
            save_new(new_ring("pair", "2026-01-01T00:00:00Z"), path)
            attacked = domains[1]
            environment |= {KEY_VARIABLE: str(path), DOMAIN_VARIABLE: str(attacked)}
        os.environ["ROS_DOMAIN_ID"] = str(domains[0])
        processes = Processes(Path(folder), environment)
        system = System(processes, Witness(domains[0]))
        try:
            system.start()
            time.sleep(SETTLE_S)
            quiet = found["undisturbed"] = system.watch(seconds)
            print(f"{key}, undisturbed: {json.dumps(quiet)}", flush=True)
            broken: list[str] = []
            for name in attacks:
                rogue = start_rogue(name, attacked, key == "sealed", SETTLE_S + seconds)
                time.sleep(SETTLE_S)
                under = system.watch(seconds)
                sent = rogue.communicate(timeout=60)[0].split()
                broken += [f"{name}: {words}" for words in system.broken()]
                recovered = system.wait(system.is_well, RECOVERY_S, "")
                found[name] = {
                    **under,
                    "messages": int(sent[-1]) if sent else 0,
                    "changed": changes(quiet, under),
                    "recovered": recovered,
                }
                print(f"{key}, {name}: {json.dumps(found[name])}", flush=True)
                if not recovered:
                    processes.stop(within_s=10.0)
                    system.start()
            changed = [name for name in attacks if found[name]["changed"]]
            found |= {"changed": changed, "broken": broken}
            sent_all = all(found[name]["messages"] for name in attacks)
            found["ok"] = sent_all and not broken and not (key == "sealed" and changed)
            return found
        except AttackError:
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')}", file=sys.stderr)
            raise
        finally:
            processes.stop(within_s=10.0)
            system.witness.close()


def start_rogue(name: str, domain_id: int, sealed: bool, seconds: float) -> subprocess.Popen[str]:
    """Start the rogue as a process of its own; it prints how many messages it sent."""
    command = [sys.executable, __file__, "--rogue", name, "--domain", str(domain_id)]
    command += ["--seconds", str(seconds)] + ["--sealed"] * sealed
    # The middleware has a lot to say of what it hears of itself.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def main() -> int:
    """Run the attacks and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each (default 8)")
    for hidden in ("--rogue", "--domain"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--sealed", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if args.rogue:
        print(attack(args.rogue, int(args.domain), args.sealed, args.seconds))
        return 0
    figures: dict[str, Any] = {"bench": "attacks", "seconds": args.seconds, "ok": True}
    for key in args.keys:
        figures[key] = run_series(key, args.attacks, args.seconds)
        figures["ok"] &= figures[key]["ok"]
    print(json.dumps(figures))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
