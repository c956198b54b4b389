"""What happens to the frames of four cars when one of their two edge servers is killed (SIGKILL)?

Cars and servers run as processes of their own over real DDS, each car with a head, a manager and a
camera. A server is killed at a random moment, 20 times, and started again after a pause. Half of
the cars prefer one server, half the other.

* every frame that a head accepts is answered exactly once, and the ledgers balance;
* at least 95 % of the frames that were on their way to the server when it was killed, or whose
  head was being computed for it, are answered within their deadline;
* a car uses the server again at most 2 s after it is ready again.

    python bench/kill_servers.py [--kills 20] [--cars 4] [--rate-hz 10] [--seed 1]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.process_table import CAMERA, EDGE, HEAD, MANAGER
from dapdee_ros.processes import Processes

SERVERS = ("edge1", "edge2")
PATIENCE_S = 120.0
LEAST_IN_TIME = 0.95
LONGEST_RETURN_S = 2.0


class BenchError(Exception):
    """Something did not come back; the message says what was waited for."""


@dataclass
class Heard:
    """One result of a car: when it came, in s of the monotonic clock, and what it says."""

    at_s: float
    number: int
    session: int
    place: int
    site: str
    server: str
    latency_s: float
    detail: str

    @property
    def accepted_s(self) -> float:
        """When its image came."""
        return self.at_s - self.latency_s


@dataclass
class Car:
    """What is heard of one car."""

    name: str
    results: list[Heard] = field(default_factory=list)
    ledger: msg.FrameLedger | None = None

    def take_result(self, result: msg.InferenceResult) -> None:
        """Note a result."""
        self.results.append(
            Heard(
                time.monotonic(), result.frame_number, result.session, result.place, result.site,
                result.server, result.latency_s, result.detail,
            )
        )  # fmt: skip

    def take_ledger(self, ledger: msg.FrameLedger) -> None:
        """Note a ledger."""
        self.ledger = ledger

    def server_at(self, at_s: float) -> str:
        """The server that answered its last frame before some time; empty if the car did."""
        before = [r for r in self.results if r.at_s < at_s]
        return (
            before[-1].site if before and before[-1].place == msg.InferenceResult.PLACE_EDGE else ""
        )


class Bench:
    """The processes and what is heard of them."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self.cars = [Car(f"car{n + 1}") for n in range(args.cars)]
        self.processes = Processes(folder, dict(os.environ))
        self._node = Node("witness")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        deep = qos.tensor_qos(True, 1000)
        for car in self.cars:
            listen = self._node.create_subscription
            listen(msg.InferenceResult, f"/{car.name}/inference", car.take_result, deep)
            listen(msg.FrameLedger, f"/{car.name}/ledger", car.take_ledger, qos.LATCHED)

    def spin(self, seconds: float) -> None:
        """Hear what comes for so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def wait(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        """Until the condition holds; raises BenchError if it never does."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise BenchError(f"not within {timeout_s:.0f} s: {what}")
            self._executor.spin_once(timeout_sec=0.02)

    def start_server(self, server: str) -> None:
        """Start an edge server for all cars."""
        self.processes.start(
            EDGE.executable,
            {
                "model": self._args.model, "threads": 1, "server": server,
                "cars": [car.name for car in self.cars],
                "emulated_slowdown": self._args.edge_slowdown,
            },
            {"__node": server},
            called=server,
        )  # fmt: skip

    def start_car(self, number: int) -> None:
        """Start a car's processes; those with odd numbers prefer the other server."""
        name, args = self.cars[number].name, self._args
        servers = list(SERVERS if number % 2 == 0 else reversed(SERVERS))
        of_car = {"model": args.model, "deadline_s": args.deadline_s, "servers": servers}
        for row, parameters in (
            (HEAD, {**of_car, "threads": 1, "emulated_slowdown": args.emulated_slowdown,
                    "ledger_period_s": 0.2}),
            # Without gates every frame that is sent needs its server.
            (MANAGER, {**of_car, "gates": False}),
            (CAMERA, {"source": args.source, "rate_hz": args.rate_hz}),
        ):  # fmt: skip
            self.processes.start(
                row.executable,
                parameters,
                {"__ns": f"/{name}"},
                called=f"{row.executable}_{name}",
            )

    def wait_for_answers(self, sites: set[str], since_s: float, what: str, *, any_: bool) -> None:
        """Until one car, or each, has had an answer from one of these servers since some time."""
        some = any if any_ else all
        self.wait(
            lambda: some(
                any(r.at_s > since_s and r.site in sites for r in reversed(car.results[-50:]))
                for car in self.cars
            ),
            what,
        )

    def close(self) -> None:
        """End everything."""
        self.processes.stop(within_s=10.0)
        self._executor.shutdown(timeout_sec=5.0)
        self._node.destroy_node()


