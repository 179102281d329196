"""The modules for Redis over TLS, with certificates on both sides, as an ACL user; redis-cli says what became of it."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.integration.authority import Authority
from tests.integration.containers import Container, Containers, wait_for
from tests.integration.redis.conftest import IMAGE, PASSWORD, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
evict = importlib.import_module(f"{MODULES}redis_evict").main
memory_info = importlib.import_module(f"{MODULES}redis_memory_info").main
memory_purge = importlib.import_module(f"{MODULES}redis_memory_purge").main
clients_disconnect = importlib.import_module(f"{MODULES}redis_clients_disconnect").main
recovery_check = importlib.import_module(f"{MODULES}recovery_check").main

USER, USER_PASSWORD = "ops", "us-secret-1"
GUARD, GUARD_PASSWORD = "guard", "gu-secret-1"
ASKED: dict[str, tuple[Callable[[], None], dict[str, Any]]] = {
    "memory_info": (memory_info, {}),
    "evict": (evict, {"patterns": ["page:*"]}),
    "clients_disconnect": (clients_disconnect, {"names": ["shop"]}),
    "memory_purge": (memory_purge, {}),
}


@dataclass
class Secure:
    """A server that speaks TLS only, and serves nobody without a certificate of its authority."""

    container: Container
    folder: Path
    authority: Authority

    @property
    def port(self) -> int:
        return self.container.port(6379)

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def login(self, **given: Any) -> dict[str, Any]:
        """Return the login options of the modules."""
        return {
            "login_host": "127.0.0.1",
            "login_port": self.port,
            "login_user": USER,
            "login_password": USER_PASSWORD,
            "tls": True,
            "ca_certs": self.file("authority.pem"),
            "client_cert": self.file("client.pem"),
            "client_key": self.file("client.key"),
            "connect_timeout_seconds": 20,
            **given,
        }

    def cli(self, *command: str) -> str:
        """Ask with redis-cli, inside, as the default user."""
        tls = ["--tls", "--cacert", "/tls/authority.pem", "--cert", "/tls/client.pem", "--key", "/tls/client.key"]
        told = self.container.run(
            "redis-cli", "-h", "127.0.0.1", *tls, *command, environment={"REDISCLI_AUTH": PASSWORD}
        )
        return told.strip()


@pytest.fixture(scope="module")
def secure(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Secure:
    """Start the server with certificates that were made for it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    for name in ("server", "client"):
        authority.sign(name)
    other.sign("stranger")
    folder.chmod(0o755)
    container = containers.start(
        IMAGE,
        alias="redis-tls",
        ports=[6379],
        environment={"REDIS_PASSWORD": PASSWORD},
        volumes={str(folder): "/tls"},
        command=[
            *("--port", "0", "--tls-port", "6379", "--save", ""),
            *("--tls-cert-file", "/tls/server.pem", "--tls-key-file", "/tls/server.key"),
            *("--tls-ca-cert-file", "/tls/authority.pem"),
        ],
    )
    made = Secure(container, folder, authority)
    wait_for(lambda: made.cli("PING") == "PONG", "Redis serves")
    rights = ["~page:*", "+@read", "+@write", "+@connection", "+@scripting", "+client", "+info", "+memory", "+config"]
    assert made.cli("ACL", "SETUSER", USER, "on", f">{USER_PASSWORD}", *rights) == "OK"
    return made


def test_all_modules_work_with_certificates_on_both_sides(secure: Secure, run_module: RunModule) -> None:
    """Each does its work as the ACL user; keys and clients are gone, and no password is told."""
    shop: Any = redis.Redis(
        host="127.0.0.1",
        port=secure.port,
        password=PASSWORD,
        client_name="shop",
        ssl=True,
        ssl_ca_certs=secure.file("authority.pem"),
        ssl_certfile=secure.file("client.pem"),
        ssl_keyfile=secure.file("client.key"),
    )
    for number in range(50):
        shop.set(f"page:{number}", "x" * 100)
    assert "name=shop" in secure.cli("CLIENT", "LIST")

    done = [run_module(main, secure.login(**options), diff=True) for main, options in ASKED.values()]

    assert [one["_exit_code"] for one in done] == [0, 0, 0, 0], done
    told, evicted, disconnected, _purged = done
    assert (told["nodes"][0]["keys"], evicted["evicted"], disconnected["disconnected"]) == (50, 50, 1)
    assert secure.cli("DBSIZE") == "0"
    assert "name=shop" not in secure.cli("CLIENT", "LIST")
    assert USER_PASSWORD not in json.dumps(done)
    shop.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"ca_certs": "other.pem"}, "Check ca_certs and the name in the server's certificate.", id="ca"),
        pytest.param({"ca_certs": None}, "Check ca_certs and the name in the server's certificate.", id="no-ca"),
        pytest.param(
            {"login_host": "localhost"}, "Check ca_certs and the name in the server's certificate.", id="name"
        ),
        pytest.param(
            {"client_cert": None, "client_key": None},
            "Set client_cert and client_key: the server asks for a certificate.",
            id="no-certificate",
        ),
        pytest.param(
            {"client_cert": "stranger.pem", "client_key": "stranger.key"},
            "Check client_cert: the server does not trust whoever signed it.",
            id="stranger",
        ),
        pytest.param(
            {"client_key": "server.key"}, "Check that client_key is the key of client_cert.", id="another-key"
        ),
        pytest.param(
            {"ca_certs": "nosuch.pem"}, "Check ca_certs, client_cert and client_key: a file is missing.", id="no-file"
        ),
        pytest.param({"ca_certs": "client.key"}, "Check ca_certs: the file holds no certificate.", id="no-authority"),
        pytest.param({"client_cert": "client.key"}, "a file does not hold what it should.", id="no-pem"),
        pytest.param({"tls": False}, "Check that the server runs, and whether it expects tls.", id="plain-text"),
        pytest.param({"login_password": "not-the-password"}, "Check login_user and login_password.", id="password"),
        pytest.param({"login_user": "nobody"}, "Check login_user and login_password.", id="user"),
    ],
)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_does_not_fit_is_named(
    secure: Secure,
    run_module: RunModule,
    asked: tuple[Callable[[], None], dict[str, Any]],
    wrong: dict[str, Any],
    said: str,
) -> None:
    """Where, as whom, and what to check; no secret is told."""
    files = {name: secure.file(value) for name, value in wrong.items() if str(value).endswith((".pem", ".key"))}
    main, options = asked
    done = run_module(main, secure.login(**{**options, **wrong, **files}), check=True, diff=True)
    assert done["_exit_code"] == 1
    assert "Cannot connect to Redis" in done["msg"]
    assert said in done["msg"]
    assert not [secret for secret in (USER_PASSWORD, "not-the-password") if secret in json.dumps(done)]


