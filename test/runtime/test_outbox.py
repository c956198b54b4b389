import threading
import time

from dapdee_ros.runtime.outbox import Outbox

WAIT_S = 10.0


def wait_for(condition: object) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


def test_sends_in_order() -> None:
    sent: list[int] = []
    outbox = Outbox(sent.append, 100)
    for number in range(50):
        outbox.put(number)
    wait_for(lambda: len(sent) == 50)
    outbox.stop()
    assert sent == list(range(50))


def test_a_send_that_blocks_holds_up_nobody_and_the_newest_stay() -> None:
    sent: list[int] = []
    entered, gate = threading.Event(), threading.Event()

    def send(number: int) -> None:
        entered.set()
        gate.wait(WAIT_S)
        sent.append(number)

    outbox = Outbox(send, 2)
    outbox.put(0)
    assert entered.wait(WAIT_S)
    started_s = time.monotonic()
    for number in range(1, 6):
        outbox.put(number)
    assert time.monotonic() - started_s < 1.0
    assert outbox.displaced == 3
    gate.set()
    wait_for(lambda: len(sent) == 3)
    outbox.stop()
    assert sent == [0, 4, 5]


def test_a_send_that_fails_does_not_end_the_next() -> None:
    sent: list[int] = []

    def send(number: int) -> None:
        if number == 0:
            raise RuntimeError("no route")
        sent.append(number)

    outbox = Outbox(send, 10)
    outbox.put(0)
    outbox.put(1)
    wait_for(lambda: sent == [1])
    outbox.stop()
