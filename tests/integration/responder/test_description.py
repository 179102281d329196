"""The running process against its own OpenAPI document, by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.integration.responder.service import Service

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "positive_data_acceptance",
    "negative_data_rejection",
    "unsupported_method",
)
# The token of a person opens every operation.
PERSON = "0123456789abcdef-person"


def test_the_process_answers_as_it_is_described(service: Service, tmp_path: Path) -> None:
    """No 5xx, no status, header or body that the document does not name, and no way around the token."""
    service.settings["approvers"] = {"kim": PERSON}
    service.settings["policy"]["suggest_only"] = True
    service.start(keep_log=True)
    for number in range(3):
        service.post(fingerprint=f"f{number}", labels={"instance": f"db{number}"})
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            "run",
            f"http://{service.addresses[0]}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=20",
            "--seed=40",
            "--no-color",
            "--suppress-health-check=all",
            "--generation-database=none",
            f"--header=Authorization: Bearer {PERSON}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )

    assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-2000:]
    # Not by its check ignored_auth: whoever shows no token so often is told to come more slowly.
    secured = {
        (method, path)
        for path, operations in service.client.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    assert ("post", "/api/v1/alerts") in secured
    for method, path in secured:
        service.until(partial(_refuses, service, method, path.format(number=1)), seconds=30)
    assert service.client.get("/readyz").status_code == 200
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text()


def _refuses(service: Service, method: str, path: str) -> bool:
    """Tell whether an operation asks for a token; False when it was asked too often."""
    answer = httpx.request(method, f"http://{service.addresses[0]}{path}", json={})
    assert answer.status_code in (401, 429), (method, path, answer.status_code)
    return answer.status_code == 401
