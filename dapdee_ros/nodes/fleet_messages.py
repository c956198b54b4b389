"""The fleet node's messages, from and to what the cores know; faults are texts, empty if none."""

from __future__ import annotations

import math
from array import array

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.core.expiring import valid_fault
from dapdee_ros.core.fair_queue import ShareError, check_shares
from dapdee_ros.core.fleet_car import NOTHING, Demand, Posted


def demand_to_message(demand: Demand, stamp: Time, car_id: str) -> msg.FleetDemand:
    """What a car asks for, to send."""
    return msg.FleetDemand(
        header=Header(stamp=stamp),
        car_id=car_id,
        servers=list(demand.edge_pulls),
        edge_pull=array("d", demand.edge_pulls.values()),
        edge_load=float(demand.edge_load),
        edge_gain_s=float(demand.edge_gain_s),
        cell=demand.cell,
        air_pull=float(demand.air_pull),
        air_load=float(demand.air_load),
    )


def demand_fault(message: msg.FleetDemand) -> str:
    """What is wrong with what a car asks for."""
    return _uneven(message.servers, message.edge_pull) or message_to_demand(message).fault


def message_to_demand(message: msg.FleetDemand) -> Demand:
    """What a car asks for, as it came."""
    return Demand(
        dict(zip(message.servers, message.edge_pull, strict=True)),
        message.edge_load,
        message.edge_gain_s,
        message.cell,
        message.air_pull,
        message.air_load,
    )


def posted_to_message(posted: Posted, stamp: Time, car_id: str) -> msg.FleetPrice:
    """Prices for a car, to send."""
    cell, (air_load, air_pull, air_work, _) = next(iter(posted.air.items()), ("", NOTHING))
    columns = [array("d", column) for column in zip(*posted.edge.values(), strict=True)]
    load, pull, work, least = columns or [array("d")] * 4
    return msg.FleetPrice(
        header=Header(stamp=stamp),
        car_id=car_id,
        epoch=posted.epoch,
        number=posted.number,
        valid_s=posted.valid_s,
        servers=list(posted.edge),
        edge_load=load,
        edge_pull=pull,
        edge_work=work,
        edge_least=least,
        cell=cell,
        air_load=air_load,
        air_pull=air_pull,
        air_work=air_work,
    )


def price_fault(message: msg.FleetPrice) -> str:
    """What is wrong with prices, whoever they are for."""
    for values in (message.edge_load, message.edge_pull, message.edge_work, message.edge_least):
        if fault := _uneven(message.servers, values):
            return fault
    return message_to_posted(message).fault


def message_to_posted(message: msg.FleetPrice) -> Posted:
    """Prices for a car, as they came."""
    columns = (message.edge_load, message.edge_pull, message.edge_work, message.edge_least)
    sums = zip(*columns, strict=True)
    air = (message.air_load, message.air_pull, message.air_work, math.inf)
    return Posted(
        message.epoch,
        message.number,
        message.valid_s,
        dict(zip(message.servers, sums, strict=True)),
        {message.cell: air} if message.cell or any(air[:3]) else {},
    )


def shares_fault(message: msg.FleetShares) -> str:
    """What is wrong with shares of an edge server."""
    if fault := _uneven(message.cars, message.shares):
        return fault
    if fault := valid_fault(message.valid_s):
        return fault
    try:
        check_shares(dict(zip(message.cars, message.shares, strict=True)))
    except ShareError as error:
        return str(error)
    return ""


def _uneven(names: list[str], values: array[float]) -> str:
    """What is wrong with names and their numbers, before they are put together."""
    if len(names) != len(values):
        return f"{len(names)} names with {len(values)} numbers"
    return "a name comes twice" if len(set(names)) < len(names) else ""
