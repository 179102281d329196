"""Over TLS, and with client certificates, on the real process."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.responder.service import TOKEN, Service, command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


class Authority:
    """Signs certificates for the loopback address."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = self._builder(self._name, self._key).add_extension(constraint, critical=True)
        self.certificate = folder / f"{name}.pem"
        signed = self._certificate.sign(self._key, hashes.SHA256())
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def sign(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signed = self._builder(subject, key).add_extension(address, critical=False).sign(self._key, hashes.SHA256())
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


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