@dataclass
class Kill:
    """What became of the frames that were open when a server was killed."""

    server: str
    at_s: float
    ready_s: float = 0.0
    back_s: float = 0.0

    def open_frames(self, cars: list[Car]) -> list[Heard]:
        """Those of cars that this server served."""
        return [
            r
            for car in cars
            if car.server_at(self.at_s) == self.server
            for r in car.results
            if r.accepted_s < self.at_s < r.at_s
        ]


def kill_again_and_again(bench: Bench, args: argparse.Namespace) -> list[Kill]:
    """Kill servers at random times; each is back in use before the next is killed."""
    dice, kills = random.Random(args.seed), []
    for number in range(args.kills):
        server = dice.choice(SERVERS)
        bench.wait_for_answers({server}, time.monotonic(), f"{server} is used", any_=True)
        bench.spin(dice.uniform(0.5, 2.0))
        kill = Kill(server, time.monotonic())
        bench.processes.kill(server)
        bench.spin(args.pause_s)
        bench.start_server(server)
        ready = partial(bench.processes.has_said, server, "loaded in")
        bench.wait(ready, f"{server} is ready")
        kill.ready_s = time.monotonic()
        bench.wait_for_answers({server}, kill.ready_s, f"kill {number + 1}: back in use", any_=True)
        kill.back_s = time.monotonic()
        kills.append(kill)
        print(
            f"kill {number + 1} of {server}: {len(kill.open_frames(bench.cars))} frames open, back "
            f"in use {kill.back_s - kill.ready_s:.2f} s after it was ready, "
            f"{kill.back_s - kill.at_s:.1f} s after the kill",
            flush=True,
        )
    return kills


def undisturbed(
    cars: list[Car], begun_s: float, ended_s: float, args: argparse.Namespace
) -> dict[str, Any]:
    """What the cars had of the servers while none was killed.

    Fairness is Jain's index over the frames of each car that a server answered: 1 if all had the
    same.
    """
    seconds = ended_s - begun_s
    heard = {car.name: [r for r in car.results if begun_s <= r.at_s < ended_s] for car in cars}
    remote = [sum(r.site in SERVERS for r in results) for results in heard.values()]
    squares = len(remote) * sum(n * n for n in remote)
    every = [r for results in heard.values() for r in results]
    return {
        "seconds": round(seconds, 1),
        "frames": len(every),
        "of_all": round(len(every) / (seconds * args.rate_hz * len(cars)), 4),
        "in_time": round(sum(r.latency_s <= args.deadline_s for r in every) / len(every), 4),
        "by_servers": round(sum(remote) / len(every), 4),
        "fairness": round(sum(remote) ** 2 / squares, 4) if squares else None,
        "median_latency_s": {
            name: round(statistics.median(r.latency_s for r in results), 4)
            for name, results in heard.items()
        },
    }


def settle(bench: Bench) -> None:
    """Stop the cameras and wait until every frame has ended."""
    bench.processes.stop([f"{CAMERA.executable}_{car.name}" for car in bench.cars], within_s=10.0)
    bench.wait(
        lambda: all(car.ledger is not None and car.ledger.in_flight == 0 for car in bench.cars),
        "all frames have ended",
    )
    bench.spin(1.0)  # a ledger comes every 0.2 s: now the last word is there, and all results


