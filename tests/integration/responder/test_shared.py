"""Two real responders on one PostgreSQL: they share the work, and one goes on where the other was killed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from alert_responder.processes import processes_of
from tests.integration.responder.service import Service, command
from tests.integration.responder.test_acceptance import living

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.responder.databases import Server

pytestmark = pytest.mark.integration


@pytest.fixture
def pair(tmp_path: Path, database: str) -> Iterator[tuple[Service, Service]]:
    """Give two responders of one project, each with a state folder of its own as on a machine of its own."""
    services = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        service = Service(tmp_path / name)
        service.settings |= {"database": database, "lease_seconds": 6.0}
        services.append(service)
    first, second = services
    second.project = first.project
    second.settings["project"] = str(first.project)
    yield first, second
    for service in services:
        if service.process is not None:
            service.stop(signal.SIGKILL)
        service.client.close()


def test_the_other_takes_over_from_one_that_was_killed(pair: tuple[Service, Service]) -> None:
    """SIGKILL in the middle of an option: nothing is lost, it is verified first, and the option runs no second time."""
    mend = pair[0].project / "playbooks" / "a_mend.yml"
    quick = mend.read_text()
    mend.write_text(quick.replace("default(0)", "default(86399)").replace("float) > 0", "float) > 1"))
    for service in pair:
        service.start()
    pair[1].post()
    pair[0].until(lambda: living("sleep", "86399") != [])
    run = pair[0].events()[-1]["run"]
    [killed] = [service for service in pair if (service.config.parent / "state" / "runs" / run).exists()]
    [left] = [service for service in pair if service is not killed]
    killed.stop(signal.SIGKILL)
    assert left.post().json() == {"alerts": [{"incident": 1, "outcome": "repeated"}]}
    left.until(lambda: processes_of(run) == set(), seconds=15)
    mend.write_text(quick)
    left.until(left.over)

    assert left.story() == [
        "opened",
        "started diagnose",
        "finished done",
        "started option A",
        "finished interrupted",
        "started verify",
        "finished done",
        "started diagnose",
        "finished done",
        "escalated",
    ]
    events = left.events()
    assert events[3]["place"] != events[5]["place"] == (left.config.parent / "state" / "place").read_text()
    assert f"the responder of {events[3]['place']} was not heard of any more" in events[4]["reason"]
    assert not (left.project / "patient.log").exists()
    assert "escalated" in command(left, "incidents").stdout


def test_two_share_the_work(pair: tuple[Service, Service]) -> None:
    """Two services are healed at the same time, one by each responder, whoever heard of them."""
    runbooks = pair[0].project / "runbooks"
    other = (runbooks / "tiny.md").read_text().replace("runbook: tiny", "runbook: other").replace(": thing", ": other")
    (runbooks / "other.md").write_text(other)
    named = "    who: \"{{ 'tiny' if runbook_alert.labels.instance == 'db1:5432' else 'other' }}\"\n"
    for path in (pair[0].project / "playbooks").glob("*.yml"):
        text = path.read_text().replace("runbook: tiny", 'runbook: "{{ who }}"')
        path.write_text(text.replace("  vars:\n", f"  vars:\n{named}"))
    mend = pair[0].project / "playbooks" / "a_mend.yml"
    mend.write_text(mend.read_text().replace("default(0)", "default(3)"))
    for service in pair:
        service.settings["concurrency"] = 1
        service.start()
    pair[0].post()
    pair[0].post(labels={"service": "other", "instance": "db2:5432"}, fingerprint="f2")
    for number in (1, 2):
        pair[1].until(lambda number=number: pair[1].over(number))  # type: ignore[misc] # a default binds the number

    assert [pair[1].story(number)[-1] for number in (1, 2)] == ["closed recovered"] * 2
    places = {event["place"] for number in (1, 2) for event in pair[0].events(number) if event["kind"] == "started"}
    assert len(places) == 2


def test_without_its_database_it_refuses_and_comes_back(pair: tuple[Service, Service], server: Server) -> None:
    """An alert that cannot be put on record is answered with 503, so that Alertmanager sends it again."""
    service, _ = pair
    service.start()
    server.stop()
    assert service.post().status_code == 503
    assert service.client.get("/readyz").status_code == 503
    assert service.client.get("/healthz").status_code == 200
    server.start()

    answer = service.post()
    assert (answer.status_code, answer.json()["alerts"][0]["outcome"]) == (200, "opened")
    service.until(service.over)
    assert service.story()[-1] == "closed recovered"
