"""A cell and an edge server of their own: who gets how much, in which order."""

import pytest

from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.core.tail import TensorsArrived
from dapdee_ros.planning.overhead import NO_OVERHEAD
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.fleet.air import SharedAir
from dapdee_ros.simulation.fleet.edge import EdgeJob, EdgeStation
from dapdee_ros.simulation.work import PlanWork


def test_a_cell_is_shared_by_weights_while_several_send() -> None:
    agenda, came = Agenda(), []
    cell = SharedAir(agenda)
    cell.set_weight(0, 0.75)
    cell.set_weight(1, 0.25)
    for car in (0, 1):
        cell.send(car, 1.0, lambda car=car: came.append((car, agenda.now_s)))
    agenda.run(10.0)
    # At 3/4 the first takes 4/3 s; the other has sent 1/3 by then, and then has all.
    assert came == [(0, pytest.approx(4 / 3)), (1, pytest.approx(2.0))]
    assert cell.busy_s == pytest.approx(2.0)


def test_a_car_alone_has_the_whole_cell_and_its_messages_go_in_order() -> None:
    agenda, came = Agenda(), []
    cell = SharedAir(agenda)
    cell.set_weight(0, 0.1)
    for number in range(3):
        cell.send(0, 0.5, lambda number=number: came.append((number, agenda.now_s)))
    agenda.run(10.0)
    assert came == [(0, pytest.approx(0.5)), (1, pytest.approx(1.0)), (2, pytest.approx(1.5))]


class Served:
    def __init__(self) -> None:
        self.agenda = Agenda()
        self.station = EdgeStation(self.agenda, 1.0, most_frames=300)
        self.done: list[tuple[int, int, Status, float]] = []

    def submit(self, car: int, number: int, takes_s: float, due_s: float = 1e6) -> None:
        def answer(of: TailAnswer) -> None:
            self.done.append((car, of.number, of.status, self.agenda.now_s))

        frame = TensorsArrived(
            number, 1, 1, 0.0, 100, payload=PlanWork(0.0, 100.0, 0.0, takes_s, 1.0, 0.0)
        )
        self.station.submit(EdgeJob(car, frame, due_s, NO_OVERHEAD, answer))


def test_under_overload_cars_are_served_by_their_shares() -> None:
    s = Served()
    for car, share in enumerate((0.6, 0.3, 0.1)):
        s.station.set_weight(car, share)
        for number in range(200):
            s.submit(car, number, 0.01)
    s.agenda.run(1.0)
    served = [s.station.served_s.get(car, 0.0) for car in range(3)]
    assert served == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


def test_within_a_car_the_earliest_deadline_is_first() -> None:
    s = Served()
    s.station.set_weight(0, 1.0)
    for number, due_s in enumerate((9.0, 8.0, 7.0)):
        s.submit(0, number, 0.1, due_s)
    s.agenda.run(2.0)
    assert [number for _, number, _, _ in s.done] == [0, 2, 1]


def test_what_cannot_be_done_in_time_is_refused_at_once_when_its_cost_is_known() -> None:
    s = Served()
    s.station.set_weight(0, 1.0)
    s.submit(0, 1, 0.1)
    s.agenda.run(1.0)
    s.submit(0, 2, 0.1, 1.15)
    s.submit(0, 3, 0.1, 1.15)
    assert s.done[1:] == [(0, 3, Status.BUSY, 1.0)] and s.station.refused == 1
    s.agenda.run(2.0)
    assert s.done[2:] == [(0, 2, Status.OK, pytest.approx(1.1))]


def test_a_failed_server_forgets_everything_and_comes_back_empty() -> None:
    s = Served()
    s.submit(0, 1, 0.1)
    s.submit(0, 2, 0.1)
    s.agenda.run(0.05)
    s.station.fail()
    s.submit(0, 3, 0.1)
    s.agenda.run(1.0)
    assert (s.done, s.station.lost) == ([], 3)
    s.station.restore()
    s.submit(0, 4, 0.1)
    s.agenda.run(2.0)
    assert s.done == [(0, 4, Status.OK, pytest.approx(1.1))]