def account(cars: list[Car]) -> tuple[dict[str, Any], list[str]]:
    """Counts over all cars, and what is wrong with them."""
    found: Counter[str] = Counter()
    reasons: set[str] = set()
    wrong = []
    for car in cars:
        ledger, results = car.ledger, car.results
        assert ledger is not None
        numbers = [r.number for r in results]
        twice = len(numbers) - len(set(numbers))
        if twice:
            wrong.append(f"{car.name} answered {twice} frames twice")
        # What the head answered before the witness had met it only the head has counted.
        unheard = min(numbers) - 1
        if ledger.accepted != ledger.results + ledger.drops or ledger.in_flight:
            wrong.append(f"{car.name}: the ledger is not balanced")
        if not len(numbers) <= ledger.results <= len(numbers) + unheard:
            wrong.append(f"{car.name}: {ledger.results} answered, {len(numbers)} heard")
        found.update(
            accepted=ledger.accepted, results=ledger.results, drops=ledger.drops,
            on_car=ledger.results_car, on_edge=ledger.results_edge,
            fallbacks=ledger.results_fallback, deadline_misses=ledger.deadline_misses,
            late_answers=ledger.late_answers, refused=ledger.rejected, answered_twice=twice,
        )  # fmt: skip
        reasons |= set(ledger.drop_reasons)
        for r in results:
            if r.site in SERVERS:
                found[f"by_{r.site}"] += 1
                found["handed_over"] += "edge" in r.detail
    return {**found, "drop_reasons": sorted(reasons)}, wrong


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all and return the figures, with ``ok``."""
    bench, started_s = Bench(args, folder), time.monotonic()
    try:
        for server in SERVERS:
            bench.start_server(server)
        for number in range(args.cars):
            bench.start_car(number)
        bench.wait_for_answers({*SERVERS}, started_s, "every car is served", any_=False)
        bench.spin(5.0)
        begun_s = time.monotonic()
        bench.spin(args.steady_s)
        steady = undisturbed(bench.cars, begun_s, time.monotonic(), args)
        print(f"undisturbed: {json.dumps(steady)}", flush=True)
        kills = kill_again_and_again(bench, args)
        bench.processes.check()
        settle(bench)
    except BenchError:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise
    finally:
        bench.close()
    found, wrong = account(bench.cars)
    open_ = [r for kill in kills for r in kill.open_frames(bench.cars)]
    in_time = [r for r in open_ if r.latency_s <= args.deadline_s]
    returns_s = [kill.back_s - kill.ready_s for kill in kills]
    share = len(in_time) / len(open_) if open_ else math.nan
    if share < LEAST_IN_TIME or (kills and not open_):
        wrong.append(f"{share:.1%} of the open frames were in time")
    if max(returns_s, default=0.0) > LONGEST_RETURN_S:
        wrong.append(f"back in use only after {max(returns_s):.2f} s")
    return {
        "undisturbed": steady,
        "kills": len(kills),
        "open_at_kills": len(open_),
        "open_in_time": round(share, 4) if open_ else None,
        "open_on_another_server": sum(r.site in SERVERS for r in open_),
        "open_on_car": sum(r.site not in SERVERS for r in open_),
        "open_worst_latency_s": round(max((r.latency_s for r in open_), default=0.0), 3),
        "back_in_use_s": {
            "median": round(statistics.median(returns_s), 2),
            "worst": round(max(returns_s), 2),
        }
        if kills
        else None,
        **found,
        "seconds": round(time.monotonic() - started_s, 1),
        "wrong": wrong,
        "ok": not wrong,
    }


def main() -> int:
    """Run the bench and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--cars", type=int, default=4, help="how many (default 4)")
    parser.add_argument("--rate-hz", type=float, default=10.0, help="of each camera (default 10)")
    parser.add_argument("--deadline-s", type=float, default=0.3, help="default 0.3")
    parser.add_argument("--steady-s", type=float, default=30.0, help="before the kills; default 30")
    parser.add_argument("--pause-s", type=float, default=2.0, help="until the restart (default 2)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--source", default="roadsigns")
    parser.add_argument("--emulated-slowdown", type=float, default=40.0, help="of the cars")
    parser.add_argument(
        "--edge-slowdown", type=float, default=1.0,
        help="of the servers (default 1); higher: more frames are open when one is killed",
    )  # fmt: skip
    parser.add_argument("--domain", type=int, help="ROS domain id (default: a random one)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    domain = args.domain or random.SystemRandom().randint(1, 101)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    rclpy.init(args=[], domain_id=domain)
    try:
        with tempfile.TemporaryDirectory(prefix="kill_servers_") as folder:
            figures = run(args, Path(folder))
    finally:
        rclpy.try_shutdown()
    print(json.dumps({"bench": "kill_servers", **figures}))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
