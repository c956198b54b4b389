"""Which operations to run, in which order, and when to free their results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

Values = list[Any]
Call = Callable[[Values], Any]


@dataclass(frozen=True)
class Operation:
    """One call, compiled.

    Attributes:
        slot: place of its result among the values of a run.
        reads: places of the values that it reads.
        call: computes the result from the values.
        call_in_place: the same, overwriting the first value read; None if there is no such form or
            the memory may be shared.
        name: of the DAG node that is charged its cost.
    """

    slot: int
    reads: tuple[int, ...]
    call: Call
    call_in_place: Call | None
    name: str


@dataclass(frozen=True)
class Step:
    """One operation of a plan: what to call and which values are not needed after it."""

    call: Call
    slot: int
    free: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Plan:
    """What to run to get some tensors from others.

    Attributes:
        stages: for each stage the steps to run.
        free_after: for each stage the slots to empty once its results have been handed out.
    """

    stages: tuple[tuple[Step, ...], ...]
    free_after: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Slot:
    """Placeholder for a value of the run in a call's arguments."""

    index: int


def compile_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call:
    """A function that makes one call on the values of a run.

    Args:
        function: what to call.
        args: positional arguments; a ``Slot`` anywhere in them stands for a value.
        kwargs: keyword arguments, likewise.
    """
    if not kwargs and all(type(a) is Slot for a in args):
        if len(args) == 1:
            first = args[0].index
            return lambda values: function(values[first])
        if len(args) == 2:
            first, second = args[0].index, args[1].index
            return lambda values: function(values[first], values[second])

    def call(values: Values) -> Any:
        return function(
            *[_filled(a, values) for a in args],
            **{key: _filled(a, values) for key, a in kwargs.items()},
        )

    return call


def _filled(argument: Any, values: Values) -> Any:
    if type(argument) is Slot:
        return values[argument.index]
    if isinstance(argument, list):
        return [_filled(item, values) for item in argument]
    if isinstance(argument, tuple):
        items = [_filled(item, values) for item in argument]
        return type(argument)(*items) if hasattr(argument, "_fields") else tuple(items)
    if isinstance(argument, dict):
        return {key: _filled(item, values) for key, item in argument.items()}
    if isinstance(argument, slice):
        return slice(
            _filled(argument.start, values),
            _filled(argument.stop, values),
            _filled(argument.step, values),
        )
    return argument


class Missing(Exception):
    """A plan would need a slot that isn't given and that nothing computes."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.slot = slot


def make_plan(
    operations: Sequence[Operation | None],
    given: Collection[int],
    stages: Sequence[Sequence[int]],
) -> Plan:
    """Plan the fewest operations that yield the wanted slots, stage by stage.

    Args:
        operations: by slot, in an order in which they can run; None for the input.
        given: slots that will be filled.
        stages: slots wanted, per stage; what an earlier stage computed is there for later ones.

    Raises:
        Missing: if something needed is neither given nor computed.
    """
    runs = _needed_operations(operations, set(given), stages)
    last_read: dict[int, int] = {}  # slot: position of the operation that reads it last
    last_wanted: dict[int, int] = {}  # slot: stage that hands it out last
    position = 0
    for stage, (run, wanted) in enumerate(zip(runs, stages, strict=True)):
        last_wanted.update(dict.fromkeys(wanted, stage))
        for operation in run:
            last_read.update(dict.fromkeys(operation.reads, position))
            position += 1

    untouchable = {*given, *last_wanted}
    planned: list[tuple[Step, ...]] = []
    free_after: list[tuple[int, ...]] = []
    position = 0
    for stage, run in enumerate(runs):
        steps = []
        for operation in run:
            dying = tuple(
                slot
                for slot in operation.reads
                if last_read[slot] == position and last_wanted.get(slot, -1) < stage
            )
            call = operation.call
            if operation.call_in_place is not None:
                overwritten = operation.reads[0]
                if overwritten in dying and overwritten not in untouchable:
                    call = operation.call_in_place
            steps.append(Step(call, operation.slot, dying, operation.name))
            position += 1
        planned.append(tuple(steps))
        free_after.append(
            tuple(
                slot
                for slot, at in last_wanted.items()
                if at == stage and last_read.get(slot, -1) < position
            )
        )
    return Plan(tuple(planned), tuple(free_after))


def _needed_operations(
    operations: Sequence[Operation | None], there: set[int], stages: Sequence[Sequence[int]]
) -> list[list[Operation]]:
    """For each stage what has to run, in order; what earlier stages computed is there."""
    runs = []
    for wanted in stages:
        needed: dict[int, Operation] = {}
        waiting = [slot for slot in wanted if slot not in there]
        while waiting:
            slot = waiting.pop()
            if slot in needed:
                continue
            operation = operations[slot]
            if operation is None:
                raise Missing(slot)
            needed[slot] = operation
            waiting += [read for read in operation.reads if read not in there]
        runs.append([needed[slot] for slot in sorted(needed)])
        there = there | set(needed)
    return runs
