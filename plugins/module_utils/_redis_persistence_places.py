# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Reach the data directory of a server: on this host, or through a throw-away container beside the server's."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    OpsError,
    PreconditionFailed,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_ports import DataFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ansible.module_utils.basic import AnsibleModule

# A run that is killed leaves its container behind for no longer than this.
HELPER_SECONDS = "3600"
ASK_SECONDS = "3"
# A tool prints one line for each thing it meets.
TOOL_OUTPUT = 1 << 20
# The mark of the end of an RDB, and a checksum of zero, which says that there is none.
END_RDB = 'truncate -s "$2" -- "$1" && printf "\\377\\0\\0\\0\\0\\0\\0\\0\\0" >> "$1"'
# A command begins with the number of its words.
COUNT_COMMANDS = 'tail -c "+$(($2 + 1))" -- "$1" | grep -a -c "^\\*[1-9][0-9]*.\\?$" || :'
READ = 'tail -c "+$(($2 + 1))" -- "$1" | head -c "$3"'
LIST = 'cd -- "$1" 2>/dev/null || exit 0; for f in *; do [ ! -f "$f" ] || stat -c "%s %n" -- "$f"; done'
# Linked, so that the damaged original needs no space; copied where the file system knows no links.
KEEP = 'cp -al -- "$1" "$2" 2>/dev/null || { rm -rf -- "$2/${1##*/}"; cp -a -- "$1" "$2"; }'
FIX_AOF = 'echo y | redis-check-aof --fix "$1"'


