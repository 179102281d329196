# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: one process, one store, one worker, one web server on one or several addresses."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import uvicorn

from alert_responder.dependencies import read_dependencies
from alert_responder.errors import SettingsError
from alert_responder.metrics import Metrics
from alert_responder.notify import AppriseTeller, Notifier
from alert_responder.receiver import Receiver
from alert_responder.runbooks import load_catalog
from alert_responder.runner import AnsibleRunner, Runner
from alert_responder.runner_awx import AwxRunner, Controller
from alert_responder.silences import AlertmanagerSilences, NoSilences, Silences
from alert_responder.store_sql import SqlStore, postgresql_engine, sqlite_engine
from alert_responder.watchdog import Watchdog
from alert_responder.web import Web
from alert_responder.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_responder.settings import Settings

log = logging.getLogger(__name__)

# Each connection holds a file and may hold a body.
_MOST_CONNECTIONS = 500


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def open_store(settings: Settings) -> SqlStore:
    """Open (and, the first time, make) the store."""
    settle = timedelta(seconds=settings.policy.settle_seconds)
    if settings.database is not None:
        return SqlStore(postgresql_engine(settings.database.get_secret_value()), settle=settle)
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqlStore(sqlite_engine(settings.file), settle=settle)


def make_runner(settings: Settings, *, for_one_run: bool = False) -> Runner:
    """Return the runner that the settings describe; for one run, nothing is kept warm."""
    if settings.executor == "awx":
        return make_awx_runner(settings)
    return AnsibleRunner(
        folder=settings.state / "runs",
        project=settings.project,
        inventory=settings.inventory,
        collections=settings.collections,
        pass_environment=settings.pass_environment,
        keep_runs=settings.keep_runs,
        keep_days=settings.keep_days,
        place=read_place(settings.state),
        warm=settings.executor == "warm" and not for_one_run,
    )


def make_awx_runner(settings: Settings) -> AwxRunner:
    """Return the runner that hands playbooks to AWX."""
    if settings.awx_url is None or settings.awx_token is None:
        raise SettingsError("Cannot use AWX: awx_url and awx_token are needed.")
    controller = Controller(
        settings.awx_url, settings.awx_token, settings.awx_prefix, settings.awx_organization, settings.awx_ca_file
    )
    folder, keep_runs, keep_days = settings.state / "runs", settings.keep_runs, settings.keep_days
    return AwxRunner(controller, folder=folder, keep_runs=keep_runs, keep_days=keep_days)


def read_place(state: Path) -> str:
    """Return the name of a state folder: the machine, and what tells two folders of one name apart.

    A folder that is lost or was never here has another name, so that nobody takes its absence for a run that left
    nothing.
    """
    file = state / "place"
    try:
        return file.read_text()
    except FileNotFoundError:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = f"{socket.gethostname()}/{secrets.token_hex(4)}"
        unfinished = state / f"place.{os.getpid()}"
        unfinished.write_text(place)
        unfinished.replace(file)
        return place


def make_silences(settings: Settings, metrics: Metrics) -> Silences:
    """Return what mutes the alert of an incident while it is worked on."""
    if settings.alertmanager_url is None:
        return NoSilences()
    author, token = settings.alertmanager_author, settings.alertmanager_token
    return AlertmanagerSilences(settings.alertmanager_url, author, metrics, now, token)


def make_notifier(settings: Settings, store: SqlStore, metrics: Metrics) -> Notifier | None:
    """Return who tells people, if anybody is to be told."""
    if not settings.notify:
        log.warning(
            "notify is empty: nobody is told of escalations and questions.", extra={"action": "start.nobody_told"}
        )
        return None
    return Notifier(store, AppriseTeller(settings.notify), list(settings.notify), metrics, now, settings.policy)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises SettingsError if it cannot start."""
    if not settings.tokens:
        raise SettingsError("Cannot start: tokens is empty, expected at least one token that senders must show.")
    catalog = load_catalog(settings.runbooks)
    dependencies = read_dependencies(settings)
    with _only_one(settings.state), _listening(settings.listen) as sockets:
        store = open_store(settings)
        metrics = Metrics()
        runner = make_runner(settings)
        worker = Worker(
            store=store,
            runner=runner,
            catalog=catalog,
            metrics=metrics,
            clock=now,
            policy=settings.policy,
            dependencies=dependencies,
            silences=make_silences(settings, metrics),
            concurrency=settings.concurrency,
            poll_seconds=settings.poll_seconds,
            lease_seconds=settings.lease_seconds,
            stop_seconds=settings.stop_seconds,
            shared=settings.database is not None,
        )
        # On a store of its own the lock says that no other responder is alive: what is still leased was left by a dead
        # one. On a shared store a lease ends by itself.
        taken = [] if worker.shared else store.take_over(now=now())
        if taken:
            log.warning("Incidents %s were found at work and go on.", taken, extra={"action": "start.took_over"})
        watchdog = Watchdog(settings.watchdog_seconds, store, catalog, metrics, now)
        notifier = make_notifier(settings, store, metrics)
        receiver = Receiver(store, catalog, metrics, now, worker.wake, watchdog.take)
        web = Web(settings, receiver, store, metrics, now)
        server = _Server(_configuration(settings, web))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.info("Listening on %s.", ", ".join(settings.listen), extra={"action": "start"})
        try:
            runner.get_ready()
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.serve(stop))
                group.create_task(server.serve(sockets=sockets))
                group.create_task(watchdog.serve(receiver.receive, stop, settings.poll_seconds))
                if notifier is not None:
                    group.create_task(notifier.serve(stop, settings.poll_seconds))
                group.create_task(_stop_server(server, stop))
        finally:
            runner.close()
            store.close()


def _configuration(settings: Settings, web: Web) -> uvicorn.Config:
    configuration = uvicorn.Config(
        web.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=_MOST_CONNECTIONS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=settings.tls_client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    )
    try:
        configuration.load()
    except OSError as error:
        names = ", ".join(str(getattr(settings, name)) for name in ("tls_certificate", "tls_key", "tls_client_ca"))
        raise SettingsError(
            f"Cannot start with TLS from {names}: {error}. Each must be a readable PEM file, and the key the "
            "certificate's own."
        ) from error
    return configuration


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`, which stops the worker as well."""
        yield


async def _stop_server(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of the state folder: two responders on one SQLite file would each believe the other dead."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"Cannot start: another responder uses the state folder {folder}. Stop it, or set another state."
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _listening(addresses: tuple[str, ...]) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            # Named, for asyncio sends small answers at once (TCP_NODELAY) only where the protocol says TCP: else each
            # waits for the sender's delayed acknowledgement, 40 ms.
            one = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((host, int(port)))
            except (OSError, OverflowError) as error:
                raise SettingsError(
                    f"Cannot listen on {address}: {error}. Stop what uses it, or set another listen."
                ) from error
            sockets.append(one)
        yield sockets
