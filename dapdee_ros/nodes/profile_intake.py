"""Receives the profiles of the car and its edge servers; reports new pairs to plan with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rclpy.node import Node
from rclpy.timer import Timer

import dapdee_ros.msg as msg
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.exits.card import ModelCard, spoken_name
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import message_to_profile
from dapdee_ros.nodes.link import NO_LINKS, LinkEnd, listen_beyond
from dapdee_ros.nodes.timers import every
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.sites import CAR, EDGE

LEAST_APART_S = 5.0
"""Processing a pair of profiles takes a tenth of a second or more: it is done at most once in this
time for one edge server, however many arrive."""


class ProfileIntake:
    """Subscribes to car/profile and each server's edge/profile; keeps the last good one of each."""

    def __init__(
        self,
        node: Node,
        card: ModelCard,
        rejections: Rejections,
        take: Callable[[str, DeviceProfile, DeviceProfile], None],
        drain: Callable[[str, bool], None],
        servers: Sequence[str] = (EDGE,),
        links: Mapping[str, LinkEnd] = NO_LINKS,
    ) -> None:
        """Subscribe.

        Args:
            node: the subscriber.
            card: the model that profiles must belong to.
            rejections: counts what is refused.
            take: receives a server's name and the profiles of car and server whenever one of them
                changes: at once, or ``LEAST_APART_S`` after the last time.
            drain: told by each profile of a server whether that is being drained.
            servers: the edge servers' names.
            links: this process's ends of the links to them, if it has them.
        """
        self._node, self._card, self._rejections = node, card, rejections
        self._take, self._drain = take, drain
        self._servers = tuple(servers)
        self._profiles: dict[str, DeviceProfile] = {}
        self._other_models: dict[str, str] = {}
        self._taken_s: dict[str, float] = dict.fromkeys(servers, -LEAST_APART_S)
        self._later: dict[str, Timer] = {}
        for side in self._sides:
            listen_beyond(
                links.get(side),
                node,
                msg.DeviceProfile,
                f"{CAR if side == CAR else EDGE}/profile",
                partial(self._hear, side),
                qos.LATCHED,
                rejections,
                server=side,
            )

    @property
    def _sides(self) -> tuple[str, ...]:
        return (CAR, *self._servers)

    @property
    def missing(self) -> list[str]:
        """The sides whose profile has not arrived, and without which there can be no plan."""
        known = any(server in self._profiles for server in self._servers)
        needed = (CAR,) if known else self._sides
        return [side for side in needed if side not in self._profiles]

    @property
    def other_model(self) -> str:
        """The side with another model than this manager, its model, and what to do; or empty."""
        others = [side for side in self._sides if side in self._other_models]
        if not others:
            return ""
        runs = " and ".join(
            f"the {'head' if side == CAR else side} runs {spoken_name(self._other_models[side])}"
            for side in others
        )
        known = CAR not in others and any(name in self._profiles for name in self._servers)
        then = "it is not used" if known else "the car finishes alone"
        here = f"{self._card.name} ({self._card.model_id[:12]})"
        return (
            f"{runs}, but this manager plans for {here}, so {then}: start car and "
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
        if side != CAR:
            self._drain(side, message.draining)
        if held is not None and held.node_seconds == profile.node_seconds:
            return
        for server in self._servers if side == CAR else (side,):
            if CAR in self._profiles and server in self._profiles and server not in self._later:
                self._hand_on_in_time(server, now_s)

    def _refuse_model(self, now_s: float, side: str, model_id: str) -> None:
        self._other_models[side] = model_id
        reason = shortened(f"it is of another model, {model_id[:12]}")
        if self._rejections.count(now_s, f"profile of the {side}", reason):
            self._node.get_logger().error(f"profile of the {side} is not used: {self.other_model}")

    def _hand_on_in_time(self, server: str, now_s: float) -> None:
        wait_s = self._taken_s[server] + LEAST_APART_S - now_s
        if wait_s <= 0:
            self._hand_on(server)
        else:
            self._later[server] = every(self._node, wait_s, partial(self._hand_on, server))

    def _hand_on(self, server: str) -> None:
        if (later := self._later.pop(server, None)) is not None:
            self._node.destroy_timer(later)
        # Counted from the end, so that slow processing leaves as much time for everything else.
        try:
            self._take(server, self._profiles[CAR], self._profiles[server])
        finally:
            self._taken_s[server] = time.monotonic()
