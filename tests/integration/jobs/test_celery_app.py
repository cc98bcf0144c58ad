"""The Celery app: its settings, and what a real worker does with messages that nobody should send."""

from __future__ import annotations

import base64
import json
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from deploy.health import broker_reading, idle_beside_messages
from schemas.payloads import Queue
from tests.conftest import Servers
from tests.support import jobs
from tests.support.worker_process import WorkerProcess, wait_for
from workers.app import TASK_MODULES, app, broker_options, configuration, pending, publish
from workers.broker import redis_client
from workers.jobs import messages, worker_registry
from workers.settings import Settings, get_settings


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


# Settings


def test_a_message_is_json_acknowledged_on_arrival_and_never_retried_by_celery(servers):
    settings = configuration(get_settings())
    assert settings["accept_content"] == ["json"]
    assert (settings["task_serializer"], settings["event_serializer"]) == ("json", "json")
    assert settings["task_acks_late"] is False
    assert settings["task_ignore_result"] is True
    assert settings["result_backend"] is None
    assert settings["task_reject_on_worker_lost"] is False


def test_a_worker_reserves_nothing_beyond_the_job_it_works_on(servers):
    settings = configuration(get_settings())
    assert settings["worker_prefetch_multiplier"] == 1
    assert settings["worker_disable_prefetch"] is True
    assert settings["worker_concurrency"] == 1
    assert settings["worker_pool_start_method"] == "spawn"
    assert settings["worker_proc_alive_timeout"] >= 60, "a pool process that imports slowly would be killed over and over"


def test_a_dead_connection_is_noticed_in_seconds_and_waited_for_without_end(servers):
    options = broker_options(get_settings())
    assert options["socket_timeout"] <= 15
    assert options["health_check_interval"] <= 10
    assert options["socket_keepalive"] is True
    assert configuration(get_settings())["broker_connection_max_retries"] is None


def test_the_app_that_runs_has_these_settings(servers):
    for name, value in configuration(get_settings()).items():
        assert app.conf[name] == value, name


def test_every_queue_is_named_and_none_is_made_by_accident(servers):
    assert set(app.conf.task_queues) == set(Queue)
    assert app.conf.task_create_missing_queues is False


def test_tasks_have_the_names_that_jobs_carry(servers):
    app.loader.import_default_modules()
    ours = {name for name, task in app.tasks.items() if task.__module__ in TASK_MODULES}
    assert ours == {
        "synthesis.synthesize",
        "training.train",
        "training.member",
        "synthesis.noise_fit",
        "synthesis.noise_gauge",
        "review.apply",
        "evaluation.evaluate",
        "evaluation.compare",
        "evaluation.drift",
        "evaluation.export",
        "summarization.summarize_shard",
        "upkeep.ping",
    }


