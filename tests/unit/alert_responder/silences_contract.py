"""What the responder relies on in Alertmanager's silences."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alert_responder.metrics import Metrics
from alert_responder.silences import AlertmanagerSilences

if TYPE_CHECKING:
    from collections.abc import Callable


def listed(silences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the silences of the tests that have not ended."""
    return [one for one in silences if one["status"]["state"] != "expired"]


class SilencesContract:
    """A subclass gives the fixtures ``silences`` and ``asked``, which lists what has not ended."""

    def test_the_silence_of_an_incident_comes_and_goes(
        self, silences: AlertmanagerSilences, asked: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """One at a time, scoped by its labels, known by its comment; another incident's stays."""

        async def story() -> list[list[tuple[str, list[str]]]]:
            seen = []

            def look() -> None:
                seen.append(
                    sorted((one["comment"], sorted(matcher["value"] for matcher in one["matchers"])) for one in asked())
                )

            labels = {"alertname": "ThingFull", "instance": "db1"}
            await silences.put(7, labels, seconds=60, reason="option A runs.")
            look()
            await silences.put(7, labels, seconds=90, reason="option B runs.")
            await silences.put(8, {**labels, "instance": 'quote "{{x}}"'}, seconds=60, reason="option A runs.")
            look()
            await silences.lift(7)
            await silences.lift(7)
            look()
            await silences.sweep([8])
            look()
            await silences.sweep([])
            look()
            await silences.close()
            return seen

        first = ("Incident 7: option A runs.", ["ThingFull", "db1"])
        second = ("Incident 7: option B runs.", ["ThingFull", "db1"])
        other = ("Incident 8: option A runs.", ["ThingFull", 'quote "{{x}}"'])
        assert asyncio.run(story()) == [[first], [second, other], [other], [other], []]

    def test_what_others_made_is_left_alone(
        self, silences: AlertmanagerSilences, asked: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """A person's silence, and another responder's, are not swept."""
        other = AlertmanagerSilences("http://x.example.com", "somebody", Metrics(), silences._clock)

        async def story() -> None:
            other._client, other._url = silences._client, silences._url
            await other.put(7, {"alertname": "Theirs", "instance": "db1"}, seconds=60, reason="theirs.")
            await silences.sweep([])
            await silences.lift(7)
            await silences.close()

        asyncio.run(story())
        assert [one["createdBy"] for one in asked()] == ["somebody"]
