"""Plans on random graphs: right values, no needless work, nothing read after it was let go."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.graph.plan import Missing, Operation, Slot, compile_call, make_plan


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], set[int], list[list[int]]]:
    """What each slot reads (slot 0 is the input), the given slots, the slots wanted per stage."""
    size = draw(st.integers(2, 9))
    reads: list[tuple[int, ...]] = [()]
    for slot in range(1, size):
        earlier = st.integers(0, slot - 1)
        reads.append(tuple(draw(st.lists(earlier, min_size=1, max_size=3, unique=True))))
    given_slots = draw(st.sets(st.integers(0, size - 1)))
    slots = st.lists(st.integers(0, size - 1), min_size=1, max_size=3)
    return reads, given_slots, draw(st.lists(slots, min_size=1, max_size=3))


def truth(slot: int, reads: list[tuple[int, ...]]) -> Any:
    """The value of a slot, written out."""
    return (slot, *(truth(read, reads) for read in reads[slot]))


def needed(slot: int, reads: list[tuple[int, ...]], there: set[int]) -> set[int]:
    """The slots to compute for one slot; holds 0 if that can't be."""
    if slot in there:
        return set()
    return {slot}.union(*(needed(read, reads, there) for read in reads[slot]))


@settings(max_examples=400, deadline=None)
@given(graphs())
def test_plans_of_random_graphs(
    graph: tuple[list[tuple[int, ...]], set[int], list[list[int]]],
) -> None:
    reads, given_slots, stages = graph
    ran: list[int] = []
    overwritten: set[int] = set()

    def call(slot: int, in_place: bool, values: list[Any]) -> Any:
        ran.append(slot)
        assert not overwritten & set(reads[slot])
        result = (slot, *(values[read] for read in reads[slot]))
        assert None not in result
        if in_place:
            overwritten.add(reads[slot][0])
        return result

    operations: list[Operation | None] = [None]
    for slot in range(1, len(reads)):
        calls = partial(call, slot, False), partial(call, slot, True)
        operations.append(Operation(slot, reads[slot], *calls, str(slot)))
    expected = [
        set().union(*(needed(slot, reads, given_slots) for slot in wanted)) for wanted in stages
    ]
    if 0 in set().union(*expected):
        with pytest.raises(Missing):
            make_plan(operations, given_slots, stages)
        return

    plan = make_plan(operations, given_slots, stages)
    values: list[Any] = [truth(s, reads) if s in given_slots else None for s in range(len(reads))]
    done: set[int] = set()
    for steps, free, wanted, needs in zip(
        plan.stages, plan.free_after, stages, expected, strict=True
    ):
        ran.clear()
        for step in steps:
            values[step.slot] = step.call(values)
            for slot in step.free:
                values[slot] = None
        assert sorted(ran) == sorted(needs - done)
        done |= needs
        assert [values[slot] for slot in wanted] == [truth(slot, reads) for slot in wanted]
        # Not what is handed out in any stage either: the caller may still hold it.
        assert not overwritten & given_slots.union(*stages)
        for slot in free:
            values[slot] = None
    # Only what was given and never read may be left.
    assert all(values[slot] is None for slot in done)


def test_arguments_are_filled_wherever_they_stand() -> None:
    def show(*args: object, **kwargs: object) -> object:
        return args, kwargs

    values = [10, 11, 12]
    nested = ([Slot(0), (Slot(1), 5)], {"k": Slot(2)}, slice(None, Slot(1)))
    call = compile_call(show, nested, {"dim": [Slot(0)]})
    assert call(values) == (([10, (11, 5)], {"k": 12}, slice(None, 11)), {"dim": [10]})
    assert compile_call(show, (Slot(2),), {})(values) == ((12,), {})
    assert compile_call(show, (Slot(2), Slot(0)), {})(values) == ((12, 10), {})
