# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  service:
    description: Service of the project.
    type: str
    required: true
  project_src:
    description:
      - Directory of the project's Compose files. Without it, directory, files and environment files are those that the
        project's containers came from, as Compose's own labels say. A Swarm has no use for it.
    type: path
  files:
    description: Compose files, as C(--file) takes them; relative to O(project_src). Compose's own choice by default.
    type: list
    elements: path
  env_files:
    description: Environment files, as C(--env-file) takes them; relative to O(project_src).
    type: list
    elements: path
"""

    PROJECT = r"""
options:
  project:
    description: Compose project, as C(docker compose ls --all) shows it, or stack, as C(docker stack ls) shows it.
    type: str
    required: true
  engine:
    description:
      - V(compose) are the services of a Compose project on one host.
      - V(swarm) are the services of a stack of a Docker Swarm, which O(docker_host) manages. The Swarm replaces tasks
        itself, keeps what it was told across every recreate, and is watched until the new ones serve. What a container
        uses and logs is seen on the manager's own host only.
    type: str
    choices: [compose, swarm]
    default: compose
  docker_host:
    description: Address of the Docker engine. Certificates are taken from the environment, as the Docker CLI does.
    type: str
    default: unix:///var/run/docker.sock
requirements:
  - docker 5.0.3 or later (Python library) on the managed host
"""

    GATE = r"""
options:
  stable_seconds:
    description: Time, in seconds, that a replica without a health check must be up to count as serving.
    type: float
    default: 5.0
  timeout_seconds:
    description: Longest time, in seconds, to wait until the replicas serve.
    type: float
    default: 120.0
"""

    PRECONDITION = r"""
options:
  expected_replicas:
    description: Number of replicas that the caller believes there are.
    type: int
  precondition_reaction:
    description: What happens when there are not O(expected_replicas).
    type: str
    choices: [fail, skip, warn]
    default: fail
"""
