#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_rollback
short_description: Return a service to the image before, one replica after the other, gated on health
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Replaces the replicas of a Docker Compose service by replicas of the image before, or of a named one. One goes only
    after its successor serves; where that cannot be, because of a fixed host port or container name, the successor
    starts after it. A service with a single replica that writes to a volume or a folder of the host is never run
    twice at a time, and is down meanwhile; the check says so.
  - If a replica of that image does not come to serve, it is taken away and the service goes forward again to the image
    that it had. A replica that serves is given up only for one that serves, too.
  - The image before is the newest one on the host, of the same repository, that is older than the newest that runs, as
    M(ops.runbooks.service_info) returns it in C(images_before). Nothing is pulled or built.
  - With O(engine=swarm) the image before is the one that the Swarm remembers, it replaces the tasks itself and goes
    forward again itself, and the choice holds until the stack is deployed again.
  - The choice is written into O(override_file) before anything is replaced. A run that was cut off is finished by a
    second one. Data is not rolled back; a program that has migrated its database may not run with the image before.
extends_documentation_fragment:
  - ops.runbooks.service
  - ops.runbooks.service.project
  - ops.runbooks.service.gate
  - ops.runbooks.service.precondition
attributes:
  check_mode:
    support: full
    description: Says which image it would be, which replicas would be replaced and how, and changes nothing.
  diff_mode:
    support: full
    description: Shows the replicas and their images before and after.
  idempotent:
    support: full
    description: A second run changes nothing, as long as nothing else was deployed. It does not go further back.
options:
  image:
    description: Image to return to, by name, digest or identity. The one before by default.
    type: str
  override_file:
    description:
      - Compose override file that keeps the image across a recreate. It is written as JSON, which Compose reads, and
        must be a file of its own or one that M(ops.runbooks.service_limits) has written. Name it as the last C(--file)
        of C(docker compose up), until the project's own files say a good image. Required with O(engine=compose), and
        of no use to a Swarm, which keeps what it was told.
    type: path
  expected_image:
    description:
      - Name or identity of the image that the caller wants to leave. O(precondition_reaction) says what happens when no
        replica runs it.
    type: str
  settle_seconds:
    description:
      - Time, in seconds, between a replica that serves and the one before it that goes. Must be longer than a load
        balancer needs to find the replica.
    type: float
    default: 3.0
requirements:
  - Docker CLI with Compose 2.20 or later on the managed host
seealso:
  - module: ops.runbooks.service_info
  - module: ops.runbooks.service_restart
"""

EXAMPLES = r"""
- name: Return to the image before
  ops.runbooks.service_rollback:
    project: shop
    service: web
    override_file: /srv/shop/compose.kept.json

- name: Say which image that would be
  ops.runbooks.service_rollback:
    project: shop
    service: web
    override_file: /srv/shop/compose.kept.json
  check_mode: true

- name: Return a service of a Swarm to the image before
  ops.runbooks.service_rollback:
    engine: swarm
    project: shop
    service: web

- name: Return to a named image, unless somebody has deployed another one meanwhile
  ops.runbooks.service_rollback:
    project: shop
    service: web
    image: shop/web:1.4.1
    expected_image: shop/web:1.4.2
    precondition_reaction: skip
    override_file: /srv/shop/compose.kept.json
"""

RETURN = r"""
project:
  description: The project.
  returned: always, once the engine answered
  type: str
  sample: shop
service:
  description: The service.
  returned: always, once the engine answered
  type: str
  sample: web
actions:
  description: What was done or left alone, and what the caller should know.
  returned: always, once the engine answered
  type: list
  elements: str
  sample: ["shop-web-3 serves shop/web:1.4.1 after 3.1 s.", "Stopped and removed shop-web-2."]
before:
  description: The replicas and their images before.
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    images: [shop/web:1.4.2]
    containers:
      - {name: shop-web-1, state: running, health: unhealthy, image: shop/web:1.4.2, image_id: "sha256:1501963f2e9f"}
after:
  description: The same after; in check mode the number of replicas and their image.
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    images: [shop/web:1.4.1]
    containers:
      - {name: shop-web-2, state: running, health: healthy, image: shop/web:1.4.1, image_id: "sha256:0c1be16bd9a1"}
duration_seconds:
  description: Seconds it took.
  returned: success
  type: float
  sample: 12.4
failed_replica:
  description: Name of the replica that did not come to serve.
  returned: when one did not
  type: str
  sample: shop-web-3
log_tail:
  description: Last lines of its log. What looks like a secret is replaced by stars.
  returned: when one did not come to serve
  type: list
  elements: str
  sample: ["password=*** refused"]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._service_engines import (
    in_swarm,
    kept_in,
    open_observer,
    open_roller,
    open_stack,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback import (
    Rollbacker,
    RollbackRequest,
    rollback_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback_stack import StackRollbacker

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = RollbackRequest.from_params(module.params)
    rollbacker = (
        StackRollbacker(open_stack(module), request, warn=module.warn)
        if in_swarm(module)
        else Rollbacker(open_observer(module), open_roller(module), kept_in(module), request, warn=module.warn)
    )
    result = rollbacker.run(dry_run=module.check_mode)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(rollback_spec(), work)


if __name__ == "__main__":
    main()
