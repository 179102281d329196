"""A segment of the write-ahead log is missing: Prometheus repairs a damaged end, and does not start over a gap."""

from lab.faults._alerting import GAP, container, heal, storage, wait
from lab.faults._fault import Fault
from lab.shell import run

# The last segment once more, two numbers on: the one between is missing. Prints the number of the copy.
SCRIPT = """
cd /data/wal && last=$(ls -d 0??????? | tail -1) && next=$(expr "$last" + 2) && next=$(printf %08d "$next")
cp -p "$last" "$next" && echo "$next"
"""


def _inject() -> str:
    prometheus = container("prometheus")
    run(["docker", "stop", "--time", "10", prometheus])
    GAP.write_text(storage(SCRIPT).strip())
    run(["docker", "start", prometheus])
    wait(
        lambda: "segments are not sequential" in run(["sh", "-c", 'docker logs --tail 20 "$0" 2>&1', prometheus]),
        "Prometheus refuses its storage",
    )
    return "Prometheus does not start: segments are not sequential."


FAULT = Fault(
    name="damaged_wal",
    runbook="prometheus-alerting",
    option="E",
    wrong="C",
    alert="PrometheusAlertingFailure",
    happens="somebody deleted a segment of the write-ahead log to free the disk; Prometheus does not start over a gap",
    inject=_inject,
    undo=heal,
)
