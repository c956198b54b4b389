"""Run the real network on a recording, once per policy, over a link of your choice.

Frames come from a rosbag2 (mcap or sqlite3, compressed or not; Image or CompressedImage) at the
times at which they were recorded. Answers come from the real network, cut as the policy decides and
with the codec applied; times come from profiles and the link, as in `dapdee simulate`. Writes, per
policy, a bag with results, plans and link quality under the frames' own stamps, and the run's log;
and a report on all of them (report.html).

    dapdee replay drive/                                    list its contents
    dapdee replay drive/ --link 4g --policy exact --policy neurosurgeon --policy device-only
    dapdee replay drive/ --topic front/image_raw --link bag --deadline-s 0.2 --car-slowdown 10

--link takes the same as for `dapdee simulate`, or bag (bag:TOPIC) for the LinkQuality messages
recorded with the frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.cli import scenario_options
from dapdee_ros.errors import CommandError
from dapdee_ros.process_table import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dapdee_ros.bags.frames import FrameStore
    from dapdee_ros.bags.reader import Bag, Topic
    from dapdee_ros.bags.replayed_run import ReplayedRun
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.exits.runnable import Runnable
    from dapdee_ros.planning.device_profile import DeviceProfile
    from dapdee_ros.simulation.scenario import Scenario

SUMMARY = "run the network on a recording, policy by policy"

_BAG_LINK = "bag"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="rosbag2 folder, or its .mcap or .db3 file")
    add("--topic", help="image topic (default: the only one)")
    add("--model", default=DEFAULT_MODEL, help=f"model folder or name (default {DEFAULT_MODEL})")
    add("--link", help="4g, 8.5mbit, drive, steps:..., a trace, or bag; without it: list topics")
    add("--rtt-s", type=float, help="round trip of an empty message (default: the bag's, or 0.02)")
    add(
        "--rate-hz",
        help="frames per second, or max: as fast as they are taken (default: the bag's)",
    )
    add("--frames", type=int, help="stop after this many frames")
    scenario_options.declare(
        parser,
        codecs_help="f32, all, bottlenecks, or codecs a,b,c (default all)",
        profile_help="default: the recorded one, a sample, or measured here",
    )
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="of the result bags")
    add("--out", type=Path, help="folder for the results (default runs/<time>-replay)")
    add("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Replay and print; 0 if every frame is accounted for and some were answered."""
    from dapdee_ros.cli.optional_packages import require_charts

    if args.link is not None:
        require_charts("the report of a replay")
    with scenario_options.mendable_errors():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from dapdee_ros.bags.reader import IMAGE_KINDS, Bag
    from dapdee_ros.exits.card import find_model, read_card
    from dapdee_ros.files import require_folder

    if args.frames is not None and args.frames < 1:
        raise CommandError(f"--frames is {args.frames}; expected 1 or more")
    with Bag(args.bag) as bag:
        if args.link is None:
            return _list(bag, args.json)
        topic = bag.choose(IMAGE_KINDS, args.topic, "--topic", "image topic")
        names = scenario_options.policy_names(args)
        out = args.out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-replay"
        # Before any slow work.
        _check_free(out, names)
        require_folder(out)
        card = read_card(find_model(args.model))
        # Loading takes a second, and whatever is wrong with the arguments is known without it.
        load = cache(partial(_load, card))
        car, edge = (_profile(args, bag, side, card, load) for side in ("car", "edge"))
        store = _frames(bag, topic, card, args.frames)
        arrivals_s = _arrivals_s(args, store)
        scenario = _scenario(args, bag, topic.name, card, (car, edge), store, arrivals_s)
        runs: dict[str, ReplayedRun] = {}
        files: dict[str, tuple[Path, Path]] = {}
        for name, of_policy in _replays(names, scenario, load, arrivals_s, store):
            from dapdee_ros.bags.result_bag import write_result_bag

            runs[name] = of_policy
            # At once: results so far are kept if this is interrupted.
            bag_path, log_path = out / _stem(name), out / f"{_stem(name)}.json"
            write_result_bag(bag_path, args.storage, of_policy, card, store, arrivals_s)
            of_policy.log.save(log_path)
            files[name] = (bag_path, log_path)
    report = _report(out, files)
    if args.json:
        print(json.dumps(_values(runs, store, files, report)))
    else:
        _show(scenario, runs, store, files)
        print(f"report   {report}")
    answered = all(of_policy.frames for of_policy in runs.values())
    return 0 if answered else 1


def _list(bag: Bag, as_json: bool) -> int:
    """List the bag's contents: all that can be done without a link."""
    if as_json:
        topics = [vars(topic) for topic in bag.topics.values()]
        print(json.dumps({"bag": str(bag.path), "seconds": bag.duration_s, "topics": topics}))
        return 0
    print(f"{bag.path}: {bag.duration_s:.1f} s; {bag.listing()}")
    print("give --link to replay it (--link bag takes the recorded one, if there is any)")
    return 0


