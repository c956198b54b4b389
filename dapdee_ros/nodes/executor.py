"""Runs callbacks on one thread for a fraction of what rclpy's own executor takes.

rclpy's ``SingleThreadedExecutor`` builds a wait set of everything that its nodes might hear of anew
for every turn, in Python, and each callback makes it turn twice more. Here the list is made when
something was created or destroyed, and subscriptions and timers are called straight from the wait
set. All else (services, clients, guard conditions, tasks, events of the middleware) is rare and
left to rclpy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

log = logging.getLogger(__name__)

_EVENTS_S = 1.0
"""How often events of the middleware are looked for, such as lost messages."""


class LeanExecutor(SingleThreadedExecutor):
    """Callbacks in the thread that calls ``spin``; callback groups are of no consequence on it."""

    def __init__(self, *, context: Context | None = None) -> None:
        """As rclpy's."""
        super().__init__(context=context)
        self._waiting: _WaitSet | None = None
        self._changed = self._is_other = self._is_spinning = False
        self._events_s = time.monotonic() + _EVENTS_S

    def wake(self) -> None:
        """Make the list of entities anew: something was created or destroyed."""
        self._changed = True
        super().wake()

    def spin(self) -> None:
        """Run callbacks until shutdown, or until one raises.

        Raises:
            ExternalShutdownException: if the context was shut down.
        """
        self._is_spinning = True
        try:
            while not self._is_shutdown:
                self.spin_once()
        finally:
            self._is_spinning = False
            self._forget()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run all callbacks that are ready, or those that are first.

        Args:
            timeout_sec: seconds to wait for some at most. Without it no more than a second: then
                there may have been none.

        Raises:
            ExternalShutdownException: if the context was shut down.
        """
        if self._is_shutdown:
            return
        if not self._context.ok():
            raise ExternalShutdownException
        waiting = self._listed()
        if waiting is None:
            super().spin_once(timeout_sec)
            return
        most_s = self._events_s - time.monotonic()
        if timeout_sec is not None and timeout_sec >= 0:
            most_s = min(most_s, timeout_sec)
        if waiting.turn(most_s):
            for call in waiting.ready():
                if self._changed or self._is_shutdown:
                    break  # it may be for what was just destroyed; the rest stays ready
                call()
        else:
            self._forget()
        if waiting.others or self._tasks or time.monotonic() >= self._events_s:
            self._events_s = time.monotonic() + _EVENTS_S
            self._usual_turn()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """End ``spin`` after the callback that is running; see rclpy's."""
        done = super().shutdown(timeout_sec)
        if not self._is_spinning:
            self._forget()
        return done

    def add_node(self, node: Node) -> bool:
        """Run a node's callbacks, too."""
        self._changed = True
        return super().add_node(node)

    def remove_node(self, node: Node) -> None:
        """Run a node's callbacks no more."""
        super().remove_node(node)
        self._changed = True

    def _listed(self) -> _WaitSet | None:
        if self._changed:
            # The guard condition alone would not do: rclpy's own turn resets it as well.
            self._forget()
        if self._waiting is None and not self._is_other:
            self._changed = False
            try:
                self._waiting = _WaitSet(self)
            except (AttributeError, TypeError) as error:
                # Below the public interface releases of rclpy may differ.
                self._is_other = True
                log.info("callbacks run on rclpy's own executor: %r", error)
        return self._waiting

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def _usual_turn(self) -> None:
        """Run whatever is ready, as rclpy does."""
        while True:
            try:
                handler, _, _ = self.wait_for_ready_callbacks(timeout_sec=0)
            except (TimeoutException, ShutdownException):
                return
            handler()
            if (error := handler.exception()) is not None:
                raise error


