"""Plan a model for a link and a deadline: which exit, which cut, which codec, which gate.

Needs no hardware and no torch: profiles of car and edge server come from `dapdee profile`, or from
the samples in config/profiles. --sweep shows how the plan changes with the link's rate or the
deadline, --draw shows the network with its two sides; both write a PNG and an SVG.

  dapdee plan roadsigns --link 3g --deadline-s 0.2
  dapdee plan roadsigns --link 3g --policy neurosurgeon+u8 --json
  dapdee plan roadsigns --link 4g --sweep deadline --draw --out drawings/roadsigns
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.cli.setting_options import add_settings, settings_from
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.planning.plan import Plan
    from dapdee_ros.planning.policy import Problem, Situation
    from dapdee_ros.planning.sites import Hop
    from dapdee_ros.planning.sweep import Sweep

SUMMARY = "choose exit, cut, codec and gate for a link and a deadline"

_PLANNING = (
    "policy", "deadline_s", "mode", "latency_weight", "period_weight", "quality_floor",
    "quality_tolerance", "period_tolerance", "keep_raw_on_car",
    "keep_raw_on_car_ssim", "gates", "risk",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="model folder or name")
    add("--link", default="4g", help="cat1, 3g, 4g, wifi, 8.5mbit, 300kbit or none (default 4g)")
    add("--rtt-s", type=float, default=0.0, help="round trip of a small packet in s (default 0)")
    add("--link-spread", type=float, default=0.0, help="relative spread of the rate (default 0)")
    add(
        "--rate-hz",
        type=float,
        help="frames per second to keep up with (default: any plan that meets the deadline will "
        "do)",
    )
    add("--load-score", type=float, default=0.0, help="0 idle to 1; heavy from 0.4 (default 0)")
    add("--car-slowdown", type=float, default=1.0, help="current over profiled time (default 1)")
    add("--edge-slowdown", type=float, default=1.0, help="the same for the edge (default 1)")
    add("--car-profile", help="JSON that `dapdee profile` wrote on the car (default: a sample)")
    add("--edge-profile", help="the same for the edge server (default: a sample)")
    add(
        "--codecs",
        help="codecs to consider, a,b,c; all; bottlenecks (default: all that can be planned with)",
    )
    add_settings(parser, PlanningSettings, _PLANNING)
    add("--best", type=int, default=5, help="how many of the best plans to show (default 5)")
    add("--sweep", choices=("link", "deadline"), help="draw how the plan changes with it")
    add("--draw", action="store_true", help="draw the network with the plan's two sides")
    add("--out", type=Path, help="prefix of the drawings' file names (default plan-MODEL)")
    add("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    from dapdee_ros.codecs import CodecError
    from dapdee_ros.core.settings import SettingError
    from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.simulation.link_trace import LinkTraceError

    try:
        return _run(args, read_card(find_model(args.model)))
    except (
        CodecError, GraphError, LinkTraceError, ModelFolderError, PlanningError, SettingError,
    ) as error:  # fmt: skip
        raise CommandError(str(error)) from error


def _run(args: argparse.Namespace, card: ModelCard) -> int:
    from dapdee_ros.cli.optional_packages import require_charts
    from dapdee_ros.exits.bottlenecks import ALL
    from dapdee_ros.files import require_folder
    from dapdee_ros.planning.from_card import (
        ASSUMED_QUALITY,
        choose_profiles,
        problem_of,
        quality_known,
    )
    from dapdee_ros.planning.policy import ask, make_policy
    from dapdee_ros.report.run_log import plain

    if args.out and not (args.sweep or args.draw):
        raise CommandError(
            f"--out {args.out} names drawings, but none is requested: add --sweep link, --sweep "
            "deadline or --draw, or omit --out"
        )
    if args.best < 1:
        raise CommandError(f"--best is {args.best}; expected 1 or more")
    if args.rate_hz is not None and not args.rate_hz > 0:
        raise CommandError(f"--rate-hz is {args.rate_hz}; expected more than 0 frames per second")
    stem = args.out or Path(f"plan-{card.name}")
    if args.sweep or args.draw:
        require_charts("a drawing")
        require_folder(stem.parent)
    settings = settings_from(args, PlanningSettings)
    car, edge = choose_profiles(card, args.car_profile, args.edge_profile)
    codecs = args.codecs.split(",") if args.codecs else [ALL]
    problem = problem_of(card, car, edge, codecs)
    situation = settings.situation(
        problem.sites(args.car_slowdown, args.edge_slowdown),
        (link_hop(args.link, args.rtt_s, args.link_spread),),
        load_score=args.load_score,
        most_period_s=1 / args.rate_hz if args.rate_hz else math.inf,
        energy=settings.energy(problem.car.energy),
    )
    policy = make_policy(args.policy, problem)
    plan = ask(policy, situation, problem)
    others = _others(problem, situation, plan, args.best)

    title = f"{card.name}, {args.policy}, {situation.objective}"
    files: list[Path] = []
    swept = None
    if args.sweep:
        from dapdee_ros.planning.sweep import sweep
        from dapdee_ros.planning.sweep_chart import draw_sweep

        swept = sweep(problem, policy, situation, args.sweep)
        fixed = f"deadline {args.deadline_s:g} s" if args.sweep == "link" else f"link {args.link}"
        files += draw_sweep(
            swept, len(card.dag.exits), f"{title}, {fixed}", _named(stem, args.sweep)
        )
    if args.draw:
        from dapdee_ros.planning.drawing import draw_plan

        sizes = _sizes(problem, plan)
        words = f"{title}, link {args.link}: {_words(plan)}, {plan.latency_s:.3g} s"
        files += draw_plan(card.dag, plan, sizes, words, _named(stem, "cut"))

    if args.json:
        values = _values(args, card, problem, situation, plan, others, swept, files)
        print(json.dumps(plain(values), allow_nan=False))
    else:
        _show(args, card, problem, situation, plan, others, swept, files)
        if not quality_known(card):
            print(f"{card.name}: {ASSUMED_QUALITY}")
    return 0


def link_hop(text: str, rtt_s: float, spread: float = 0.0) -> Hop:
    """A link as it is named on the command line.

    Raises:
        CommandError: for one whose rate changes.
    """
    from dapdee_ros.planning.sites import Hop
    from dapdee_ros.simulation.link_text import parse_link

    if text == "none":
        return Hop(0.0, rtt_s, connected=False)
    trace = parse_link(text)
    if len(trace.rates_bps) > 1:
        raise CommandError(
            f"--link {text}: a plan is made for one rate; give cat1, 3g, 4g, wifi or 8.5mbit"
        )
    return Hop(float(trace.rates_bps[0]), rtt_s, relative_spread=spread)


def _others(problem: Problem, situation: Situation, plan: Plan, count: int) -> list[Plan]:
    """The best plans apart from the chosen one; none if they are too many to list.

    Of neighbouring cuts that send the same bytes in the same time (to a tenth of a millisecond)
    only the first is shown: moving an activation from one side to the other makes no difference.
    """
    from dapdee_ros.graph.cuts import TooManyCuts

    try:
        ranked = problem.table.ranked(10 * count, situation)
    except TooManyCuts:
        return []
    different = {_gist(plan): plan}
    for other in ranked:
        different.setdefault(_gist(other), other)
    return list(different.values())[1:count]


def _gist(plan: Plan) -> tuple[Any, ...]:
    times = (plan.head_s, plan.transfer_s, plan.edge_s)
    return (
        plan.exit_number,
        plan.codec,
        plan.gate,
        plan.boundary_bytes,
        *(round(t, 4) for t in times),
    )


def _sizes(problem: Problem, plan: Plan) -> dict[str, float]:
    sizes = {}
    for name in plan.boundary:
        cost = problem.basis.codec(plan.codec).tensor(problem.dag.by_name[name])
        sizes[name] = cost.coded_bytes if cost else 0.0
    return sizes


def _byte_quantiles(problem: Problem, plan: Plan) -> tuple[float, ...]:
    """Bytes of a frame under a plan at 5, 25, 50, 75 and 95 %, where they are known."""
    if plan.device_only:
        return ()
    return tuple(getattr(problem.basis.codec(plan.codec), "byte_quantiles", ()))


def _named(stem: Path, what: str) -> Path:
    return stem.with_name(f"{stem.name}-{what}")


def _ms(time_s: float) -> str:
    """A time for a column of 8, in ms; ``never`` if nothing can be transferred."""
    return f"{1e3 * time_s:>6.1f}ms" if math.isfinite(time_s) else f"{'never':>8}"


def _words(plan: Plan) -> str:
    where = "car alone" if plan.device_only else f"send {' '.join(plan.boundary)} as {plan.codec}"
    gate = f", gate {plan.gate} at {plan.gate_threshold:.3g}" if plan.gate else ""
    return f"exit {plan.exit_number}, {where}{gate}"


def _values(
    args: argparse.Namespace,
    card: ModelCard,
    problem: Problem,
    situation: Situation,
    plan: Plan,
    others: Sequence[Plan],
    swept: Sweep | None,
    files: Sequence[Path],
) -> dict[str, Any]:
    from dapdee_ros.planning.from_card import quality_known

    return {
        "model": card.name,
        "model_id": card.model_id,
        "quality_known": quality_known(card),
        "policy": args.policy,
        "mode": str(situation.objective),
        "deadline_s": situation.deadline_s,
        "uplink_bps": situation.link.rate_bps,
        "rtt_s": situation.link.rtt_s,
        "car": problem.car.device,
        "edge": problem.edge.device,
        "codecs": [codec.name for codec in problem.codecs],
        "plan": plan.to_dict(),
        "byte_quantiles": list(_byte_quantiles(problem, plan)),
        "next_best": [other.to_dict() for other in others],
        "sweep": [point.to_dict() for point in swept.points] if swept else None,
        "files": [str(path) for path in files],
    }


def _show(
    args: argparse.Namespace,
    card: ModelCard,
    problem: Problem,
    situation: Situation,
    plan: Plan,
    others: Sequence[Plan],
    swept: Sweep | None,
    files: Sequence[Path],
) -> None:
    link = situation.link
    print(
        f"{card.name} ({card.model_id}), link {args.link} ({link.rate_bps / 1e6:g} Mbit/s, round "
        f"trip {link.rtt_s * 1e3:g} ms), deadline {situation.deadline_s:g} s, "
        f"{situation.objective}, policy {args.policy}"
    )
    for role, profile in (("car ", problem.car), ("edge", problem.edge)):
        note = f" ({profile.note})" if profile.note else ""
        print(f"{role}: {profile.device}, {profile.threads} threads, {profile.created}{note}")
    print(f"codecs: {', '.join(codec.name for codec in problem.codecs)}")
    print(
        f"\n  {'car':>8} {'link':>8} {'edge':>8} {'latency':>8} {'mean':>8} {'period':>8} "
        f"{'bytes':>9} {problem.quality_name:>8}"
    )
    for mark, row in (("*", plan), *((" ", other) for other in others)):
        times = (
            row.head_s, row.transfer_s, row.edge_s, row.latency_s, row.expected_latency_s,
            row.period_s,
        )  # fmt: skip
        late = " LATE" if row.late else ""
        print(
            f"{mark} {' '.join(_ms(t) for t in times)} {row.boundary_bytes:>9,.0f} "
            f"{row.quality:>8.3f}  {_words(row)}{late}"
        )
    print(f"\n{plan.reason}")
    if quantiles := _byte_quantiles(problem, plan):
        low, *_, high = quantiles
        print(f"{plan.codec}: nine of ten frames take {low:,.0f} to {high:,.0f} bytes")
    if not math.isfinite(plan.latency_s):
        print(
            f"this plan needs the link, and --link {args.link} carries nothing: no frame would be "
            "answered. Give another link, or a policy that can stay on the car (exact, device-only)"
        )
    if swept:
        print(f"\nThe plan over the {swept.what}:")
        for point in swept.changes():
            value = (
                f"{point.value / 1e6:9.3g} Mbit/s"
                if swept.what == "link"
                else f"{point.value:9.3g} s"
            )
            late = ", late" if point.plan.late else ""
            print(f"{value}  {point.car_share:4.0%} on the car  {_words(point.plan)}{late}")
    for path in files:
        print(f"wrote {path}")
