import pytest

from dapdee_ros.core.frames import Place
from dapdee_ros.core.ledger import FrameLedger, LedgerError


def test_every_frame_ends_once_and_the_sums_agree() -> None:
    ledger = FrameLedger()
    numbers = [ledger.accept() for _ in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    ledger.end_with_result(1, Place.EDGE, missed=False)
    ledger.end_with_result(2, Place.CAR_FALLBACK, missed=True)
    ledger.end_with_drop(3, "superseded")
    summary = ledger.summary()
    assert (summary.accepted, summary.results, summary.drops, summary.in_flight) == (5, 2, 1, 2)
    assert summary.places == {Place.EDGE: 1, Place.CAR_FALLBACK: 1}
    assert summary.reasons == {"superseded": 1}
    assert summary.deadline_misses == 1


@pytest.mark.parametrize("number", [1, 7])
def test_a_frame_that_is_not_open_cannot_end(number: int) -> None:
    ledger = FrameLedger()
    ledger.accept()
    ledger.end_with_drop(1, "first end")
    with pytest.raises(LedgerError, match=f"frame {number}"):
        ledger.end_with_result(number, Place.CAR, missed=False)
    assert ledger.summary().results == 0
