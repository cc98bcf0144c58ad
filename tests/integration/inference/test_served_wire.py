"""Specifies what the two ends of a supervisor's connection hear of each other."""

import os
import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from workers.inference.served import sockets
from workers.inference.served.lease import Lease, ServerGone
from workers.inference.served.process import Address
from workers.inference.served.program import Served
from workers.inference.served.wire import SERVER_DIED, Failure, Line


def test_the_last_word_of_an_end_that_is_gone_is_heard_although_an_answer_to_it_fails() -> None:
    ours, theirs = socket.socketpair()
    job, supervisor = Line(ours), Line(theirs)
    supervisor.send(Failure(SERVER_DIED, "it died").encoded())
    supervisor.close()
    job.send({"suspect": 1, "why": "it answers nothing"})
    assert job.receive(1.0) == Failure(SERVER_DIED, "it died").encoded()
    assert job.receive(1.0) is None
    assert job.is_over
    job.close()


def test_an_end_that_is_gone_shows_when_something_is_received() -> None:
    ours, theirs = socket.socketpair()
    job = Line(ours)
    theirs.close()
    job.send({"suspect": 1, "why": "it answers nothing"})
    assert job.receive(1.0) is None
    assert job.is_over
    job.close()


def test_a_server_that_comes_while_another_is_used_is_the_next_to_be_asked(stack_home: Path) -> None:
    folder = sockets.folder_of(stack_home, os.getpid())
    folder.mkdir(parents=True, mode=0o700)
    first, second = (Address("http://server/v1", f"/{number}.sock", "key", number) for number in (1, 2))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / sockets.CONTROL))
        listening.listen()
        lease = Lease(stack_home, Served("/base", 512))
        supervisor = Line(listening.accept()[0])
        supervisor.send({"server": asdict(first)})
        assert lease.server(lambda _: None) == first
        supervisor.send({"server": asdict(second)})
        with pytest.raises(ServerGone):
            lease.check()
        assert lease.server(lambda _: None) == second
        lease.close()
        supervisor.close()
