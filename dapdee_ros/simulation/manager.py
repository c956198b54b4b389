"""The manager in a simulation: its rules on a simulated clock, every answer at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    Complain,
    Event,
    Foretell,
    Question,
    SayAlive,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.simulation.agenda import Agenda

LOAD_PERIOD_S = 1.0
"""Between two looks at the processor and at the frame counter, as the nodes have it."""


class SimulatedManager:
    """Drives a ``ManagerCore``.

    Attributes:
        core: the rules.
        complaints: what could not be planned, in words, and how often.
    """

    def __init__(
        self,
        agenda: Agenda,
        core: ManagerCore,
        *,
        tell: Callable[[TellPlan], None],
        foretell: Callable[[TellPlan], None],
        say_alive: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            core: the rules.
            tell: receives every plan.
            foretell: receives what the plan in force is expected to take.
            say_alive: called when the head has to hear of the manager.
        """
        self._agenda = agenda
        self.core = core
        self._tell = tell
        self._foretell = foretell
        self._say_alive = say_alive
        self._wake_s = 0.0
        self.complaints: Counter[str] = Counter()

    def handle(self, event: Event) -> None:
        """Take an event as of now, and do what follows from it."""
        for action in self.core.handle(self._agenda.now_s, event):
            self._do(action)

    def _do(self, action: Action) -> None:
        if isinstance(action, Ask):
            self._answer(action.question)
        elif isinstance(action, TellPlan):
            self._tell(action)
        elif isinstance(action, Foretell):
            self._foretell(action.told)
        elif isinstance(action, SayAlive):
            self._say_alive()
        elif isinstance(action, Complain):
            self.complaints[action.text] += 1
        elif isinstance(action, WakeAt):
            self._wake_s = action.at_s
            self._agenda.at(self._wakes_at(action.at_s), self._wake, action.at_s)

    def _answer(self, question: Question) -> None:
        self.handle(AnswerFound(question, question.answer()))

    def _wakes_at(self, at_s: float) -> float:
        return at_s

    def _wake(self, at_s: float) -> None:
        if at_s == self._wake_s:
            self.handle(TimePassed())
