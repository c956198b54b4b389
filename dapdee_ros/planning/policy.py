"""What a policy is given and has to return, and where policies come from."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.conditions import QUALITY_ROUNDING, quality_of
from dapdee_ros.planning.errors import PlanningError, PolicyError
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.problem import Problem as Problem
from dapdee_ros.planning.situation import Situation as Situation

ENTRY_POINTS = "dapdee_ros.policies"

# Loaded only when asked for, so that the default policy's process never imports networkx.
_BUILT_IN = {
    "device-only": "dapdee_ros.planning.policies.device_only:DeviceOnly",
    "edge-only": "dapdee_ros.planning.policies.edge_only:EdgeOnly",
    "edge-only-jpeg": "dapdee_ros.planning.policies.edge_only:EdgeOnlyJpeg",
    "neurosurgeon": "dapdee_ros.planning.policies.neurosurgeon:Neurosurgeon",
    "dads": "dapdee_ros.planning.policies.dads:Dads",
    "branchynet": "dapdee_ros.planning.policies.branchynet:BranchyNet",
    "edgent": "dapdee_ros.planning.policies.edgent:Edgent",
    "eddi": "dapdee_ros.planning.policies.eddi:Eddi",
    "dapdee": "dapdee_ros.planning.policies.dapdee:Dapdee",
    "exact": "dapdee_ros.planning.policies.exact:Exact",
    "oracle": "dapdee_ros.planning.policies.oracle:Oracle",
}

_OVERHEADS = "overheads"
_SECONDS = ("latency_s", "expected_latency_s", "period_s", "energy_j")


class Policy(Protocol):
    """Chooses plans. Made once for a problem, asked again whenever something changes.

    A policy that is more than that says so by attributes of the names in ``Traits``.
    """

    def plan(self, situation: Situation) -> Plan:
        """The plan to follow from now on."""


class Traits(NamedTuple):
    """What a policy says of itself; what it says nothing of is false.

    Attributes:
        minimises_objective: it minimises what plans are judged by (``Plan.objective_s``), so that a
            new plan has to gain enough to be changed to. The plans of others are simply followed.
        is_quick: it plans within microseconds, so that it may be asked between two messages.
        needs_future: it has to be told the link's true future, which only an experiment knows.
        ignores_overheads: it plans as if a frame cost no site anything beside the network, as its
            paper does; its plans are priced with what it does cost.
    """

    minimises_objective: bool = False
    is_quick: bool = False
    needs_future: bool = False
    ignores_overheads: bool = False


def traits_of(policy: Policy) -> Traits:
    """What a policy says of itself."""
    return Traits(*(bool(getattr(policy, name, False)) for name in Traits._fields))


# Anything that makes a policy from a problem: usually the policy's class.
PolicyFactory = Callable[..., Policy]


def policy_names() -> list[str]:
    """Names of all policies: the built-in ones and those of installed packages."""
    return [*_BUILT_IN, *sorted(set(_installed()) - set(_BUILT_IN))]


def make_policy(name: str, problem: Problem, **options: Any) -> Policy:
    """A policy by name.

    Args:
        name: a built-in name, one of an installed package's entry points (group
            ``dapdee_ros.policies``), or a dotted path ``package.module:Factory``; followed by
            ``+codec`` (or ``+any``) where the boundary is not to be sent as it is, and by
            ``+overheads`` where a policy that ignores them is to know them.
        problem: what it plans for.
        options: keyword arguments of the policy.

    Raises:
        PolicyError: if there is no such policy, or it cannot be loaded or made.

    >>> from dapdee_ros.exits.card import find_model, read_card
    >>> from dapdee_ros.planning.sites import Hop, car_and_edge
    >>> from dapdee_ros.planning.from_card import problem_of, sample_profiles
    >>> card = read_card(find_model("roadsigns"))
    >>> car, *_, edge = sample_profiles(card.model_id)
    >>> policy = make_policy("edge-only", problem_of(card, car, edge, ["f32"]))
    >>> plan = policy.plan(Situation(car_and_edge(), (Hop(5.85e6, 0.02),), deadline_s=0.1))
    >>> plan.exit_number, plan.boundary, plan.codec
    (5, ('image',), 'f32')
    """
    base, *wishes = name.split("+")
    knows_overheads = _OVERHEADS in wishes
    for codec in wishes:
        if codec != _OVERHEADS:
            options["codec"] = codec
    factory = _factory(base)
    try:
        policy: Policy = factory(problem, **options)
        if knows_overheads:
            policy.ignores_overheads = False  # type: ignore[attr-defined]
        return policy
    except PlanningError:
        raise
    except BaseException as error:
        _let_ctrl_c_through(error)
        raise PolicyError(
            f"policy {name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error


def sends_plain(name: str) -> bool:
    """Whether a policy sends tensors as they are, but could do otherwise with ``+codec``.

    Args:
        name: as ``make_policy`` takes it; of one that is unknown nothing is said.
    """
    base, *wishes = name.split("+")
    if any(wish != _OVERHEADS for wish in wishes):
        return False
    try:
        codec = inspect.signature(_factory(base)).parameters.get("codec")
    except PolicyError:
        return False
    return codec is not None and codec.default == "f32"


def check_start(name: str) -> None:
    """Whether a process can be started with a policy; it is made only with the profiles.

    Args:
        name: as ``make_policy`` takes it.

    Raises:
        PolicyError: if there is no such policy, or it cannot be loaded.
    """
    _factory(name.partition("+")[0])


def check_switch(name: str, at_start: str) -> None:
    """Check the name of a policy that is asked for while the manager runs.

    Such a wish comes over the network, from anybody: it may choose among what is installed as a
    policy, but a path would let it import and call whatever Python finds.

    Args:
        name: as ``make_policy`` takes it.
        at_start: the one that the process was started with, which may be returned to.

    Raises:
        PolicyError: if it is unknown, or a path other than the one at the start.
    """
    base, started = name.partition("+")[0], at_start.partition("+")[0]
    if base == started or base in policy_names():
        return
    if ":" in base:
        raise PolicyError(
            f"policy {base!r} is no policy that can be switched to: a path is taken only at the "
            f"start; there are {', '.join(policy_names())}"
        )
    raise PolicyError(f"policy {base!r} is unknown; there are {', '.join(policy_names())}")


def ask(policy: Policy, situation: Situation, problem: Problem) -> Plan:
    """A policy's plan, checked: a faulty policy must not stop or mislead whoever asks.

    Raises:
        PolicyError: if the policy raises, or returns what is no plan for this model; as
            ConditionError if its plan breaks a hard condition of the situation.
    """
    name = type(policy).__name__
    ignores = traits_of(policy).ignores_overheads
    try:
        plan = policy.plan(situation.without_overheads if ignores else situation)
    except PlanningError:
        raise
    except BaseException as error:
        _let_ctrl_c_through(error)
        raise PolicyError(f"policy {name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(plan, Plan):
        raise PolicyError(f"policy {name} returned {type(plan).__name__}, expected a Plan")
    if fault := _fault_of(plan):
        raise PolicyError(f"policy {name} returned a plan that cannot be told: {fault}")
    try:
        head_of(problem.dag, plan.exit_number, plan.boundary)
    except GraphError as error:
        raise PolicyError(f"policy {name} returned a plan that cannot run: {error}") from error
    situation.conditions.check(problem, plan.key, f"the plan of policy {name}")
    # Its own word for its quality does not count, here as little as against the floor.
    if ignores and any(site.overhead.any for site in situation.sites):
        plan = _with_overheads(plan, situation, problem)
    measured = quality_of(problem, *plan.key)
    if measured is None or abs(plan.quality - measured) <= QUALITY_ROUNDING:
        return plan
    return replace(plan, quality=measured)


def _with_overheads(plan: Plan, situation: Situation, problem: Problem) -> Plan:
    """The plan of a policy that ignores overheads, priced with them; its choice is left alone."""
    exit_number, boundary, codec, gate, threshold = plan.key
    try:
        priced = situation.price(
            problem, exit_number, boundary, codec, plan.reason, gate=gate, gate_threshold=threshold
        )
    except PlanningError:
        return plan
    return replace(priced, quality=plan.quality)


def _fault_of(plan: Plan) -> str:
    """What of a plan is no value for its field; empty if all are."""
    for name in _SECONDS:
        if not isinstance(getattr(plan, name), Real):
            return f"{name} is {getattr(plan, name)!r}, expected a number of seconds or NaN"
    for name in ("stages", "crossings"):
        if not isinstance(getattr(plan, name), tuple):
            return f"{name} is {getattr(plan, name)!r}, expected a tuple"
    for stage in plan.stages:
        if not isinstance(stage, Stage) or not isinstance(stage.site, str):
            return f"a stage is {stage!r}, expected a Stage of a site's id"
        if not isinstance(stage.seconds, Real):
            return f"seconds of {stage.site} are {stage.seconds!r}, expected a number or NaN"
    if fault := _fault_of_crossings(plan):
        return fault
    whole = {"exit_number": plan.exit_number, "gate": plan.gate or 0}
    for name, value in whole.items():
        if not isinstance(value, Integral) or not 0 <= value < 2**8:
            return f"{name} is {value!r}, expected a whole number from 0 to 255"
    shares = {"gate_threshold": plan.gate_threshold or 0.0, "quality": plan.quality}
    for name, share in shares.items():
        if not isinstance(share, Real):
            return f"{name} is {share!r}, expected a number"
    if not isinstance(plan.objective, Objective):
        return f"objective is {plan.objective!r}, expected an Objective"
    if not isinstance(plan.reason, str):
        return f"reason is {plan.reason!r}, expected text"
    return ""


def _fault_of_crossings(plan: Plan) -> str:
    """What of a plan's stages and crossings does not belong together, or is no value."""
    if len(plan.crossings) > 1:
        return f"it crosses {len(plan.crossings)} hops, expected one at most"
    if len(plan.stages) != len(plan.crossings) + 1:
        return (
            f"{len(plan.stages)} stages and {len(plan.crossings)} crossings, expected one stage "
            "more than crossings"
        )
    for crossing in plan.crossings:
        if not isinstance(crossing, Crossing) or not crossing.boundary:
            return f"a crossing is {crossing!r}, expected a Crossing with a boundary"
        if not isinstance(crossing.seconds, Real):
            return f"seconds of a crossing are {crossing.seconds!r}, expected a number or NaN"
        n_bytes = crossing.sent_bytes
        if not isinstance(n_bytes, Real) or not 0 <= n_bytes < 2**32:
            return f"sent_bytes is {n_bytes!r}, expected 0 to {2**32 - 1}"
        if not isinstance(crossing.codec, str):
            return f"codec is {crossing.codec!r}, expected text"
    return ""


def _let_ctrl_c_through(error: BaseException) -> None:
    """Raise an interrupt of the user again; only the main thread gets one."""
    on_main = threading.current_thread() is threading.main_thread()
    if isinstance(error, KeyboardInterrupt) and on_main:
        raise error


def _installed() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _factory(name: str) -> PolicyFactory:
    path = _BUILT_IN.get(name, name)
    try:
        if ":" in path:
            module, _, attribute = path.partition(":")
            return getattr(importlib.import_module(module), attribute)
        point = _installed().get(name)
        if point is not None:
            return point.load()
    except BaseException as error:
        _let_ctrl_c_through(error)
        raise PolicyError(
            f"policy {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    raise PolicyError(
        f"policy {name!r} is unknown; there are {', '.join(policy_names())}, or give "
        "package.module:Class"
    )
