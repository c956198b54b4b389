"""The ledger of frames: every frame that is accepted ends exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from dapdee_ros.core.frames import Place, Status


class LedgerError(RuntimeError):
    """A frame was ended that is not open: a defect of the runtime."""


_MOST_REASONS = 32
_OTHER_REASONS = "other reasons"


class DropKind(Enum):
    """Why a frame was dropped, by what can be done about it."""

    SUPERSEDED = "superseded"
    """A newer frame arrived before there was time for it."""

    BAD_IMAGE = "bad image"
    """The image cannot be made into the network's input."""

    FAILED = "failed"
    """The computation failed."""

    SHUTDOWN = "shutdown"
    """The head was stopped."""


@dataclass(frozen=True)
class LedgerSummary:
    """The ledger at one moment; ``accepted = results + drops + in_flight`` has to hold always.

    Attributes:
        accepted: frames taken on.
        results: frames answered.
        drops: dropped frames.
        in_flight: frames not ended yet.
        places: answers by where they were finished.
        reasons: drops by reason.
        deadline_misses: answers later than their deadline.
        late_answers: edge answers that arrived after their frame had ended, or were not requested.
        rejected: edge answers that refused the frame.
        kinds: drops by kind.
        kind_of: the kind of each reason in ``reasons`` that is of one.
        refusals: the answers in ``rejected`` by their status.
    """

    accepted: int
    results: int
    drops: int
    in_flight: int
    places: dict[Place, int]
    reasons: dict[str, int]
    deadline_misses: int
    late_answers: int
    rejected: int
    kinds: dict[DropKind, int] = field(default_factory=dict)
    kind_of: dict[str, DropKind] = field(default_factory=dict)
    refusals: dict[Status, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether every accepted frame is accounted for; if not, the runtime has a defect."""
        return self.accepted == self.results + self.drops + self.in_flight


@dataclass
class FrameLedger:
    """Counts frames. Not for several threads at once."""

    _accepted: int = 0
    _open: set[int] = field(default_factory=set)
    _places: Counter[Place] = field(default_factory=Counter)
    _reasons: Counter[str] = field(default_factory=Counter)
    _deadline_misses: int = 0
    _late_answers: int = 0
    _kinds: Counter[DropKind] = field(default_factory=Counter)
    _kind_of: dict[str, DropKind] = field(default_factory=dict)
    _refusals: Counter[Status] = field(default_factory=Counter)

    def accept(self) -> int:
        """Open a frame and return its number, counted from 1."""
        self._accepted += 1
        self._open.add(self._accepted)
        return self._accepted

    def end_with_result(self, number: int, place: Place, *, missed: bool) -> None:
        """Close a frame with its result.

        Raises:
            LedgerError: if the frame is not open.
        """
        self._close(number)
        self._places[place] += 1
        self._deadline_misses += missed

    def end_with_drop(self, number: int, reason: str, kind: DropKind = DropKind.SUPERSEDED) -> None:
        """Close a frame without a result.

        Args:
            number: the frame's number.
            reason: why, as text.
            kind: why, as far as it matters for what there is to do.

        Raises:
            LedgerError: if the frame is not open.
        """
        self._close(number)
        self._kinds[kind] += 1
        if len(self._reasons) >= _MOST_REASONS and reason not in self._reasons:
            # Reasons quote input from outside, so there may be any number of them.
            reason = _OTHER_REASONS
        else:
            self._kind_of[reason] = kind
        self._reasons[reason] += 1

    def count_late_answer(self) -> None:
        """Count an edge answer that no frame waits for any more."""
        self._late_answers += 1

    def count_rejected(self, status: Status) -> None:
        """Count an edge answer that refused its frame, or an implausible ok answer."""
        self._refusals[status] += 1

    def summary(self) -> LedgerSummary:
        """The ledger now."""
        return LedgerSummary(
            accepted=self._accepted,
            results=self._places.total(),
            drops=self._reasons.total(),
            in_flight=len(self._open),
            places=dict(self._places),
            reasons=dict(self._reasons),
            deadline_misses=self._deadline_misses,
            late_answers=self._late_answers,
            rejected=self._refusals.total(),
            kinds=dict(self._kinds),
            kind_of=dict(self._kind_of),
            refusals=dict(self._refusals),
        )

    def _close(self, number: int) -> None:
        if number not in self._open:
            raise LedgerError(f"frame {number} ended twice, or was never accepted")
        self._open.remove(number)
