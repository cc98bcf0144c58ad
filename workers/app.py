"""Configure the Celery app; the tasks themselves are in `tasks`.

    celery -A workers.app worker -Q summarization
    celery -A workers.app inspect active
    celery -A workers.app flower

Messages are JSON with a job's id as their only argument, acknowledged on arrival, never retried by Celery: the ledger counts
attempts. Each setting's reason is in `docs/adr/0002-the-row-is-the-truth.md`.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES

from schemas.payloads import Queue
from workers import logs
from workers.errors import SettingsError, TweetmillError, report_uncaught
from workers.file_permissions import UMASK
from workers.jobs.messages import AHEAD
from workers.redaction import redact
from workers.settings import Settings, get_settings

# However the broker's URL is written, and by whatever tool.
TRANSPORT_ALIASES.update(redis="workers.jobs.message_guard:GuardedTransport", rediss="workers.jobs.message_guard:GuardedTransport")

# The one place where `workers` names the layer above it, as strings: Celery imports them when a worker starts.
TASK_MODULES = (
    "tasks.synthesis",
    "tasks.noise",
    "tasks.review",
    "tasks.training",
    "tasks.evaluation",
    "tasks.drift",
    "tasks.export",
    "tasks.summarization",
    "tasks.maintenance",
)


# By default kombu tries for six seconds to reach a Redis that is away, and a producer would wait for it at each job.
_RETRIES = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1}


def broker_options(settings: Settings) -> dict[str, Any]:
    """Return the options of kombu's Redis transport: a dead connection is noticed in seconds, a lost message by the ledger."""
    return {
        "visibility_timeout": settings.visibility_timeout,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        **_RETRIES,
    }


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Celery's settings."""
    return {
        # Celery lets the environment's CELERY_BROKER_URL win over `broker_url`, and that one lacks the password of a file.
        "broker_url": settings.broker(),
        "broker_read_url": settings.broker(),
        "broker_write_url": settings.broker(),
        "broker_use_ssl": settings.broker_tls() or False,
        "result_backend": None,
        "include": TASK_MODULES,
        "accept_content": ["json"],
        "task_serializer": "json",
        "event_serializer": "json",
        "result_accept_content": ["json"],
        "broker_transport_options": broker_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "task_publish_retry_policy": _RETRIES,
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_reject_on_worker_lost": False,
        "task_create_missing_queues": False,
        "task_queues": {queue.value: {"exchange": queue.value, "routing_key": queue.value} for queue in Queue},
        "task_default_queue": Queue.MAINTENANCE.value,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_concurrency": 1,
        # An engine holds threads and perhaps a GPU: neither survives a fork.
        "worker_pool_start_method": "spawn",
        # A spawned process imports all anew. On a busy machine Celery's 4 s are too short for that: it would be killed, over and over.
        "worker_proc_alive_timeout": 120.0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_consumer": "workers.jobs.message_guard:GuardedConsumer",
    }


class QuietConnection(Connection):  # type: ignore[misc]
    """A connection to the broker that shows no secret to who watches workers: to kombu a socket's whole URL is its host's name."""

    def info(self) -> dict[str, Any]:
        """Return what `celery inspect stats` and Flower show; Celery itself leaves the password out."""
        return {name: redact(value) if isinstance(value, str) else value for name, value in super().info().items()}


class QuietAMQP(AMQP):  # type: ignore[misc]
    """Celery's sending side, with such connections."""

    Connection = QuietConnection


class LazyCelery(Celery):  # type: ignore[misc]
    """Reads the settings when Celery first needs its configuration, so that importing this module needs no server."""

    amqp_cls = QuietAMQP

    def _load_config(self) -> Any:
        try:
            self._preconf.update(configuration(get_settings()))
        except SettingsError:
            # Celery's commands let it through, whose traceback says nothing that helps.
            sys.excepthook = report_uncaught
            raise
        return super()._load_config()


app = LazyCelery("tweetmill", set_as_current=True)


def publish(kind: str, queue: str, job: uuid.UUID, *, ahead: bool = False) -> None:
    """Send the message that a job is queued: its id, and nothing else. With `ahead` it is taken before all that wait in the queue."""
    headers = {AHEAD: True} if ahead else None
    app.send_task(kind, args=(str(job),), queue=queue, argsrepr=f"({str(job)!r},)", kwargsrepr="{}", headers=headers)


def pending(queue: str) -> int:
    """Return how many messages wait in Redis for `queue`.

    Those that a worker took and has not acknowledged are left out. It does so within milliseconds, unless it was killed: then Redis
    delivers them again after the visibility timeout, and counting them would hide for ten minutes that their jobs have no message.
    """
    with app.pool.acquire(block=True, timeout=app.conf.broker_pool_acquire_timeout) as connection:
        return int(connection.default_channel.client.llen(queue))


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _set_up_logging(**_: object) -> None:
    sys.excepthook = report_uncaught
    logs.set_up(get_settings().log_json)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _check_before_work(**_: object) -> None:
    from workers.readiness import startup

    os.umask(UMASK)  # what a worker and the processes that it starts write is for its owner alone
    startup.pass_or_exit(get_settings())
    _start_servers(get_settings())


def _start_servers(settings: Settings) -> None:
    """Start the supervisor of the servers that this worker's engine asks, if it is one of that kind, in the main thread."""
    from workers.inference.engine_builders import ServerBuilder, builder_of

    builder = builder_of(settings.engine)
    if not isinstance(builder, ServerBuilder):
        return
    from workers.inference.served import launcher

    try:
        app.tweetmill_servers = launcher.start(settings, builder.program(settings), _leave)
    except TweetmillError as error:
        sys.stderr.write(f"tweetmill: {error}\n")
        raise SystemExit(2 if isinstance(error, SettingsError) else 1) from None


def _leave() -> None:
    """Have this worker finish its jobs and end with exit code 1."""
    from celery.worker import state

    state.should_stop = 1


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _start_maintenance(sender: Any, **_: object) -> None:
    from workers.database import get_engine
    from workers.jobs.maintenance import Maintenance
    from workers.training.run_files import Cleaner

    settings = get_settings()
    queues = tuple(sender.app.amqp.queues.consume_from)
    app.tweetmill_maintenance = Maintenance(
        engine=get_engine(),
        name=sender.hostname,
        queues=queues,
        pid=os.getpid(),
        pending=pending,
        publish=publish,
        interval=settings.upkeep_interval,
        republish_after=settings.republish_after,
        clean=Cleaner(),
    )
    app.tweetmill_maintenance.start()


@signals.task_received.connect  # type: ignore[untyped-decorator]
def _note_taken_message(request: Any, **_: object) -> None:
    maintenance = getattr(app, "tweetmill_maintenance", None)
    if maintenance is not None:
        maintenance.taken(request.delivery_info["routing_key"])


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop_maintenance(**_: object) -> None:
    maintenance = getattr(app, "tweetmill_maintenance", None)
    if maintenance is not None:
        maintenance.stop()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _deregister(**_: object) -> None:
    servers = getattr(app, "tweetmill_servers", None)
    if servers is not None:
        servers.stop()
    maintenance = getattr(app, "tweetmill_maintenance", None)
    if maintenance is not None:
        maintenance.leave()
