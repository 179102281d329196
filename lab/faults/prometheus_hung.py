"""Prometheus hangs: its process is there, and answers nothing. Only the missing heartbeat tells."""

from lab.faults._alerting import ask, container, heal, wait
from lab.faults._fault import Fault
from lab.shell import run


def _inject() -> str:
    run(["docker", "kill", "--signal", "STOP", container("prometheus")])
    wait(lambda: ask("prometheus", "/-/ready")[0] == 0, "Prometheus falls silent")
    return "The process of Prometheus is stopped (SIGSTOP)."


FAULT = Fault(
    name="prometheus_hung",
    runbook="prometheus-alerting",
    option="C",
    wrong="B",
    alert="PrometheusAlertingFailure",
    happens="the process of Prometheus hangs: it keeps its port and its container, and answers nothing",
    inject=_inject,
    undo=heal,
)
