"""A Swarm of one node on this machine's engine, for the tests of all processes; tests/conftest.py ends it.

An engine that leaves its Swarm forgets the name of every container, on every network: they no longer find each other
until they are started again. So it leaves once, when the last test of the last process is over.
"""

from __future__ import annotations

import subprocess

from lab.shell import STATE, run

_OURS = STATE / "swarm-of-the-tests"


def begin() -> None:
    """Have a Swarm; note if it is ours. Several processes may call this at once."""
    if _state() == "active":
        return
    init = ["docker", "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1"]
    done = subprocess.run(init, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        _OURS.parent.mkdir(parents=True, exist_ok=True)
        _OURS.touch()
    assert _state() == "active", done.stderr


def end() -> None:
    """Leave the Swarm if it was begun here."""
    if _OURS.exists():
        run(["docker", "swarm", "leave", "--force"])
        _OURS.unlink()


def _state() -> str:
    return run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]).strip()
