"""Alertmanager is stopped: Prometheus says so, and nobody hears it."""

from lab.faults._alerting import ask, container, heal, wait
from lab.faults._fault import Fault
from lab.shell import run


def _inject() -> str:
    run(["docker", "stop", "--time", "5", container("alertmanager")])
    wait(lambda: ask("alertmanager", "/-/ready")[0] == 0, "Alertmanager ends")
    return "The container of Alertmanager has exited."


FAULT = Fault(
    name="alertmanager_stopped",
    runbook="prometheus-alerting",
    option="B",
    wrong="A",
    alert="PrometheusAlertingFailure",
    happens="somebody stopped Alertmanager by hand, and a container stopped by hand is not started again",
    inject=_inject,
    undo=heal,
)
