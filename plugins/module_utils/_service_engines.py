# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Open the engine that a service module's options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_compose import ComposeEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_limiter import ComposeLimiter
from ansible_collections.ops.runbooks.plugins.module_utils._service_observer import ComposeObserver
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import SWARM
from ansible_collections.ops.runbooks.plugins.module_utils._service_override import LocalOverrideFile
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm import SwarmEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm_observer import SwarmObserver

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import LimitsSource
    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import ServiceObserver
    from ansible_collections.ops.runbooks.plugins.module_utils._service_override import OverrideFile
    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import RollbackEngine, ServiceEngine

# An engine that does not say how a container stands in this time is itself the trouble.
READING_TIMEOUT_SECONDS = 15


def open_engine(module: AnsibleModule) -> ServiceEngine:
    """Connect; raises ConnectionFailed or MissingLibrary, and ValueError for an option that this engine has not."""
    return open_stack(module) if in_swarm(module) else _compose(module)


def in_swarm(module: AnsibleModule) -> bool:
    """Tell whether a Swarm is meant; raises ValueError for an option that only Compose has."""
    if module.params["engine"] != SWARM:
        return False
    for option in ("project_src", "files", "env_files", "override_file"):
        if module.params.get(option):
            raise ValueError(f"{option} is for Compose: a Swarm keeps what it was told. Leave it away.")
    return True


def open_stack(module: AnsibleModule) -> SwarmEngine:
    """Connect to a manager of a Swarm; raises ConnectionFailed, MissingLibrary or Unsupported."""
    return SwarmEngine(DockerEngine(module.params["docker_host"]), module.params["project"])


def open_roller(module: AnsibleModule) -> RollbackEngine:
    """Connect to change images, which the override file names; raises ConnectionFailed or MissingLibrary."""
    return _compose(module, Path(module.params["override_file"]).absolute())


def _compose(module: AnsibleModule, override: Path | None = None) -> ComposeEngine:
    params = module.params

    def run(command: list[str]) -> tuple[int, str, str]:
        # Arguments are names and paths as they are: nothing in them is to be expanded.
        result: tuple[int, str, str] = module.run_command(command, handle_exceptions=False, expand_user_and_vars=False)
        return result

    return ComposeEngine(
        DockerEngine(params["docker_host"]),
        params["project"],
        run,
        source=Path(params["project_src"]) if params["project_src"] else None,
        files=[Path(name) for name in params["files"] or []],
        env_files=[Path(name) for name in params["env_files"] or []],
        override=override,
    )


def open_limiter(module: AnsibleModule) -> LimitsSource:
    """Connect to change limits; raises ConnectionFailed or MissingLibrary."""
    params = module.params
    if in_swarm(module):
        return SwarmObserver(DockerEngine(params["docker_host"]), params["project"])
    return ComposeLimiter(DockerEngine(params["docker_host"]), params["project"], module.warn)


def open_override(module: AnsibleModule) -> OverrideFile | None:
    """Return the file that keeps limits, if there is to be one."""
    return kept_in(module) if module.params["override_file"] else None


def kept_in(module: AnsibleModule) -> OverrideFile:
    """Return the file that keeps a choice."""
    return LocalOverrideFile(Path(module.params["override_file"]).absolute())


def open_observer(module: AnsibleModule) -> ServiceObserver:
    """Connect to read only; raises ConnectionFailed or MissingLibrary."""
    docker = DockerEngine(module.params["docker_host"], READING_TIMEOUT_SECONDS)
    return (SwarmObserver if in_swarm(module) else ComposeObserver)(docker, module.params["project"])