def test_tls_to_a_server_without_it_is_told(secure: Secure, server: Server, run_module: RunModule) -> None:
    """Both sides must agree."""
    done = run_module(memory_info, secure.login(login_port=server.port, connect_timeout_seconds=2))
    assert done["_exit_code"] == 1
    assert "Check tls: " in done["msg"]


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({}, "recovered"),
        ({"ca_certs": "other.pem"}, "not_recovered"),
        ({"client_cert": None, "client_key": None}, "not_recovered"),
    ],
)
def test_recovery_is_proved_over_tls(
    secure: Secure, run_module: RunModule, wrong: dict[str, Any], verdict: str
) -> None:
    """The probe for Redis has the same options."""
    files = {name: secure.file(value) for name, value in wrong.items() if value}
    asked = secure.login(**{**wrong, **files})
    del asked["connect_timeout_seconds"]
    probe = {"name": "redis", "redis": {**asked, "timeout_seconds": 20}, "equals": "PONG"}
    done = run_module(recovery_check, {"probes": [probe], "consecutive": 1, "timeout_seconds": 1})
    assert done["verdict"] == verdict, done
    assert USER_PASSWORD not in json.dumps(done)


def test_sentinels_and_their_master_are_asked_over_tls(
    secure: Secure, containers: Containers, run_module: RunModule
) -> None:
    """Both with certificates, each with its own login; a sentinel that refuses ours is no reason to ask without."""
    master = secure.container.address()
    secure.authority.sign("member", master)
    named = ["tls-cert-file", "/tls/member.pem", "tls-key-file", "/tls/member.key"]
    assert secure.cli("CONFIG", "SET", *named) == "OK"
    settings = [
        *("port 0", "tls-port 26379", "tls-replication yes", "tls-ca-cert-file /tls/authority.pem"),
        *("tls-cert-file /tls/server.pem", "tls-key-file /tls/server.key"),
        *(f"sentinel monitor cache {master} 6379 1", f"sentinel auth-pass cache {PASSWORD}"),
        *("user default off", f"user {GUARD} on >{GUARD_PASSWORD} allchannels +@all"),
    ]
    sentinel = containers.start(
        IMAGE,
        alias="sentinel-tls",
        ports=[26379],
        environment={"REDIS_CONFIG": "\n".join(settings)},
        volumes={str(secure.folder): "/tls"},
        command=["--sentinel"],
    )
    asked = secure.login(
        sentinels=[f"127.0.0.1:{sentinel.port(26379)}"],
        sentinel_service="cache",
        sentinel_user=GUARD,
        sentinel_password=GUARD_PASSWORD,
    )
    wait_for(lambda: run_module(memory_info, asked)["_exit_code"] == 0, "The sentinel serves")
    assert secure.cli("SET", "page:1", "x") == "OK"

    done = run_module(evict, {**asked, "patterns": ["page:*"]})

    assert (done["evicted"], done["nodes"][0]["node"]) == (1, f"{master}:6379"), done
    assert secure.cli("DBSIZE") == "0"
    stranger = {"client_cert": secure.file("stranger.pem"), "client_key": secure.file("stranger.key")}
    for wrong, remedy in (
        (stranger, "Check client_cert: the server does not trust whoever signed it."),
        ({"sentinel_password": "not-the-password"}, "Check sentinel_user and sentinel_password."),
        ({"sentinel_user": None, "sentinel_password": None}, "Set sentinel_password, and sentinel_user if"),
    ):
        refused = run_module(evict, {**asked, **wrong, "patterns": ["page:*"]})
        assert remedy in refused["msg"], refused
        assert "-secret-" not in json.dumps(refused)