def _load(card: ModelCard) -> Runnable:
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.runnable import load_runnable

    try:
        return load_runnable(card.path)
    except EngineError as error:
        raise CommandError(str(error)) from error


def _frames(bag: Bag, topic: Topic, card: ModelCard, most: int | None) -> FrameStore:
    from dapdee_ros.bags.frames import read_frames
    from dapdee_ros.tasks.task import task_of

    with _Progress("reading frames", "frame") as tell:
        return read_frames(bag, topic, card.input_spec, task_of(card), most=most, progress=tell)


def _profile(
    args: argparse.Namespace, bag: Bag, side: str, card: ModelCard, load: Callable[[], Runnable]
) -> DeviceProfile:
    """The profile given, else the recorded one, else a sample, else one measured here.

    Raises:
        ProfileError: if the given file is not a profile, or measuring failed.
    """
    from dapdee_ros.bags.recorded_profiles import read_profile
    from dapdee_ros.planning.from_card import choose_profiles, sample_profiles

    path = getattr(args, f"{side}_profile")
    if not path:
        recorded = read_profile(bag, side, card)
        if recorded is not None:
            return recorded
        if not sample_profiles(card.model_id):
            from dapdee_ros.runtime.own_profile import own_profile

            with _Progress(f"no profile of the {side}: measuring here", "run") as tell:
                return own_profile(load(), 1, tell)
    car, edge = choose_profiles(card, path, path)
    return car if side == "car" else edge


def _arrivals_s(args: argparse.Namespace, store: FrameStore) -> NDArray[np.float64]:
    import numpy as np

    if args.rate_hz is None or args.rate_hz == "max":
        arrivals_s = store.arrivals_s
        if args.rate_hz is None and len(arrivals_s) > 1 and not arrivals_s[-1] > 0:
            raise CommandError(
                f"all {len(arrivals_s)} frames were recorded at the same time: give --rate-hz"
            )
        return arrivals_s
    try:
        rate_hz = float(args.rate_hz)
    except ValueError:
        rate_hz = 0.0
    if not 0 < rate_hz < float("inf"):
        raise CommandError(f"--rate-hz is {args.rate_hz!r}; expected a number above 0, or max")
    return np.arange(len(store.frames)) / rate_hz


def _scenario(
    args: argparse.Namespace,
    bag: Bag,
    topic: str,
    card: ModelCard,
    profiles: tuple[DeviceProfile, DeviceProfile],
    store: FrameStore,
    arrivals_s: NDArray[np.float64],
) -> Scenario:
    from dapdee_ros.bags.recorded_link import read_link
    from dapdee_ros.planning.from_card import problem_of, quality_known
    from dapdee_ros.simulation.link_text import parse_link
    from dapdee_ros.simulation.scenario import Scenario

    rtt_s = args.rtt_s
    word, _, link_topic = args.link.partition(":")
    if word == _BAG_LINK:
        recorded = read_link(bag, link_topic or None, store.frames[0].log_ns)
        link = recorded.trace
        rtt_s = recorded.rtt_s if rtt_s is None else rtt_s
    else:
        link = parse_link(args.link)
    last_s = float(arrivals_s[-1])
    interval_s = last_s / (len(arrivals_s) - 1) if len(arrivals_s) > 1 else 1.0
    return Scenario(
        problem=problem_of(card, *profiles, scenario_options.codec_names(args)),
        link=link,
        curves=card.calibration,
        rtt_s=0.02 if rtt_s is None else rtt_s,
        seconds=last_s + interval_s,
        rate_hz=None if args.rate_hz == "max" else 1 / interval_s,
        **scenario_options.scenario_parts(args),
        labels=card.labels,
        task=card.task["name"],
        quality_known=quality_known(card),
        notes={
            "source": "replay",
            "model": card.name,
            "codecs": args.codecs,
            "link": args.link,
            "bag": str(bag.path),
            "topic": topic,
            "frames": len(store.frames),
        },
    )


def _replays(
    names: list[str],
    scenario: Scenario,
    load: Callable[[], Runnable],
    arrivals_s: NDArray[np.float64],
    store: FrameStore,
) -> Iterator[tuple[str, ReplayedRun]]:
    """Replay one policy after another."""
    from dapdee_ros.planning.policy import make_policy

    # All of them first: an unknown name is reported before anything is run.
    policies = {name: make_policy(name, scenario.problem) for name in names}

    from dapdee_ros.bags.answers import NetworkAnswers
    from dapdee_ros.bags.replayed_run import replay
    from dapdee_ros.runtime.split_network import SplitNetwork

    answers = NetworkAnswers(SplitNetwork(load()), store.images)
    for name, policy in policies.items():
        with _Progress(name, "s") as tell:

            def told(at_s: float, tell: Callable[[float, float], None] = tell) -> None:
                tell(at_s, scenario.seconds)

            run = replay(scenario, name, policy, arrivals_s, store, answers, told)
        yield name, run


