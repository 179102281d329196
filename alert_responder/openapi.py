# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the HTTP interface as an OpenAPI document; the shapes come from the models that read and write them."""

from __future__ import annotations

from functools import cache
from typing import Any

from alert_responder import __version__
from alert_responder.alerts import Posted
from alert_responder.incidents import EVENT, Status

_SCHEMAS = "#/components/schemas/"
_TEXT = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}
_WHOLE = {"type": "integer"}

# What each status means here; an answer of a request names those that it can give.
_ERRORS = {
    400: "What was sent cannot be read; the message says what is wrong.",
    401: "No valid token.",
    403: "This token may send and read, not approve.",
    404: "There is no such incident.",
    408: "The body did not arrive in time.",
    409: "This is not what the incident asks.",
    413: "The body is too large.",
    429: "Too many requests without a valid token.",
    503: "The store cannot write, or too much was asked at once. Nothing was recorded: send it again.",
}
_ANYONE = (503,)
_READER = (401, 429, 503)
_SENDER = (400, 401, 408, 413, 429, 503)


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _SCHEMAS + name}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str, answer: dict[str, Any], errors: tuple[int, ...], *, secured: bool = True, **more: Any
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": answer}}
    for status in errors:
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(_ref("Error"))}
    return {
        "summary": summary,
        "responses": responses,
        **({"security": [{"bearer": []}, {"basic": []}]} if secured else {}),
        **more,
    }


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": _json(schema)}


def _schemas() -> dict[str, Any]:
    events = EVENT.json_schema(by_alias=True, mode="serialization", ref_template=_SCHEMAS + "{model}")
    posted = Posted.model_json_schema(by_alias=True, ref_template=_SCHEMAS + "{model}")
    summary = {
        "id": _WHOLE,
        "alert": _TEXT,
        "service": _TEXT,
        "runbook": _or_null(_TEXT),
        "status": _ref("Status"),
        "open": {"type": "boolean"},
        "reason": _TEXT,
        "opened_at": _MOMENT,
        "updated_at": _MOMENT,
        "due_at": _or_null(_MOMENT),
    }
    receipt = {
        "incident": _or_null(_WHOLE),
        "outcome": {"enum": ["opened", "fired", "ended", "repeated", "ignored"]},
    }
    grafana = {"properties": {"version": {"const": "1"}, "orgId": _WHOLE}, "required": ["orgId"]}
    return {
        **events.pop("$defs"),
        **posted.pop("$defs"),
        "Posted": posted,
        "Webhook": {
            "allOf": [_ref("Posted"), {"anyOf": [{"properties": {"version": {"const": "4"}}}, grafana]}],
            "description": "Alertmanager's webhook, version 4, or Grafana's of the same shape, version 1.",
        },
        "Event": events,
        "Error": _object({"error": _object({"status": _WHOLE, "message": _TEXT})}),
        "Receipts": _object({"alerts": {"type": "array", "items": _object(receipt)}}),
        "Status": {"enum": [status.value for status in Status]},
        "Incidents": _object({"incidents": {"type": "array", "items": _object(summary)}}),
        "Incident": _object({"id": _WHOLE, "events": {"type": "array", "items": _ref("Event")}}),
        "Answer": {
            **_object(
                {
                    "option": {"type": "string", "pattern": "^[A-Z]$"},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"\S"},
                }
            ),
            "additionalProperties": False,
        },
        "Said": _object({"status": _TEXT}),
    }


@cache
def document() -> dict[str, Any]:
    """Return the description of every request that is answered."""
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    }
    listed = [
        {"name": "status", "in": "query", "schema": _ref("Status")},
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
        },
    ]
    receive = _operation(
        "Every alert of the webhook is on disk.", _json(_ref("Receipts")), _SENDER, requestBody=_body(_ref("Webhook"))
    )

    def answered(word: str) -> dict[str, Any]:
        errors = (*_SENDER[:2], 403, 404, 408, 409, *_SENDER[3:])
        said = f"The option is {word}; the event that was recorded."
        return _operation(said, _json(_ref("Event")), errors, requestBody=_body(_ref("Answer")), parameters=[number])

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "alert_responder",
            "version": __version__,
            "description": "Alerts in, incidents and their record out.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": {
            "/": {"post": receive},
            "/api/v1/alerts": {"post": receive},
            "/api/v1/incidents": {
                "get": _operation(
                    "The newest incidents first.", _json(_ref("Incidents")), (400, *_READER), parameters=listed
                )
            },
            "/api/v1/incidents/{number}": {
                "get": _operation(
                    "One incident with its events.", _json(_ref("Incident")), (404, *_READER), parameters=[number]
                )
            },
            "/api/v1/incidents/{number}/approve": {"post": answered("approved")},
            "/api/v1/incidents/{number}/deny": {"post": answered("denied")},
            "/healthz": {"get": _operation("The process lives.", _json(_ref("Said")), (), secured=False)},
            "/readyz": {"get": _operation("Store and worker are ready.", _json(_ref("Said")), _ANYONE, secured=False)},
            "/metrics": {
                "get": _operation("What Prometheus reads.", {"text/plain": {"schema": _TEXT}}, (), secured=False)
            },
            "/openapi.json": {"get": _operation("This document.", _json({"type": "object"}), (), secured=False)},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "One of the configured tokens."},
                "basic": {"type": "http", "scheme": "basic", "description": "Any name, and a token as the password."},
            },
        },
    }
