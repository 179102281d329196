"""The graph of dependencies comes out of the inventory, closed, and without circles."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from alert_responder.dependencies import closure, merge, read_dependencies
from alert_responder.errors import SettingsError
from alert_responder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def declare(folder: Path, text: str) -> Settings:
    """Return the settings of a project whose inventory holds this text."""
    (folder / "inventory.yml").write_text(text)
    return Settings(project=folder, inventory=folder / "inventory.yml", collections=(folder,))


def test_what_a_service_depends_on_is_followed_to_the_end() -> None:
    """Who needs the pooler needs the database behind it."""
    direct = {"backend": frozenset({"pooler", "cache"}), "pooler": frozenset({"postgres"})}

    assert closure(direct) == {
        "backend": {"pooler", "cache", "postgres"},
        "pooler": {"postgres"},
    }


@pytest.mark.parametrize(
    ("direct", "said"),
    [
        pytest.param({"a": {"a"}}, "a -> a is a circle", id="itself"),
        pytest.param({"a": {"b"}, "b": {"c"}, "c": {"b"}}, "b -> c -> b is a circle", id="three"),
    ],
)
def test_a_circle_stops_the_start(direct: dict[str, set[str]], said: str) -> None:
    """Each would wait for the other."""
    with pytest.raises(SettingsError, match=said):
        closure({service: frozenset(needs) for service, needs in direct.items()})


def test_what_several_hosts_declare_is_put_together() -> None:
    """Each group may declare its own part."""
    assert merge([{"a": ["b"]}, {"a": ["c"], "d": []}]) == {"a": {"b", "c"}, "d": frozenset()}


@pytest.mark.parametrize(
    "declared", [pytest.param("a: b", id="text"), pytest.param({"a": "b"}, id="no-list"), pytest.param([1], id="list")]
)
def test_a_wrong_declaration_stops_the_start(declared: Any) -> None:
    """The error names the variable and what was expected."""
    with pytest.raises(SettingsError, match=r"service_dependencies of the inventory: .*for each service, a list"):
        merge([declared])


def test_the_inventory_is_read(tmp_path: Path) -> None:
    """Variables of groups and hosts count, as Ansible sees them; what needs a vault or a lookup is not touched."""
    settings = declare(
        tmp_path,
        """
        web: {hosts: {one: }, vars: {service_dependencies: {backend: [postgres]}}}
        db: {hosts: {two: {service_dependencies: {pooler: [postgres]}, password: "{{ lookup('file', '/nope') }}"}}}
        """,
    )

    assert read_dependencies(settings) == {"backend": {"postgres"}, "pooler": {"postgres"}}


def test_an_inventory_that_cannot_be_read_holds_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Alerts are received all the same, and the log says what is missing."""
    with caplog.at_level(logging.ERROR):
        assert read_dependencies(declare(tmp_path, "[broken:nonsense]")) == {}

    assert "No incident waits for another service." in caplog.text