def test_the_password_of_a_file_reaches_the_broker_though_the_environment_names_another_url(
    servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    password = tmp_path / "password"
    password.write_text("s3cret/\n")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://localhost:6379/0")
    from workers.app import LazyCelery

    settings = Settings(broker_password_file=password)
    mine = LazyCelery("other", set_as_current=False)
    mine._preconf.update(configuration(settings))
    monkeypatch.setenv("TWEETMILL_BROKER_PASSWORD_FILE", str(password))
    get_settings.cache_clear()
    try:
        assert mine.conf.broker_write_url == "redis://:s3cret%2F@localhost:6379/0"
        assert mine.connection_for_read().password == "s3cret/"
    finally:
        get_settings.cache_clear()


# Messages


def test_a_message_carries_a_jobs_id_and_nothing_else(engine, servers: Servers):
    app.loader.import_default_modules()  # a message is one of ours only where its task is known
    job = uuid.uuid4()
    publish("upkeep.ping", "upkeep", job)
    assert pending("upkeep") == 1
    assert pending("training") == 0
    with app.connection_for_read() as connection, connection.SimpleQueue(_queue("upkeep")) as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.payload == [[str(job)], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    assert message.content_type == "application/json"


def test_a_message_that_is_put_ahead_is_taken_first(engine, servers: Servers):
    app.loader.import_default_modules()
    late, first, second = (uuid.uuid4() for _ in range(3))
    publish("upkeep.ping", "upkeep", late)
    publish("upkeep.ping", "upkeep", second, ahead=True)
    publish("upkeep.ping", "upkeep", first, ahead=True)
    assert pending("upkeep") == 3
    taken = []
    with app.connection_for_read() as connection, connection.SimpleQueue(_queue("upkeep")) as queue:
        for _ in range(3):
            message = queue.get(timeout=5)
            message.ack()
            taken += message.payload[0]
            assert "ahead" not in message.headers
    assert taken == [str(first), str(second), str(late)]


def _queue(name: str) -> Any:
    return app.amqp.queues[name]


@pytest.fixture
def worker(engine: Engine, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess("steady", "upkeep,summarization", tmp_path)
    try:
        assert wait_for(process.is_ready), process.log
        yield process
    finally:
        process.kill_all()


def test_a_worker_lives_through_whatever_is_put_into_redis(worker: WorkerProcess, engine: Engine, tmp_path: Path):
    trap = tmp_path / "sprung"
    shard = jobs.add(engine, kind="training.train", queue="training")
    with app.producer_pool.acquire(block=True) as producer:
        to_worker = {"exchange": "summarization", "routing_key": "summarization"}
        producer.publish(_Trap(trap), serializer="pickle", headers=_headers("summarization.summarize_shard"), **to_worker)
        producer.publish("neither list nor map", serializer="json", headers=_headers("summarization.summarize_shard"), **to_worker)
    for argument in ("not-an-id", "", 5, None, ["a"], {"a": 1}, str(uuid.uuid4()), str(shard), "' OR 1=1"):
        app.send_task("summarization.summarize_shard", args=(argument,), queue="summarization")
    app.send_task("summarization.summarize_shard", args=(), queue="summarization")
    app.send_task("os.system", args=("true",), queue="summarization")
    app.send_task("upkeep.ping", queue="upkeep")

    assert wait_for(lambda: pending("summarization") == 0 and _succeeded(worker, "upkeep.ping")), worker.log
    app.send_task("upkeep.ping", queue="upkeep")
    assert wait_for(lambda: worker.log.count("Task upkeep.ping") >= 4), worker.log
    assert not trap.exists(), "a pickle was opened"
    assert worker.process.poll() is None
    assert jobs.state(engine, shard) == "queued", "a job of another kind was touched"


def test_a_message_that_a_killed_worker_took_counts_as_missing(engine: Engine, servers: Servers):
    publish("upkeep.ping", "upkeep", uuid.uuid4())
    assert pending("upkeep") == 1
    with redis_client(servers.broker_url) as client:
        client.hset("unacked", "its-tag", client.rpop("upkeep"))
    assert pending("upkeep") == 0, "its job would wait for the visibility timeout"


def test_a_worker_lives_through_what_is_no_message_at_all_and_does_not_quote_it(worker: WorkerProcess, engine: Engine, servers: Servers):
    envelope = {"body": "W10=", "content-type": "application/json", "content-encoding": "utf-8", "headers": {}, "properties": _properties()}
    task = {**envelope, "headers": _headers("upkeep.ping")}
    rubbish: list[Any] = [
        *(None, 5, CANARY, [CANARY], {}, {"body": CANARY}, {**envelope, "properties": None}, {**envelope, "properties": {}}),
        *({**envelope, "headers": None}, {**envelope, "headers": [CANARY]}, {**envelope, "headers": {"task": {CANARY: 1}}}),
        *({**envelope, "headers": {"task": CANARY}}, {**envelope, "headers": {"task": "upkeep.ping"}}),
        *({**task, "body": 7}, {**task, "body": CANARY}, {**task, "content-type": 9}, {**task, "content-encoding": CANARY}),
        *({**task, "properties": {**_properties(), "delivery_tag": tag}} for tag in (None, [CANARY], {CANARY: CANARY}, 1.5)),
        *({**task, "properties": {**_properties(), "delivery_info": wrong}} for wrong in (None, CANARY, [], {})),
        *({**task, "headers": {**_headers("upkeep.ping"), name: CANARY}} for name in ("eta", "expires", "timelimit", "retries", "group")),
        *({**task, "headers": {**_headers("upkeep.ping"), "id": wrong}} for wrong in (None, 5, [CANARY])),
    ]
    raw = [CANARY.encode(), b"", b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"__type__": "uuid", "__value__": "x"}', b"NaN"]
    with redis_client(servers.broker_url) as client:
        client.lpush("upkeep", *raw, *(json.dumps(each) for each in rubbish))
        client.publish("/0.celery.pidbox", CANARY)
        client.publish("/0.celery.pidbox", json.dumps({"properties": CANARY}))
        assert wait_for(lambda: client.llen("upkeep") == 0), worker.log
        app.send_task("upkeep.ping", queue="upkeep")
        assert wait_for(lambda: _succeeded(worker, "upkeep.ping") and pending("upkeep") == 0), worker.log
        assert worker.process.poll() is None
        assert wait_for(lambda: client.hlen("unacked") == 0, 10), "something will be delivered again, to the next worker"
    assert worker.log.count("dropped an invalid message") > 20
    assert [line for line in worker.log.splitlines() if CANARY in line or "Traceback" in line] == []


def _forged(job: uuid.UUID) -> list[str]:
    """Messages of a task of ours with one part that Celery would stumble over."""
    said = messages.envelope("upkeep.ping", [str(job)], "upkeep", str(uuid.uuid4()))
    headers = [
        *({"stamped_headers": wrong} for wrong in (5, {CANARY: 1}, [CANARY], [[CANARY]])),
        *({"stamped_headers": ["x"], "stamps": wrong, "x": wrong} for wrong in (5, CANARY)),
        *({"timelimit": wrong} for wrong in (["a", "b"], [0.001, 0.001], 7, CANARY, [1], {"x": 1})),
        *({"eta": wrong} for wrong in ("2999-01-01T00:00:00+00:00", CANARY, 5, [CANARY])),
        *({"expires": wrong} for wrong in ("1970-01-01T00:00:00", 1e308, True)),
        *({"compression": CANARY}, {"compression": "application/x-bz2"}, {"retries": "x"}, {"ignore_result": CANARY}, {"origin": [CANARY]}),
        *({"argsrepr": CANARY * 100}, {"kwargsrepr": {}}, {"shadow": [CANARY]}, {"group": {}}, {"root_id": 5}, {"parent_id": [CANARY]}),
    ]
    properties = [{"priority": "x"}, {"correlation_id": [CANARY]}, {"reply_to": {}}, {"body_encoding": CANARY}, {"delivery_mode": []}]
    return [
        *(json.dumps({**said, "headers": {**said["headers"], **wrong}}) for wrong in headers),
        *(json.dumps({**said, "properties": {**said["properties"], **wrong}}) for wrong in properties),
    ]


def test_no_part_of_a_message_but_its_job_reaches_celery(worker: WorkerProcess, engine: Engine, servers: Servers):
    forged = _forged(uuid.uuid4())
    with redis_client(servers.broker_url) as client:
        client.lpush("upkeep", *forged)
        assert wait_for(lambda: client.llen("upkeep") == 0 and client.hlen("unacked") == 0), worker.log
        assert wait_for(lambda: worker.log.count("Task upkeep.ping") >= 2 * len(forged)), "one of them was not taken"
    assert worker.process.poll() is None
    assert CANARY not in worker.log


def test_whatever_lies_among_the_unacknowledged_a_worker_puts_back_what_is_ours(worker: WorkerProcess, engine: Engine, servers: Servers):
    said = messages.envelope("upkeep.ping", [], "upkeep", str(uuid.uuid4()))
    rubbish = [b"", b"\xff", b"[", b"[" * 10_000, json.dumps(CANARY), json.dumps([CANARY]), json.dumps([CANARY, 1, 2])]
    rubbish += [json.dumps([{**said, "headers": 5}, "", "upkeep"]), json.dumps([said, {}, []]), json.dumps([said, "upkeep", CANARY])]
    kept = {f"tag{number}": each for number, each in enumerate([*rubbish, json.dumps([said, CANARY, "upkeep"])])}
    with redis_client(servers.broker_url) as client:
        client.hset("unacked", mapping=kept)
        client.zadd("unacked_index", {**dict.fromkeys(kept, 1), b"\xff no such": 1})
        assert wait_for(lambda: client.zcard("unacked_index") == 0 and client.hlen("unacked") == 0, 30), worker.log
        assert wait_for(lambda: _succeeded(worker, "upkeep.ping")), worker.log
        assert client.llen("upkeep") == 0
    assert worker.log.count("dropped an invalid message") == len(rubbish)
    assert [line for line in worker.log.splitlines() if CANARY in line or "Traceback" in line] == []


def test_what_lies_in_a_queues_place_is_removed_and_status_says_so_until_then(engine: Engine, servers: Servers, tmp_path: Path):
    with redis_client(servers.broker_url) as client:
        for key in ("upkeep", "summarization\x06\x163", "unacked_index", "_kombu.binding_permanent.upkeep"):
            client.set(key, CANARY)
        client.lpush("unacked", CANARY)
        client.delete("_kombu.binding.upkeep")
        client.hset("_kombu.binding.upkeep", CANARY, CANARY)
        assert any("upkeep in Redis holds something else" in problem for problem in broker_reading(get_settings())["problems"])
        worker = WorkerProcess("steady", "upkeep,summarization", tmp_path)
        try:
            assert wait_for(worker.is_ready), worker.log
            for number, key in enumerate(("upkeep", "unacked", "unacked_index"), 1):  # and again while it runs
                client.delete(key)
                client.set(key, CANARY)
                app.send_task("upkeep.ping", queue="upkeep")
                assert wait_for(lambda number=number: worker.log.count("Task upkeep.ping") >= 2 * number, 30), worker.log
                assert client.type(key) != b"string"
            assert worker.process.poll() is None
            assert CANARY not in worker.log
        finally:
            worker.kill_all()


def test_a_member_of_a_binding_that_kombu_cannot_read_stops_no_producer(engine: Engine, servers: Servers):
    with redis_client(servers.broker_url) as client:
        client.sadd("_kombu.binding.upkeep", CANARY, b"\xff")
        publish("upkeep.ping", "upkeep", uuid.uuid4())
        assert pending("upkeep") == 1
        client.delete("_kombu.binding.upkeep")


def test_commands_that_make_no_sense_leave_a_worker_listening(worker: WorkerProcess, engine: Engine, servers: Servers):
    body = {"method": "ping", "arguments": {}, "destination": None}
    wrong = [{"method": CANARY}, {"arguments": {CANARY: 1}}, {"arguments": [CANARY]}, {"destination": 5}, {"reply_to": CANARY}, {CANARY: 1}]
    envelope = messages.envelope("upkeep.ping", [], "upkeep", str(uuid.uuid4()))
    with redis_client(servers.broker_url) as client:
        for each in wrong:
            packed = base64.b64encode(json.dumps(body | each).encode()).decode()
            client.publish("/0.celery.pidbox", json.dumps(envelope | {"body": packed, "headers": {"clock": CANARY}}))
    assert app.control.ping(timeout=5, limit=1), worker.log
    assert [line for line in worker.log.splitlines() if CANARY in line or "Traceback" in line] == []


def test_status_names_a_worker_that_takes_nothing(worker: WorkerProcess, engine: Engine, servers: Servers):
    def problems() -> list[str]:
        with engine.connect() as connection:
            workers = [asdict(live) for live in worker_registry.live(connection)]
        return idle_beside_messages(get_settings(), workers)

    app.send_task("upkeep.ping", queue="upkeep")
    assert wait_for(lambda: pending("upkeep") == 0 and problems() == [])
    worker.signal(signal.SIGSTOP)
    try:
        app.send_task("upkeep.ping", queue="upkeep")
        app.send_task("upkeep.ping", queue="upkeep")
        assert wait_for(lambda: any("steady@test takes nothing" in problem for problem in problems()), 20)
    finally:
        worker.signal(signal.SIGCONT)


CANARY = "a-tweet-that-somebody-pushed"


def _properties() -> dict[str, Any]:
    where = {"exchange": "upkeep", "routing_key": "upkeep"}
    return {"delivery_tag": uuid.uuid4().hex, "delivery_info": where, "body_encoding": "base64", "delivery_mode": 2, "priority": 0}


def _succeeded(worker: WorkerProcess, task: str) -> bool:
    return any(f"Task {task}" in line and "succeeded" in line for line in worker.log.splitlines())


def _headers(task: str) -> dict[str, Any]:
    return {"lang": "py", "task": task, "id": uuid.uuid4().hex, "root_id": None, "parent_id": None, "group": None}


class _Trap:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def test_a_worker_says_that_it_lives_and_takes_its_leave(worker: WorkerProcess, engine: Engine):
    def listed() -> list[str]:
        with engine.connect() as connection:
            return [worker.name for worker in worker_registry.live(connection)]

    assert listed() == ["steady@test"], "it is registered before it says that it is ready"
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(seconds=15) == 0
    assert listed() == []


def test_a_message_lost_by_redis_is_published_again(worker: WorkerProcess, engine: Engine):
    job = jobs.add(engine, kind="upkeep.ping")
    jobs.alter(engine, job, "published_at = now()")
    assert wait_for(lambda: str(job) in worker.log or "publishing them again" in worker.log, 20), worker.log
