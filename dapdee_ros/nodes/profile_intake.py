"""Receives the profiles of car and edge; reports a new pair to plan with."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from rclpy.timer import Timer

import dapdee_ros.msg as msg
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.exits.card import ModelCard, spoken_name
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import message_to_profile
from dapdee_ros.nodes.link import LinkEnd, listen_beyond
from dapdee_ros.nodes.timers import every
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError

LEAST_APART_S = 5.0
"""Processing a pair of profiles takes a tenth of a second or more: it is done at most once in this
time, however many arrive."""

SIDES = ("car", "edge")
_RUNS = {"car": "head", "edge": "edge"}


class ProfileIntake:
    """Subscribes to car/profile and edge/profile; keeps the last good one of each."""

    def __init__(
        self,
        node: Node,
        card: ModelCard,
        rejections: Rejections,
        take: Callable[[DeviceProfile, DeviceProfile], None],
        link: LinkEnd | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: the subscriber.
            card: the model that profiles must belong to.
            rejections: counts what is refused.
            take: receives the profiles of car and edge whenever one of them changes: at once, or
                ``LEAST_APART_S`` after the last time.
            link: this process's end of the link, if it has one.
        """
        self._node, self._card, self._rejections, self._take = node, card, rejections, take
        self._profiles: dict[str, DeviceProfile] = {}
        self._other_models: dict[str, str] = {}
        self._taken_s = -LEAST_APART_S
        self._later: Timer | None = None
        for side in SIDES:
            listen_beyond(
                link,
                node,
                msg.DeviceProfile,
                f"{side}/profile",
                partial(self._hear, side),
                qos.LATCHED,
                rejections,
            )

    @property
    def missing(self) -> list[str]:
        """The sides whose profile has not arrived."""
        return [side for side in SIDES if side not in self._profiles]

    @property
    def other_model(self) -> str:
        """The side with another model than this manager, its model, and what to do; or empty."""
        others = [side for side in SIDES if side in self._other_models]
        if not others:
            return ""
        runs = " and ".join(
            f"the {_RUNS[side]} runs {spoken_name(self._other_models[side])}" for side in others
        )
        here = f"{self._card.name} ({self._card.model_id[:12]})"
        return (
            f"{runs}, but this manager plans for {here}, so the car finishes alone: start car and "
            "edge with the same model (model:=NAME in the launch files, --model NAME)"
        )

    def _hear(self, side: str, message: msg.DeviceProfile) -> None:
        now_s = time.monotonic()
        try:
            profile = message_to_profile(message)
            if profile.model_id != self._card.model_id:
                self._refuse_model(now_s, side, profile.model_id)
                return
            profile.check_fits((n.name for n in self._card.dag.nodes), self._card.model_id)
        except ProfileError as error:
            reason = shortened(str(error))
            if self._rejections.count(now_s, f"profile of the {side}", reason):
                self._node.get_logger().error(f"profile of the {side} is not used: {reason}")
            return
        self._other_models.pop(side, None)
        held = self._profiles.get(side)
        self._profiles[side] = profile
        if held is not None and held.node_seconds == profile.node_seconds:
            return
        if self.missing or self._later is not None:
            return
        wait_s = self._taken_s + LEAST_APART_S - now_s
        if wait_s <= 0:
            self._hand_on()
        else:
            self._later = every(self._node, wait_s, self._hand_on)

    def _refuse_model(self, now_s: float, side: str, model_id: str) -> None:
        self._other_models[side] = model_id
        reason = shortened(f"it is of another model, {model_id[:12]}")
        if self._rejections.count(now_s, f"profile of the {side}", reason):
            self._node.get_logger().error(f"profile of the {side} is not used: {self.other_model}")

    def _hand_on(self) -> None:
        if self._later is not None:
            self._node.destroy_timer(self._later)
            self._later = None
        # Counted from the end, so that slow processing leaves as much time for everything else.
        try:
            self._take(self._profiles["car"], self._profiles["edge"])
        finally:
            self._taken_s = time.monotonic()
