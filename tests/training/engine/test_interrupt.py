import signal

import pytest

from crosspoint.engine.interrupt import InterruptRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_second_obeyed(number: signal.Signals) -> None:
    obeyed = []
    previous = signal.signal(number, lambda received, frame: obeyed.append(received))
    try:
        with InterruptRequest() as request:
            assert request.number == 0
            signal.raise_signal(number)
            assert request.number == number
            assert obeyed == []
            signal.raise_signal(number)
            assert obeyed == [number]
    finally:
        signal.signal(number, previous)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with InterruptRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
