"""Serialised messages against their types' bounds, without ROS: what is walked is made by hand."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from codec.cdr_writer import Writer

from dapdee_ros.codecs.cdr_check import MOST_TEXT_BYTES, CdrError, MessageLayout

TYPES = {
    "std/Header": {"sec": "int32", "nanosec": "uint32", "frame_id": "string"},
    "own/Spec": {
        "name": "string<8>",
        "shape": "sequence<uint32, 4>",
        "scale": "sequence<double, 3>",
        "last": "uint8",
    },
    "own/Tensor": {
        "header": "std/Header",
        "sent_s": "double",
        "exit": "uint8",
        "names": "sequence<string<4>, 3>",
        "specs": "sequence<own/Spec, 2>",
        "matrix": "double[2]",
        "flags": "boolean[3]",
        "data": "sequence<uint8, 100000>",
    },
    "own/Loose": {"numbers": "sequence<int16>", "texts": "sequence<string>"},
}  # fmt: skip
TENSOR = MessageLayout("own/Tensor", TYPES.__getitem__)
LOOSE = MessageLayout("own/Loose", TYPES.__getitem__)
HUGE = 2**32 - 1


def tensor(change: Callable[[Writer, str], bool] | None = None, *, little: bool = True) -> bytes:
    """A message that uses every field; ``change`` may write a field in its own way."""
    w = Writer(little=little)

    def put(field: str, write: Callable[[], object]) -> None:
        if change is None or not change(w, field):
            write()

    w.number("i", 5).number("I", 6)
    put("frame_id", lambda: w.text("camera"))
    w.number("d", 1.5).number("B", 3)
    put("names", lambda: w.number("I", 2).text("a").text("bcd"))
    put("specs", lambda: w.number("I", 2))
    for _ in range(2):
        put("name", lambda: w.text("conv1"))
        put("shape", lambda: w.numbers("I", [1, 2, 3]))
        put("scale", lambda: w.numbers("d", [0.5]))
        w.number("B", 9)
    w.number("d", 1.0, 2.0).number("B", 1, 0, 1)
    put("data", lambda: w.numbers("B", [7] * 50))
    return w.done()


@pytest.mark.parametrize("little", [True, False])
def test_what_is_whole_and_within_its_bounds_passes(little: bool) -> None:
    TENSOR.check(tensor(little=little))


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize(
    ("field", "write", "words"),
    [
        ("frame_id", lambda w: w.text("x", HUGE), "frame_id has a length of 4294967295"),
        ("frame_id", lambda w: w.text("x" * MOST_TEXT_BYTES), "expected at most 1024"),
        ("names", lambda w: w.number("I", HUGE), "names has a length of 4294967295"),
        ("names", lambda w: w.number("I", 4), "names has a length of 4, expected at most 3"),
        ("names", lambda w: w.number("I", 2).text("a").text("x" * 17), "expected at most 17"),
        ("specs", lambda w: w.number("I", 3), "specs has a length of 3, expected at most 2"),
        ("name", lambda w: w.text("conv1", 2**31), "name has a length of 2147483648"),
        ("name", lambda w: w.text("x" * 33), "name has a length of 34, expected at most 33"),
        ("shape", lambda w: w.numbers("I", [1] * 5), "shape has a length of 5"),
        ("scale", lambda w: w.numbers("d", [1.0], HUGE), "scale has a length of 4294967295"),
        ("scale", lambda w: w.numbers("d", [], 3), ""),  # what follows no longer fits
        ("data", lambda w: w.numbers("B", [7] * 50, 99_999), "data ends at byte"),
        ("data", lambda w: w.numbers("B", [7] * 50, 20), "bytes are left over"),
    ],
)
def test_lengths_that_lie_are_named(
    field: str, write: Callable[[Writer], object], words: str, little: bool
) -> None:
    def change(w: Writer, at: str) -> bool:
        if at != field:
            return False
        write(w)
        return True

    with pytest.raises(CdrError, match=words):
        TENSOR.check(tensor(change, little=little))


def test_a_message_cut_off_anywhere_is_refused() -> None:
    whole = tensor()
    content = len(whole.rstrip(b"\0")) if whole[-1] == 0 else len(whole)
    for length in range(content):
        with pytest.raises(CdrError):
            TENSOR.check(whole[:length])


def test_other_forms_are_refused() -> None:
    for form in ([0, 2], [0, 3], [0, 7], [1, 0], [255, 255]):
        with pytest.raises(CdrError, match="plain CDR"):
            TENSOR.check(bytes(form) + tensor()[2:])
    with pytest.raises(CdrError, match="header of 4"):
        TENSOR.check(b"\0\1")


def test_without_a_bound_the_message_s_own_length_is_one() -> None:
    LOOSE.check(Writer().numbers("h", [1] * 5000).number("I", 1).text("x").done())
    for claimed in (HUGE, 10**6):
        with pytest.raises(CdrError):
            LOOSE.check(Writer().numbers("h", [1], claimed).done())
        with pytest.raises(CdrError, match=f"texts has a length of {claimed}"):
            LOOSE.check(Writer().numbers("h", []).number("I", claimed).text("x").done())


def test_nothing_is_allocated_whatever_is_claimed() -> None:
    dice = random.Random(3)
    whole = tensor()
    tracemalloc.start()
    try:
        for _ in range(3000):
            data = bytearray(whole)
            for _ in range(dice.choice((1, 2, 5))):
                at = dice.randrange(4, len(data) - 4)
                data[at : at + 4] = dice.choice((b"\xff" * 4, b"\0" * 4, dice.randbytes(4)))
            tracemalloc.reset_peak()
            floor = tracemalloc.get_traced_memory()[0]
            try:
                TENSOR.check(bytes(data))
            except CdrError as error:
                assert 5 < len(str(error)) < 300
            assert tracemalloc.get_traced_memory()[1] - floor < 20_000
    finally:
        tracemalloc.stop()


def test_a_type_that_is_not_known_here_is_named() -> None:
    with pytest.raises(ValueError, match="wide is a wstring"):
        MessageLayout("own/Wide", {"own/Wide": {"wide": "wstring"}}.__getitem__)