class _WaitSet:
    """What an executor's nodes wait for, for as long as nothing is created or destroyed.

    Until ``close`` nothing in it is really destroyed.

    Attributes:
        others: whether anything but timers and subscriptions was ready at the last turn.
    """

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        """List the entities.

        Raises:
            AttributeError, TypeError: if this release of rclpy has another inner interface.
        """
        self.others = False
        self._context = executor.context
        self._kept = ExitStack()
        try:
            self._list(executor)
        except BaseException:
            self._kept.close()
            raise

    def _list(self, executor: SingleThreadedExecutor) -> None:
        nodes = executor.get_nodes()
        self._subscriptions = self._held(s for n in nodes for s in n.subscriptions)
        self._timers = self._held(t for n in nodes for t in n.timers)
        self._services = self._held(s for n in nodes for s in n.services)
        self._clients = self._held(c for n in nodes for c in n.clients)
        self._guards = self._held(g for n in nodes for g in n.guards)
        # One is triggered when something changed, the other by a signal.
        own = self._held(g for g in (executor._guard, executor._sigint_gc) if g is not None)
        if (context := self._context.handle) is None:
            raise ExternalShutdownException
        self._kept.enter_context(context)
        self._calls = {
            pointer: _call_of_subscription(s) for pointer, s in self._subscriptions.items()
        } | {pointer: _call_of_timer(t) for pointer, t in self._timers.items()}
        guards = self._guards | own
        self._set = _rclpy.WaitSet(
            len(self._subscriptions),
            len(guards),
            len(self._timers),
            len(self._clients),
            len(self._services),
            0,
            context,
        )
        add = self._set
        self._additions = [
            (call, entity.handle)
            for call, entities in (
                (add.add_subscription, self._subscriptions),
                (add.add_guard_condition, guards),
                (add.add_timer, self._timers),
                (add.add_client, self._clients),
                (add.add_service, self._services),
            )
            for entity in entities.values()
        ]
        self._own = set(own)

    def _held(self, entities: Any) -> dict[int, Any]:
        """Those that exist, by their handle's address."""
        held = {}
        for entity in entities:
            try:
                self._kept.enter_context(entity.handle)
            except InvalidHandle:
                continue
            held[entity.handle.pointer] = entity
        return held

    def turn(self, most_s: float) -> bool:
        """Wait until something is ready.

        Args:
            most_s: seconds to wait at most.

        Returns:
            Whether the list still holds; if not, nothing is to be called.
        """
        found = self._set
        found.clear_entities()
        for add, handle in self._additions:
            add(handle)
        found.wait(max(0, int(most_s * 1e9)))
        triggered = found.get_ready_entities("guard_condition")
        guards = [self._guards[pointer] for pointer in triggered if pointer in self._guards]
        for guard in guards:
            guard._executor_triggered = True  # waiting has reset it: rclpy's turn needs to know
        self.others = any(
            (guards, found.get_ready_entities("service"), found.get_ready_entities("client"))
        )
        return self._own.isdisjoint(triggered)

    def ready(self) -> list[Callable[[], None]]:
        """Call these: the timers and subscriptions that are ready."""
        pointers = self._set.get_ready_entities("timer")
        pointers += self._set.get_ready_entities("subscription")
        return [self._calls[pointer] for pointer in pointers]

    def close(self) -> None:
        """Let go of what is in it."""
        self._kept.close()


def _call_of_subscription(subscription: Any) -> Callable[[], None]:
    handle, kind, raw = subscription.handle, subscription.msg_type, subscription.raw
    alone = subscription._callback_type is Subscription.CallbackType.MessageOnly
    take = handle.take_message

    def call() -> None:
        # None: somebody else has it, or the middleware was wrong.
        if (taken := take(kind, raw)) is not None:
            subscription.callback(*(taken[:1] if alone else taken))

    return call


def _call_of_timer(timer: Any) -> Callable[[], None]:
    handle = timer.handle
    begin = getattr(handle, "call_timer_with_info", None) or handle.call_timer

    def call() -> None:
        # A cancelled one may be in a wait set, too.
        if handle.is_timer_ready():
            begin()
            timer.callback()

    return call
