# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Options that the service modules share (twin of the doc fragment ``service``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPOSE = "compose"
SWARM = "swarm"
DOCKER_HOST = "unix:///var/run/docker.sock"


def project_options() -> ArgumentSpec:
    """Return the options that say which project is meant, and where it runs."""
    return ArgumentSpec(
        options={
            "project": {"type": "str", "required": True},
            "engine": {"type": "str", "choices": [COMPOSE, SWARM], "default": COMPOSE},
            "docker_host": {"type": "str", "default": DOCKER_HOST, "fallback": (env_fallback, ["DOCKER_HOST"])},
        }
    )


def service_options() -> ArgumentSpec:
    """Return the options that say which service is meant, and where."""
    return project_options() + ArgumentSpec(
        options={
            "service": {"type": "str", "required": True},
            "project_src": {"type": "path"},
            "files": {"type": "list", "elements": "path"},
            "env_files": {"type": "list", "elements": "path"},
        },
        required_by={"files": ["project_src"], "env_files": ["project_src"]},
    )


def gate_options() -> ArgumentSpec:
    """Return the options that say when a replica counts as serving."""
    return ArgumentSpec(
        options={
            "stable_seconds": {"type": "float", "default": 5.0},
            "timeout_seconds": {"type": "float", "default": 120.0},
        }
    )


@dataclass(frozen=True)
class Target:
    """The project and the service that are meant."""

    project: str
    service: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Target:
        """Take the target from a module's options."""
        return cls(project=params["project"], service=params["service"])

    def as_return(self) -> dict[str, Any]:
        """Return the identity that every result carries."""
        return {"project": self.project, "service": self.service}


@dataclass(frozen=True)
class Gate:
    """When a replica counts as serving, and how long that may take."""

    stable_seconds: float
    timeout_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Gate:
        """Take the gate from a module's options; raises ValueError for a time that cannot be."""
        gate = cls(stable_seconds=params["stable_seconds"], timeout_seconds=params["timeout_seconds"])
        if gate.stable_seconds < 0 or gate.timeout_seconds <= 0:
            raise ValueError("stable_seconds must not be negative and timeout_seconds must be above 0.")
        return gate
