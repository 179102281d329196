"""Over TLS, and with client certificates, on the real process."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.authority import Authority
from tests.integration.responder.service import TOKEN, Service, command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def client(authority: Authority, service: Service, shown: tuple[Path, Path] | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=authority.certificate)
    if shown:
        context.load_cert_chain(*shown)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=f"https://{service.addresses[0]}", verify=context, headers=headers, timeout=10)


def test_only_a_known_sender_gets_in(service: Service, tmp_path: Path) -> None:
    """A signed certificate and a token: 200. A certificate alone: 401. Another's, none, or plain HTTP: no answer."""
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    certificate, key = authority.sign("responder")
    service.settings.update(
        tls_certificate=str(certificate), tls_key=key.name, tls_client_ca=str(authority.certificate)
    )
    plain, service.client = service.client, client(authority, service, authority.sign("alertmanager"))
    service.start()

    assert service.client.get("/api/v1/incidents").status_code == 200
    assert service.client.get("/api/v1/incidents", headers={"Authorization": "Bearer wrong"}).status_code == 401
    for stranger in (client(authority, service), client(authority, service, other.sign("stranger")), plain):
        with stranger, pytest.raises(httpx.TransportError):
            stranger.get("/healthz")
    assert service.stop() == 0


@pytest.mark.parametrize("wrong", ["missing.pem", "authority.pem"])
def test_files_that_do_not_fit_stop_the_start(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A missing file and a key that is none are named, and nothing listens."""
    certificate, _ = Authority(tmp_path, "authority").sign("responder")
    service.settings.update(tls_certificate=str(certificate), tls_key=wrong)
    service.write_settings()
    monkeypatch.setenv("ALERT_RESPONDER_TOKENS", TOKEN)
    done = command(service, "serve")

    assert done.returncode == 2
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "Cannot start with TLS from" in said
    assert wrong in said.replace(" ", "")