class ToolFiles(DataFiles):
    """Files reached by running programs that every system with Redis has. No word of a path is ever parsed."""

    def __init__(self, name: str, directory: str, run: Callable[[Sequence[str]], tuple[int, bytes]]) -> None:
        """``run`` runs a program and returns its code and what it printed, errors included."""
        self.name = name
        self.directory = directory.rstrip("/")
        self._run = run

    def sizes(self, folder: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        for line in self._shell(LIST, f"list {folder or 'the files'}", self._at(folder)).splitlines():
            size, _space, name = line.partition(b" ")
            found[name.decode(errors="surrogateescape")] = int(size)
        return found

    def free_bytes(self) -> int:
        lines = self._do(["df", "-Pk", self.directory], "read the free space").decode(errors="replace").splitlines()
        return int(lines[-1].split()[3]) * 1024

    def read(self, path: str, start: int, count: int) -> bytes:
        return self._shell(READ, f"read {path}", self._at(path), str(start), str(count))

    def make_folder(self, path: str) -> None:
        self._do(["mkdir", "-p", "--", self._at(path)], f"make {path}")

    def keep(self, path: str, folder: str) -> None:
        self._shell(KEEP, f"keep {path}", self._at(path), self._at(folder))

    def copy(self, path: str, to: str) -> None:
        self._do(["cp", "-a", "--", self._at(path), self._at(to)], f"copy {path}")

    def write(self, path: str, text: str) -> None:
        self._shell('printf %s "$2" > "$1"', f"write {path}", self._at(path), text)

    def cut(self, path: str, size: int, *, end_rdb: bool = False) -> None:
        script = END_RDB if end_rdb else 'truncate -s "$2" -- "$1"'
        self._shell(script, f"cut {path}", self._at(path), str(size))

    def move(self, path: str, to: str) -> None:
        self._do(["sync"], f"write {path} to disk")
        self._do(["mv", "-f", "--", self._at(path), self._at(to)], f"put {path} in place")
        self._do(["sync"], f"write {to} to disk")

    def remove(self, path: str) -> None:
        self._do(["rm", "-rf", "--", self._at(path)], f"remove {path}")

    def check_aof(self, path: str) -> tuple[bool, str]:
        return self._tool(["redis-check-aof", self._at(path)])

    def fix_aof(self, path: str) -> None:
        self._shell(FIX_AOF, f"have redis-check-aof repair {path}", self._at(path))

    def check_rdb(self, path: str) -> tuple[bool, str]:
        return self._tool(["redis-check-rdb", self._at(path)])

    def commands(self, path: str, start: int) -> int:
        return int(self._shell(COUNT_COMMANDS, f"count the commands of {path}", self._at(path), str(start)))

    def _at(self, path: str) -> str:
        return f"{self.directory}/{path}" if path else self.directory

    def _tool(self, command: Sequence[str]) -> tuple[bool, str]:
        code, said = self._run(command)
        text = said[:TOOL_OUTPUT].decode(errors="surrogateescape")
        if code in (126, 127) or not re.search(r"AOF|RDB|[Cc]annot", text):
            raise Unsupported(
                f"Cannot check the files in {self.name}:{self.directory}: {command[0]} does not run there: "
                f"{text.strip() or f'exit code {code}'}. Install the tools of Redis, of the server's version."
            )
        return code == 0, text

    def _shell(self, script: str, what: str, *arguments: str) -> bytes:
        """Run a fixed script; what varies goes in as arguments, never into its text."""
        return self._do(["sh", "-c", script, "sh", *arguments], what)

    def _do(self, command: Sequence[str], what: str) -> bytes:
        code, said = self._run(command)
        if code:
            reason = said.decode(errors="replace").strip() or f"exit code {code}"
            raise ActionFailed(
                f"Cannot {what} in {self.name}:{self.directory}: {reason}. Check the rights of this user there, and "
                "the disk."
            )
        return said


class HostFiles(ToolFiles):
    """A data directory on the managed host."""

    def __init__(self, module: AnsibleModule, directory: str, processes: Path = Path("/proc")) -> None:
        """``processes`` is where the kernel shows what runs."""
        self._processes = processes

        def run(command: Sequence[str]) -> tuple[int, bytes]:
            code, out, err = module.run_command(
                list(command), encoding=None, handle_exceptions=False, expand_user_and_vars=False
            )
            return code, out + err

        def guarded(command: Sequence[str]) -> tuple[int, bytes]:
            try:
                return run(command)
            except OSError as error:
                return 127, str(error).encode()

        super().__init__("this host", directory, guarded)

    def serving(self) -> str | None:
        """Tell by the working directory of every process: a server stands in its data directory."""
        if not Path(self.directory).is_dir():
            raise PreconditionFailed(
                f"Cannot check the files in {self.directory}: there is no such directory on this host. Check "
                "data_directory, or name the project and the service of its container."
            )
        wanted = Path(self.directory).resolve()
        for process in self._processes.iterdir():
            if not process.name.isdigit():
                continue
            try:
                name, place = (process / "comm").read_text().strip(), (process / "cwd").resolve(strict=True)
            except OSError:  # it has ended, or is not ours to look at
                continue
            if place == wanted and re.match(r"redis|valkey", name):
                return f"{name} runs there as process {process.name}"
        return None

    def halt(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing is open."""


class ContainerFiles(ToolFiles):
    """The volume of a Compose service, reached through a container of the same image that does nothing.

    A server that does not start is restarted again and again, so no program can be run in its own container.
    """

    def __init__(self, docker: DockerEngine, project: str, service: str, directory: str) -> None:
        """Find the service's only container; raises PreconditionFailed if there is not exactly one."""
        self._docker = docker
        labels = [
            f"com.docker.compose.project={project}",
            f"com.docker.compose.service={service}",
            "com.docker.compose.oneoff=False",
        ]
        found = docker.containers(labels)
        if len(found) != 1:
            raise PreconditionFailed(
                f"Cannot check the files of {service} in project {project}: it has {len(found)} containers, expected "
                "one. Check project and service."
            )
        self._identity: str = found[0]["Id"]
        self._described = self._inspect()
        self._helper: str | None = None
        super().__init__(self._described["Name"].lstrip("/"), directory, self._run_in_helper)
        places = [mount["Destination"].rstrip("/") for mount in self._described["Mounts"]]
        if not any(f"{self.directory}/".startswith(f"{place}/") for place in places):
            raise Unsupported(
                f"Cannot check the files of {self.name}: {self.directory} is on no volume of it (it has "
                f"{', '.join(places) or 'none'}). Set data_directory; data in the container's own layer go with it."
            )

    def serving(self) -> str | None:
        state = self._inspect()["State"]
        if state["Paused"]:
            return "its container is paused"
        if not state["Running"] or state["Restarting"]:
            return None
        code, said = self._run_in(self._identity, ["timeout", ASK_SECONDS, "redis-cli", "PING"])
        text = said.decode(errors="replace").strip()
        if code == 124:  # noqa: PLR2004 - what timeout says
            return f"a server runs there and has not answered in {ASK_SECONDS} s"
        gone = "Connection refused" in text or code > 124  # noqa: PLR2004 - the container ended meanwhile
        return None if gone else f"a server answers there ({text[:60]})"

    def halt(self) -> str | None:
        """Stop the container: the engine would start it again in the middle of the repair."""
        described = self._inspect()
        if described["State"]["Status"] == "exited":
            return None
        self._docker.stop(self._identity, self.name)
        return f"Stopped {self.name}, which did not come to serve."

    def close(self) -> None:
        """Remove the container that does nothing."""
        if self._helper:
            # It ends by itself, and may have: that must not hide what went wrong before.
            with suppress(OpsError), self._docker.doing("remove the throw-away container"):
                self._docker.client.api.remove_container(self._helper, force=True)
            self._helper = None

    def _inspect(self) -> dict[str, Any]:
        found = self._docker.inspect(self._identity)
        if found is None:
            raise ActionFailed("Cannot go on: the container of the server has gone. Look again, then decide.")
        return found

    def _run_in_helper(self, command: Sequence[str]) -> tuple[int, bytes]:
        if self._helper is None:
            self._helper = self._start_helper()
        return self._run_in(self._helper, command)

    def _start_helper(self) -> str:
        api: Any = self._docker.client.api
        with self._docker.doing(f"start a throw-away container beside {self.name}"):
            host = api.create_host_config(volumes_from=[self._identity], auto_remove=True, init=True)
            made: dict[str, str] = api.create_container(
                self._described["Image"],
                command=[HELPER_SECONDS],
                entrypoint=["sleep"],
                user=self._described["Config"]["User"] or None,
                network_disabled=True,
                labels={"ops.runbooks.helper": "redis_persistence_repair"},
                host_config=host,
            )
            api.start(made["Id"])
        return made["Id"]

    def _run_in(self, container: str, command: Sequence[str]) -> tuple[int, bytes]:
        api: Any = self._docker.client.api
        try:
            with self._docker.doing(f"run {command[0]} beside {self.name}"):
                made = api.exec_create(container, list(command))
                said: bytes = api.exec_start(made["Id"])
                code: int | None = api.exec_inspect(made["Id"])["ExitCode"]
        except ActionFailed as error:
            return 126, str(error).encode()
        return 126 if code is None else code, said


def open_files(module: AnsibleModule) -> HostFiles | ContainerFiles:
    """Open the data directory that the options name; raises ConnectionFailed or MissingLibrary."""
    params = module.params
    if not params["project"]:
        return HostFiles(module, params["data_directory"])
    docker = DockerEngine(params["docker_host"])
    return ContainerFiles(docker, params["project"], params["service"], params["data_directory"])
