"""Options shared by `dapdee simulate` and `dapdee replay`: policies, planning, machines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dapdee_ros.cli.setting_options import add_settings, settings_from
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.errors import CommandError

_PLANNING = (
    "deadline_s", "max_in_flight", "mode", "latency_weight", "period_weight", "quality_floor",
    "quality_tolerance", "period_tolerance", "keep_raw_on_car",
    "keep_raw_on_car_ssim", "gates", "risk",
    "frame_utilisation", "plan_margin", "min_dwell_s",
)  # fmt: skip


def declare(parser: argparse.ArgumentParser, *, codecs_help: str, profile_help: str) -> None:
    """Declare the options, with the command's own help texts where they differ."""
    add = parser.add_argument
    add(
        "--policy",
        action="append",
        help="a policy, may be repeated: exact, oracle, dapdee, dads, neurosurgeon, edgent, "
        "eddi, branchynet, device-only, edge-only, or package.module:Class; +codec or +any behind "
        "the name for those that send plain tensors (default exact)",
    )
    add_settings(parser, PlanningSettings, _PLANNING)
    add("--codecs", default="all", help=codecs_help)
    add("--car-profile", help=f"JSON that `dapdee profile` wrote on the car ({profile_help})")
    add("--edge-profile", help="the same for the edge server")
    add("--car-slowdown", default="1", help="over its profile: 1.5, or 1@0,3@20 (default 1)")
    add("--edge-slowdown", default="1", help="the same for the edge server (default 1)")


def policy_names(args: argparse.Namespace) -> list[str]:
    """The requested policies, each once."""
    return list(dict.fromkeys(args.policy or [PlanningSettings.policy]))


def codec_names(args: argparse.Namespace) -> tuple[str, ...]:
    """The requested codecs, by name or in groups."""
    return tuple(args.codecs.split(","))


def scenario_parts(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``Scenario`` that these options give.

    Raises:
        LoadTraceError, SettingError: for invalid values.
    """
    from dapdee_ros.simulation.load_trace import parse_load

    return {
        # Each run has its own policy.
        "planning": settings_from(args, PlanningSettings, policy=PlanningSettings.policy),
        "car_load": parse_load(args.car_slowdown),
        "edge_load": parse_load(args.edge_slowdown),
    }


@contextmanager
def mendable_errors() -> Iterator[None]:
    """Turn errors that a user can fix into a message.

    Raises:
        CommandError: for every error of models, plans, links, bags and scenarios.
    """
    from dapdee_ros.bags.errors import BagError
    from dapdee_ros.codecs import CodecError
    from dapdee_ros.core.settings import SettingError
    from dapdee_ros.exits.card import ModelFolderError
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.simulation.block_chain import BlockChainError
    from dapdee_ros.simulation.link_trace import LinkTraceError
    from dapdee_ros.simulation.load_trace import LoadTraceError
    from dapdee_ros.simulation.scenario import ScenarioError

    try:
        yield
    except (
        BagError, BlockChainError, CodecError, GraphError, LinkTraceError, LoadTraceError,
        ModelFolderError, PlanningError, ScenarioError, SettingError,
    ) as error:  # fmt: skip
        raise CommandError(str(error)) from error
