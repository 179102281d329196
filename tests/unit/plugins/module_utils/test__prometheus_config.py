"""Expectations of judging configuration files; the real tools judge in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, Unsupported
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_config import check_config, config_check_spec

DEFAULTS = {name: option.get("default") for name, option in config_check_spec().options.items()}
GOOD = "Checking p.yml\n SUCCESS: p.yml is valid prometheus config file syntax\n\n  SUCCESS: 12 rules found\n"
WRONG = "Checking p.yml\n  FAILED: parsing YAML file p.yml: yaml: line 3: did not find expected key\n"


class Tool:
    """Answers every command alike and keeps them."""

    def __init__(self, code: int = 0, out: str = "", err: str = "") -> None:
        self.answer = (code, out, err)
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        return self.answer


def check(tool: Any, **given: Any) -> dict[str, Any]:
    return check_config({**DEFAULTS, **given}, tool)


def test_every_file_is_judged_by_its_own_tool() -> None:
    """In the container, each with the command that fits."""
    tool = Tool(out=GOOD)
    result = check(tool, prometheus_file="p.yml", rule_files=["r.yml"], alertmanager_file="a.yml", container="c1")
    assert tool.commands == [
        ["docker", "exec", "c1", "promtool", "check", "config", "p.yml"],
        ["docker", "exec", "c1", "promtool", "check", "rules", "r.yml"],
        ["docker", "exec", "c1", "amtool", "check-config", "a.yml"],
    ]
    assert (result["valid"], [one["rules"] for one in result["checks"]]) == (True, [12, 12, None])


def test_a_wrong_file_fails_with_the_line() -> None:
    """The message has what the tool said; the result has all of it."""
    with pytest.raises(ActionFailed, match=r"p\.yml is not valid: .*line 3: did not find expected key") as error:
        check(Tool(1, "", WRONG), prometheus_file="p.yml")
    checks: Any = error.value.details["checks"]
    assert (error.value.details["valid"], checks[0]["output"]) == (False, WRONG.strip())


def test_a_wrong_file_can_be_a_finding() -> None:
    """A diagnosis wants to know, not to fail."""
    assert check(Tool(1, "", WRONG), prometheus_file="p.yml", require_valid=False)["valid"] is False


def test_a_secret_that_the_tool_quotes_is_not_repeated() -> None:
    """Passwords and webhook addresses stand in these files."""
    said = "FAILED: line 4: basic_auth_password: hunter2 api_url: https://hooks.example.com/T0/secret\n"
    result = check(Tool(1, "", said), alertmanager_file="a.yml", require_valid=False)
    assert "hunter2" not in str(result)
    assert "hooks.example.com" not in str(result)


def no_such_program(command: list[str]) -> tuple[int, str, str]:
    raise FileNotFoundError(2, "No such file or directory", command[0])


@pytest.mark.parametrize(("container", "program"), [(None, "promtool"), ("c1", "docker")])
def test_a_missing_tool_is_named(container: str | None, program: str) -> None:
    """With what to do instead."""
    with pytest.raises(Unsupported, match=f"Cannot run {program} on this host"):
        check(no_such_program, prometheus_file="p.yml", container=container)


@pytest.mark.parametrize(
    ("said", "code", "error"),
    [
        ("Error response from daemon: No such container: c1", 1, ConnectionFailed),
        ('exec: "promtool": executable file not found in $PATH', 127, Unsupported),
    ],
)
def test_a_container_that_cannot_help_is_no_verdict(said: str, code: int, error: type[Exception]) -> None:
    """A file that nobody judged is neither valid nor wrong."""
    with pytest.raises(error, match="in container c1"):
        check(Tool(code, "", said), prometheus_file="p.yml", container="c1")


def test_no_file_is_a_mistake() -> None:
    """An empty list of rules is not a check that passed."""
    with pytest.raises(ValueError, match="at least one file"):
        check(Tool())


class Engine:
    """A container that is there and does not run; its image has the tool."""

    def __init__(self, words: str, image: tuple[int, str, str] = (0, "img:1\n", "")) -> None:
        self.words, self.image = words, image
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        if command[1] == "exec":
            return 1, "", f"Error response from daemon: {self.words}"
        return self.image if command[1] == "inspect" else (0, GOOD, "")


@pytest.mark.parametrize(
    "words", ["container 4f is not running", "Container 4f is restarting", "Container c1 is paused"]
)
def test_the_files_of_a_server_that_does_not_run_are_judged_beside_it(words: str) -> None:
    """By the tool of its own image, over its own files, which it cannot change."""
    engine = Engine(words)
    assert check(engine, prometheus_file="/p.yml", container="c1")["valid"] is True
    assert engine.commands[-1] == [
        "docker", "run", "--rm", "--network", "none", "--volumes-from", "c1:ro", "--entrypoint", "promtool", "img:1",
        "check", "config", "/p.yml",
    ]  # fmt: skip


def test_a_container_that_goes_away_in_the_middle_is_no_verdict() -> None:
    """Removed between the two commands."""
    engine = Engine("container 4f is not running", (1, "", "Error: No such container: c1"))
    with pytest.raises(ConnectionFailed, match="No such container: c1"):
        check(engine, prometheus_file="/p.yml", container="c1")