def _check_free(out: Path, names: list[str]) -> None:
    from dapdee_ros.bags.errors import BagError

    for path in (p for name in names for p in (out / _stem(name), out / f"{_stem(name)}.json")):
        if path.exists():
            raise BagError(f"{path} already exists and is not overwritten: give another --out")


def _stem(policy: str) -> str:
    return policy.replace(":", ".").replace("/", "-")


def _report(out: Path, files: dict[str, tuple[Path, Path]]) -> Path:
    from dapdee_ros.report.comparison import Run
    from dapdee_ros.report.page import write_report
    from dapdee_ros.report.run_log import RunLog

    path = out / "report.html"
    # Read back what was written, so that a later report shows the same.
    logs = [Run(log_path, RunLog.load(log_path)) for _, log_path in files.values()]
    write_report(logs, path, None)
    return path


class _Progress:
    """A progress bar on standard error; call it with the number done and the total."""

    def __init__(self, what: str, unit: str) -> None:
        from tqdm import tqdm

        self._bar = partial(tqdm, desc=what, unit=unit, file=sys.stderr, leave=False)
        self._shown: Any = None

    def __enter__(self) -> Callable[[float, float], None]:
        return self._tell

    def _tell(self, done: float, total: float) -> None:
        if self._shown is None:
            self._shown = self._bar(total=round(total, 1))
        self._shown.update(round(done, 1) - self._shown.n)

    def __exit__(self, *_error: object) -> None:
        if self._shown is not None:
            self._shown.close()


def _values(
    runs: dict[str, ReplayedRun],
    store: FrameStore,
    files: dict[str, tuple[Path, Path]],
    report: Path,
) -> dict[str, Any]:
    from dapdee_ros.report.summary import summarise

    settings = next(iter(runs.values())).log.settings
    own = ("policy", "agreement")
    return {
        "settings": {key: value for key, value in settings.items() if key not in own},
        "frames": len(store.frames),
        "unreadable": list(store.unreadable),
        "report": str(report),
        "runs": {
            name: {
                "summary": summarise(of_policy.log),
                "agreement": of_policy.agreement,
                "complaints": of_policy.complaints,
                "bag": str(files[name][0]),
                "log": str(files[name][1]),
            }
            for name, of_policy in runs.items()
        },
    }


def _show(
    scenario: Scenario,
    runs: dict[str, ReplayedRun],
    store: FrameStore,
    files: dict[str, tuple[Path, Path]],
) -> None:
    from dapdee_ros.report.summary import summarise

    log = next(iter(runs.values())).log
    settings = log.settings
    rate = "as fast as they are taken" if scenario.rate_hz is None else f"{scenario.rate_hz:.3g} Hz"
    print(
        f"{settings['bag']}, {settings['topic']}: {len(store.frames)} frames, {rate}; "
        f"{settings['model']}, deadline {scenario.planning.deadline_s:g} s"
    )
    print(f"link: {scenario.link.describe()}, round trip {1e3 * scenario.rtt_s:.3g} ms")
    print(f"car:  {settings['car']}\nedge: {settings['edge']}")
    for why in dict.fromkeys(store.unreadable):
        print(f"dropped {store.unreadable.count(why)} frames: {why}")
    width = max(6, *(len(name) for name in runs))
    print(
        f"\n{'policy':<{width}}  results  median    95 %   late  dropped  sent/frame   edge  "
        f"fallback  as uncut  {log.quality_name}"
    )
    for name, of_policy in runs.items():
        s = summarise(of_policy.log)
        if not s["recorded"]:
            print(f"{name:<{width}}  no results; {of_policy.complaints or 'no complaint'}")
            continue
        share = {p: v["frames"] / s["recorded"] for p, v in s["places"].items()}
        quality = f"{s['quality']:8.1%}" if s["quality"] is not None else " unknown"
        print(
            f"{name:<{width}}  {s['results']:7d} {1e3 * s['median_latency_s']:5.0f}ms "
            f"{1e3 * s['p95_latency_s']:5.0f}ms {s['late_ratio']:6.1%} {s['drop_ratio']:8.1%} "
            f"{s['sent_bytes_per_frame'] / 1e3:8.1f} kB {share.get('edge', 0):6.0%} "
            f"{share.get('fallback', 0):9.1%} {of_policy.agreement or 0:9.1%}  {quality}"
        )
        for complaint, count in of_policy.complaints.items():
            print(f"{'':<{width}}  {count} times {complaint}")
    print()
    for bag_path, log_path in files.values():
        print(f"wrote {bag_path} and {log_path}")
