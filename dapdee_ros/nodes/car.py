"""The car that a node belongs to, or the cars that it serves."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.validate_namespace import validate_namespace

from dapdee_ros.nodes.names import ServedCars
from dapdee_ros.nodes.parameters import ParameterError, declare_settings

NO_NAMESPACE = "car"
"""Id of a car without a namespace."""

_LONGEST_ID = 64


@dataclass(frozen=True)
class Car:
    """A car as seen by others.

    Attributes:
        namespace: the namespace of its topics, with its first slash; ``/`` for none.
    """

    namespace: str

    @property
    def car_id(self) -> str:
        """The id that messages use."""
        return self.namespace.strip("/")[:_LONGEST_ID] or NO_NAMESPACE

    def topic(self, name: str) -> str:
        """The full name of one of its topics."""
        return f"{self.namespace.rstrip('/')}/{name}"

    def mismatch(self, car_id: str) -> str:
        """Why a message is not this car's, as text; empty if it names the car, or none."""
        if car_id in ("", self.car_id):
            return ""
        return f"it names the car {car_id[:_LONGEST_ID]!r} on a topic of {self.car_id!r}"


def car_of(node: Node) -> Car:
    """The car in whose namespace a node runs."""
    return Car(node.get_namespace())


def declare_cars(node: Node) -> list[Car]:
    """Declare and read the parameter ``cars`` of a node that serves several.

    Raises:
        ParameterError: if one is not a namespace, is listed twice, or is ambiguous.
    """
    given = declare_settings(node, ServedCars).cars
    cars = [_car(node, name) for name in given or [""]]
    if len({car.namespace for car in cars}) < len(cars):
        raise ParameterError(f"parameter cars is {list(given)}: a car is listed twice")
    if long := [car.namespace for car in cars if len(car.namespace.strip("/")) > _LONGEST_ID]:
        raise ParameterError(
            f"parameter cars: {long[0]!r} may have at most {_LONGEST_ID} characters"
        )
    names: dict[str, Car] = {}
    for car in cars:
        # Messages use a car's id, key files its id without slashes.
        other = names.setdefault(car.car_id.replace("/", "_"), car)
        if other is not car:
            raise ParameterError(
                f"parameter cars: {other.namespace!r} and {car.namespace!r} are both named "
                f"{car.car_id!r}: give one of them another namespace"
            )
    return cars


def _car(node: Node, name: str) -> Car:
    if not name.strip("/"):
        return car_of(node) if name == "" else Car("/")
    namespace = "/" + name.strip("/")
    try:
        validate_namespace(namespace)
    except InvalidNamespaceException as error:
        raise ParameterError(f"parameter cars: {name!r} is not a namespace: {error}") from error
    return Car(namespace)
