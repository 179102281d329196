# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Have the tools of Prometheus and Alertmanager judge their files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # A command; its exit code, output and error output. Raises OSError if there is no such program.
    Run = Callable[[list[str]], "tuple[int, str, str]"]

OUTPUT_LENGTH = 4000
# What `docker exec` itself says, rather than the program in the container.
NO_PROGRAM = (126, 127)
# What `docker exec` says of a container that is there and cannot run the tool: the server in it is the patient.
NOT_RUNNING = ("is not running", "is restarting", "is paused")
KINDS = {
    "prometheus": ("promtool", ["check", "config"]),
    "rules": ("promtool", ["check", "rules"]),
    "alertmanager": ("amtool", ["check-config"]),
}
_RULES_FOUND = re.compile(r"(\d+) rules? found")
# The tools quote the file; a secret in it stays there.
_SECRET = re.compile(r"(?i)((?:password|secret|token|credentials|_key|_url)\S*\s*:\s*)\S+")


@dataclass(frozen=True)
class Judged:
    """What a tool said of one file."""

    kind: str
    file: str
    valid: bool
    output: str

    def as_return(self) -> dict[str, Any]:
        """Return the verdict, and how many rules a file of rules has."""
        found = sum(int(number) for number in _RULES_FOUND.findall(self.output))
        return {
            "kind": self.kind,
            "file": self.file,
            "valid": self.valid,
            "rules": found if self.kind != "alertmanager" else None,
            "output": self.output,
        }


def config_check_spec() -> ArgumentSpec:
    """Return the options of prometheus_config_check."""
    return ArgumentSpec(
        options={
            "prometheus_file": {"type": "str"},
            "rule_files": {"type": "list", "elements": "str", "default": []},
            "alertmanager_file": {"type": "str"},
            "container": {"type": "str"},
            "require_valid": {"type": "bool", "default": True},
        },
        required_one_of=[["prometheus_file", "rule_files", "alertmanager_file"]],
    )


def check_config(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Check each file; raises ActionFailed with what the tool says if one is wrong and ``require_valid`` is set."""
    files = [
        *([("prometheus", params["prometheus_file"])] if params["prometheus_file"] else []),
        *(("rules", name) for name in params["rule_files"]),
        *([("alertmanager", params["alertmanager_file"])] if params["alertmanager_file"] else []),
    ]
    if not files:
        raise ValueError("Name at least one file: prometheus_file, rule_files or alertmanager_file.")
    judged = [_judge(kind, name, params["container"], run) for kind, name in files]
    wrong = [one for one in judged if not one.valid]
    result: dict[str, Any] = {
        "changed": False,
        "valid": not wrong,
        "checks": [one.as_return() for one in judged],
    }
    if wrong and params["require_valid"]:
        raise ActionFailed(
            f"{wrong[0].file} is not valid: {_reason(wrong[0].output)}. Correct it: a server that runs keeps "
            "what it read before, and one that starts with this file does not come up.",
            **result,
        )
    return result


def _judge(kind: str, name: str, container: str | None, run: Run) -> Judged:
    tool, arguments = KINDS[kind]
    command = [tool, *arguments, name]
    where = f"in container {container}" if container else "on this host"
    try:
        code, out, err = run(["docker", "exec", container, *command] if container else command)
        if container and any(words in err for words in NOT_RUNNING):
            code, out, err = _run_beside(container, command, run)
    except OSError as error:
        missing = "docker" if container else tool
        raise Unsupported(f"Cannot run {missing} on this host: {error}. Install it, or name a container.") from error
    output = _SECRET.sub(r"\1***", "\n".join(part.strip() for part in (out, err) if part.strip()))[:OUTPUT_LENGTH]
    if container and any(words in err for words in ("No such container", "Cannot connect to the Docker", *NOT_RUNNING)):
        raise ConnectionFailed(f"Cannot check {name} {where}: {_reason(err)}. Name one that runs (docker ps).")
    if container and code in NO_PROGRAM:
        raise Unsupported(f"Cannot run {tool} {where}: {_reason(output)}. Name a container whose image has it.")
    return Judged(kind, name, code == 0, output)


def _run_beside(container: str, command: list[str], run: Run) -> tuple[int, str, str]:
    """Run a tool in a container of its own that sees the files of one that does not run, and is removed at once."""
    code, image, err = run(["docker", "inspect", "--type", "container", "--format", "{{.Config.Image}}", container])
    if code:
        return code, image, err
    return run(["docker", "run", "--rm", "--network", "none", "--volumes-from", f"{container}:ro", "--entrypoint",
                command[0], image.strip(), *command[1:]])  # fmt: skip


def _reason(output: str) -> str:
    """Return the line that names the fault."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    faults = [line for line in lines if re.search(r"(?i)error|fail|no such|cannot|unable|not running", line)]
    return (faults or lines or ["no message"])[-1].rstrip(".")
