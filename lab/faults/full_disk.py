"""The disk of Prometheus is full: it stays ready, goes on sending the heartbeat, and keeps no sample."""

from pathlib import Path

from lab.compose import PROJECT, compose, environment
from lab.faults._alerting import READY_SECONDS, ask, container, wait
from lab.faults._fault import Fault
from lab.shell import run

SMALL = ("--file", str(Path(__file__).with_suffix(".yml")))
START = ("up", "--detach", "--no-deps", "--wait", "--wait-timeout", str(READY_SECONDS))
VOLUME = f"{PROJECT}_prometheus-small"
FILL = 'dd if=/dev/zero of=/data/dump bs=64k 2>/dev/null; test "$(df --output=avail /data | tail -1)" -eq 0'


def _compose(*arguments: str) -> None:
    run(compose(*arguments), timeout=READY_SECONDS + 60, environment=environment())


def _inject() -> str:
    _compose(*SMALL, *START, "full-disk", "prometheus")
    wait(lambda: '"up"' in ask("prometheus", "/api/v1/query?query=up")[1], "Prometheus keeps samples")
    run(["docker", "exec", "--user", "0", container("prometheus"), "sh", "-c", FILL])
    wait(lambda: "no space left on device" in ask("prometheus", "/api/v1/rules")[1], "Prometheus fails to write")
    return "Prometheus is ready and keeps no sample: no space left on device."


def _undo() -> None:
    if run(["docker", "ps", "--all", "--quiet", "--filter", f"volume={VOLUME}"]).strip():
        _compose(*SMALL, "rm", "--stop", "--force", "full-disk", "prometheus")
        _compose(*START, "prometheus")
    run(["docker", "volume", "rm", "--force", VOLUME])


FAULT = Fault(
    name="full_disk",
    runbook="prometheus-alerting",
    option="",
    wrong="D",
    alert="PrometheusAlertingFailure",
    happens="something else filled the disk of Prometheus; it looks well, and no rule sees a sample any more",
    inject=_inject,
    undo=_undo,
)
