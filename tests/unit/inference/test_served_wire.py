"""Specifies what the two ends of a supervisor's connection hear of each other."""

import socket

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
