#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_persistence_repair
short_description: Repair the files of a Redis server that does not start
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Checks the append-only file, single or in parts, and the RDB with Redis' own C(redis-check-aof) and
    C(redis-check-rdb), and repairs copies of what is damaged. The damaged originals stay aside, as hard links where the
    file system has them.
  - An append-only file is cut after its last good command. In one of several parts, the parts after it go too, for they
    build on what is lost.
  - An RDB, for which Redis has no repair, is cut after its last whole key, and C(redis-check-rdb) must accept the
    result. Where only the checksum is wrong nothing is cut, and some value is not what was saved.
  - Refuses while the server runs, since what it holds in memory is better than its files.
  - Each file is replaced in one step, the damaged one last, so a run that is interrupted leaves files that Redis
    refuses as before. A second run finishes.
attributes:
  check_mode:
    support: full
    description: >-
      Reads with the same tools and says what would be lost. Whether the last whole key of an RDB can be found is known
      only when a copy is cut.
  diff_mode:
    support: full
    description: Shows the state of each file before and after.
  idempotent:
    support: full
    description: Sound files are left alone.
options:
  data_directory:
    description: Directory of the files as the server sees it (C(CONFIG GET dir)).
    type: str
    default: /data
  project:
    description:
      - Compose project of the server. O(data_directory) is then read through a throw-away container of the same image
        and with the same volumes, and the server's container, which starts again and again, is stopped for a repair.
      - Without it, O(data_directory) is a directory of the managed host.
    type: str
  service:
    description: Compose service of the server. It has exactly one container.
    type: str
  docker_host:
    description: Address of the Docker engine. Certificates are taken from the environment, as the Docker CLI does.
    type: str
    default: unix:///var/run/docker.sock
  aof_folder:
    description: Folder of an append-only file in parts (C(CONFIG GET appenddirname)).
    type: str
    default: appendonlydir
  aof_filename:
    description: Name of the append-only file (C(CONFIG GET appendfilename)).
    type: str
    default: appendonly.aof
  rdb_filename:
    description: Name of the RDB (C(CONFIG GET dbfilename)).
    type: str
    default: dump.rdb
  allow_data_loss:
    description: Whether what cannot be read may be cut off. Without it, damaged files are a refusal that says the loss.
    type: bool
    default: false
requirements:
  - docker 5.0.3 or later (Python library) on the managed host, with O(project)
  - redis-check-aof and redis-check-rdb of the server's version, in its image or on the managed host
  - the rights of the server's user, or root
seealso:
  - module: ops.runbooks.service_restart
notes:
  - Does not start the server; use M(ops.runbooks.service_restart) afterwards, and look at what is there.
  - Needs free space for a copy of the damaged files.
  - With C(aof-load-truncated yes), the default, Redis itself cuts an incomplete last command when it starts.
"""

EXAMPLES = r"""
- name: Say what is damaged and what a repair would lose
  ops.runbooks.redis_persistence_repair:
    project: shop
    service: redis
    allow_data_loss: true
  check_mode: true

- name: Repair the files of the service, which must not run
  ops.runbooks.redis_persistence_repair:
    project: shop
    service: redis
    allow_data_loss: true

- name: Repair the files of a server that is no container
  ops.runbooks.redis_persistence_repair:
    data_directory: /var/lib/redis
    allow_data_loss: true
"""

RETURN = r"""
instance:
  description: Where the files are.
  returned: always, once they were reached
  type: str
  sample: shop-redis-1:/data
actions:
  description: What is wrong, what was done, and what was left alone.
  returned: always, once the files were reached
  type: list
  elements: str
  sample:
    - "appendonly.aof.2.incr.aof: Expected \\r\\n, got: 5242."
    - Kept the damaged files in /data/damaged-20260105T080000Z.
    - Repaired 1 files; 4816 bytes and about 85 commands are lost.
serving:
  description: Whether the server runs.
  returned: always, once the files were read
  type: bool
  sample: false
damaged:
  description: Whether something was damaged.
  returned: always, once the files were read
  type: bool
  sample: true
aside:
  description: Where the damaged originals are kept. Null if nothing was repaired.
  returned: always, once the files were reached
  type: str
  sample: /data/damaged-20260105T080000Z
lost_bytes:
  description: Bytes that are cut off, or would be; of an RDB in check mode those from the place of the error on.
  returned: always, once the files were reached
  type: int
  sample: 4816
lost_commands:
  description: Commands of the append-only file in them. Null where they cannot be counted.
  returned: always, once the files were reached
  type: int
  sample: 85
lost_commands_exact:
  description: Whether the number is certain. What is damaged can only be searched for what looks like a command.
  returned: always, once the files were reached
  type: bool
  sample: false
lost_keys:
  description: Keys of an RDB in them, as far as the databases that were read say it. Null where nothing says how many.
  returned: always, once the files were reached
  type: int
  sample: 0
before:
  description: >-
    The files that Redis reads when it starts. C(state) is V(sound), V(cut_short), V(damaged), V(checksum) or
    V(missing).
  returned: always, once the files were read
  type: dict
  sample:
    files:
      - file: appendonlydir/appendonly.aof.2.incr.aof
        kind: incr
        size_bytes: 5807
        state: damaged
        good_bytes: 991
        problem: "Expected \\r\\n, got: 5242"
after:
  description: The same after. In check mode the same as before.
  returned: always, once the files were read
  type: dict
  sample:
    files:
      - file: appendonlydir/appendonly.aof.2.incr.aof
        kind: incr
        size_bytes: 991
        state: sound
        good_bytes: 991
        problem: ""
"""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence import (
    Repairer,
    RepairRequest,
    repair_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_places import open_files

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = RepairRequest.from_params(module.params)
    files = open_files(module)
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    try:
        result = Repairer(files, request, stamp=stamp).run(dry_run=module.check_mode)
    finally:
        files.close()
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(repair_spec(), work)


if __name__ == "__main__":
    main()
