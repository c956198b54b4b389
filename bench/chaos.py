"""Does the car keep its promises while everything around it and inside it fails?

`dapdee car` runs camera, head, manager and edge as processes. For eight minutes they are killed
(SIGKILL, 20 times), the edge is stopped (SIGSTOP, 25 times, for 0.5 to 3 s), and the system clock
of all of them is set ten minutes back, again and again (a preloaded library, see
test/support/stepped_clock.py; this machine's clock is left alone). With ``--both-ways`` it is set
back and forth. That is not survived yet: a process that is started after the clock went back from
where another one had been started is not found by those that lived through it. Nobody but the
project itself starts anything again. A witness outside of all that counts:

* no frame is answered twice, and every ledger balances: of what a head accepted, all was answered
  or dropped with a reason, except what a killed head held;
* no result is later than 1.5 deadlines;
* no process grows from one life to the next;
* when it is over, car and edge work together as at the beginning, and end in order.

    python bench/chaos.py [--seconds 480] [--seed 1] [--both-ways]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import rclpy
from kill_series import MAX_IN_FLIGHT, Witness, account

from dapdee_ros.nodes.diagnostics import resident_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))
from support.stepped_clock import SteppedClock, what_is_missing

WHOLE_S = 480.0
KILLS, STOPS, STEPS = 20, 25, 16
VICTIMS = ("head", "edge", "camera", "manager")
STEP_S = 600.0
DEADLINE_S = 0.5
MOST_DEADLINES = 1.5
SETTLED_S = 6.0
PATIENCE_S = 60.0
GROWTH, GROWTH_BYTES = 1.10, 8_000_000


@dataclass(frozen=True)
class Event:
    """Something to do: ``kill`` or ``stop`` a process, or ``step`` the clock."""

    at_s: float
    what: str
    whom: str = ""
    amount_s: float = 0.0


@dataclass
class Drive:
    """The car, as its supervisor started it, and what was seen of it."""

    process: subprocess.Popen[bytes]
    log: Path
    witness: Witness
    back_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    killed: int = 0
    stopped: int = 0

    def find(self, executable: str) -> psutil.Process | None:
        """The process that runs an executable now."""
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(Path(word).name == executable for word in child.cmdline()[:3]):
                    return child
        return None

    def wait_for(self, executable: str) -> psutil.Process:
        """The same, once it has been started."""
        end_s = time.monotonic() + PATIENCE_S
        while (found := self.find(executable)) is None:
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise SystemExit(f"{executable} was not started again:\n{self.end_of_log()}")
            time.sleep(0.02)
        return found

    def end_of_log(self) -> str:
        """What the car printed last."""
        return self.log.read_text(errors="replace")[-4000:]

    def sample(self) -> None:
        """Note the memory of every process that has lived long enough to have settled."""
        for name in VICTIMS:
            found = self.find(name)
            with contextlib.suppress(psutil.Error):
                if found is not None and time.time() - found.create_time() > SETTLED_S:
                    self.memory[name].append(resident_bytes(found.pid))
        self.memory["dapdee"].append(resident_bytes(self.process.pid))


def schedule(seconds: float, dice: random.Random, both_ways: bool) -> list[Event]:
    """What happens when: as often, for its length, as in the whole run."""
    share = seconds / WHOLE_S
    events = []
    kills = max(len(VICTIMS), round(KILLS * share))
    for number in range(kills):
        whom = VICTIMS[number % len(VICTIMS)]
        # Each in a stretch of its own, so that none is killed before it is back.
        at_s = (number + dice.uniform(0.1, 0.9)) * seconds / kills
        events.append(Event(at_s, "kill", whom))
    for number in range(round(STOPS * share)):
        at_s = (number + dice.uniform(0.1, 0.9)) * seconds / round(STOPS * share)
        events.append(Event(at_s, "stop", "edge", dice.uniform(0.5, 3.0)))
    steps = max(2, round(STEPS * share))
    for number, at_s in enumerate(sorted(dice.uniform(0.0, seconds) for _ in range(steps))):
        back_s = -STEP_S * (number + 1)
        offset_s = (-STEP_S, STEP_S, 0.0)[number % 3] if both_ways else back_s
        events.append(Event(at_s, "step", amount_s=offset_s))
    return sorted(events, key=lambda event: event.at_s)


def wreak(drive: Drive, clock: SteppedClock, seconds: float, events: list[Event]) -> None:
    """Do all that is scheduled, and watch the memory meanwhile."""
    begun_s = time.monotonic()
    sampled_s = -1.0
    pending: dict[str, tuple[float, int]] = {}
    continue_s: dict[int, float] = {}
    while (now_s := time.monotonic() - begun_s) < seconds or pending or continue_s:
        if drive.process.poll() is not None:
            raise SystemExit(f"dapdee car has ended:\n{drive.end_of_log()}")
        if now_s > seconds + PATIENCE_S:
            raise SystemExit(f"{[*pending]} did not come back:\n{drive.end_of_log()}")
        while events and events[0].at_s <= now_s:
            begin(drive, clock, events.pop(0), now_s, pending, continue_s)
        for pid, at_s in list(continue_s.items()):
            if now_s >= at_s:
                del continue_s[pid]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for whom, (killed_s, since) in list(pending.items()):
            if is_back(drive.witness, whom, since):
                del pending[whom]
                drive.back_s[whom].append(now_s - killed_s)
        if now_s - sampled_s > 1.0:
            sampled_s = now_s
            drive.sample()
        time.sleep(0.01)


def begin(
    drive: Drive,
    clock: SteppedClock,
    event: Event,
    now_s: float,
    pending: dict[str, tuple[float, int]],
    continue_s: dict[int, float],
) -> None:
    """Do one thing."""
    if event.what == "step":
        clock.set(event.amount_s)
        return
    victim = drive.wait_for(event.whom)
    with contextlib.suppress(psutil.NoSuchProcess):
        if event.what == "stop":
            victim.suspend()
            continue_s[victim.pid] = now_s + event.amount_s
            drive.stopped += 1
        else:
            since = len(drive.witness.plans if event.whom == "manager" else drive.witness.results)
            victim.kill()
            continue_s.pop(victim.pid, None)
            pending[event.whom] = (now_s, since)
            drive.killed += 1


def is_back(witness: Witness, whom: str, since: int) -> bool:
    """Whether what a process does has been seen again since it was killed."""
    if whom == "manager":
        return len(witness.plans) > since
    results = witness.results
    new = results[since:]
    if whom == "head":
        before = {r.session for r in results[:since]}
        return any(r.session not in before for r in new)
    if whom == "camera":
        # What the old one had sent is answered first.
        return len(new) > MAX_IN_FLIGHT + 2
    lost = next((n for n, r in enumerate(new) if r.place != r.PLACE_EDGE), len(new))
    return any(r.place == r.PLACE_EDGE for r in new[lost:])


@contextlib.contextmanager
def driving(folder: Path, clock: SteppedClock, witness: Witness) -> Iterator[Drive]:
    """``dapdee car`` with an edge beside it, ended in any case."""
    log = folder / "dapdee.log"
    command = [sys.executable, "-m", "dapdee_ros.cli.main", "car", "--edge", "true"]
    command += ["--model", "roadsigns", "--source", "roadsigns"]
    # So slow a car is glad of an edge, so that there are frames on their way.
    command += ["--deadline-s", str(DEADLINE_S), "--threads", "1", "--emulated-slowdown", "10"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **clock.environment, "ROS_HOME": str(folder / "ros")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Drive(process, log, witness)
    finally:
        if process.poll() is None:
            family = [process, *psutil.Process(process.pid).children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    os.kill(member.pid, signal.SIGCONT)
                    os.kill(member.pid, signal.SIGKILL)
            process.wait()


def finish(drive: Drive) -> int:
    """Until all is well again; then stop the camera, wait for the last answers, and end."""
    witness = drive.witness
    time.sleep(SETTLED_S)
    witness.wait_for_edge(len(witness.results), "the edge answers when all is over")
    session = witness.results[-1].session
    camera = drive.find("camera")
    if camera is not None:
        camera.send_signal(signal.SIGINT)  # it ends in order, so it is not started again
    time.sleep(1.0)
    witness.wait(lambda: witness.ledgers[session].in_flight == 0, "all frames have ended")
    time.sleep(2.5)  # a ledger comes every second: now the last word is there, and all results
    drive.process.send_signal(signal.SIGINT)
    return drive.process.wait(PATIENCE_S)


def judge(drive: Drive, status: int) -> dict[str, Any]:
    """What was found, and what of it breaks a promise."""
    results = list(drive.witness.results)
    heads = len({r.session for r in results})
    found = account(drive.witness, heads, drops_since_ledger=True)
    wrong = found.pop("unaccounted_for")
    latest_s = max(r.latency_s for r in results)
    late = sum(r.latency_s > MOST_DEADLINES * DEADLINE_S for r in results)
    if late:
        wrong.append(
            f"{late} results later than {MOST_DEADLINES} deadlines, up to {latest_s:.3f} s"
        )
    for name, samples in drive.memory.items():
        third = max(1, len(samples) // 3)
        before, after = max(samples[:third]), max(samples[-third:])
        if after > GROWTH * before + GROWTH_BYTES:
            wrong.append(f"{name} has grown from {before / 1e6:.0f} to {after / 1e6:.0f} MB")
    if status:
        wrong.append(f"dapdee car ended with status {status}")
    return {
        **found,
        "kills": drive.killed,
        "stops": drive.stopped,
        "heads": heads,
        "latest_s": round(latest_s, 3),
        "late": late,
        "back_s": {
            whom: {"median": sorted(s)[len(s) // 2], "most": max(s)}
            for whom, s in ((w, [round(x, 2) for x in v]) for w, v in drive.back_s.items())
        },
        "memory_mb": {n: round(s[-1] / 1e6, 1) for n, s in drive.memory.items() if s},
        "broken": wrong,
        "ok": not wrong,
    }


def main() -> int:
    """Run it and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=WHOLE_S, help="how long (default 480)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--both-ways", action="store_true", help="set the clock forward as well")
    parser.add_argument("--domain", type=int, help="ROS domain id (default: a random one)")
    args = parser.parse_args()
    if missing := what_is_missing():
        raise SystemExit(f"the clock cannot be stepped here: {missing}")
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["PYTHONUNBUFFERED"] = "1"
    domain = args.domain or random.SystemRandom().randint(1, 101)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    rclpy.init(args=[], domain_id=domain)
    witness = Witness()
    try:
        with tempfile.TemporaryDirectory(prefix="chaos_") as folder:
            clock = SteppedClock(Path(folder))
            with driving(Path(folder), clock, witness) as drive:
                witness.wait_for_edge(0, "the edge answers for the first time")
                time.sleep(SETTLED_S)
                dice = random.Random(args.seed)
                wreak(drive, clock, args.seconds, schedule(args.seconds, dice, args.both_ways))
                figures = judge(drive, finish(drive))
                if not figures["ok"]:
                    print(drive.end_of_log(), file=sys.stderr)
    finally:
        witness.close()
        rclpy.try_shutdown()
    print(json.dumps({"bench": "chaos", "seed": args.seed, "seconds": args.seconds, **figures}))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
