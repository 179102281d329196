"""A deployment wrote half of the rules when the disk was full, and had them loaded."""

from lab.faults._alerting import RULES, ask, heal
from lab.faults._fault import Fault
from lab.shell import LabError


def _inject() -> str:
    whole = RULES.read_text()
    # In the middle of an expression, as a write that ends with the disk does.
    RULES.write_text(whole[: whole.rindex("expr: ") + len("expr: |")] + "\n          sum by (")
    status, _ = ask("prometheus", "/-/reload", "POST")
    if status == 200:  # noqa: PLR2004 -- HTTP's own number
        raise LabError("Prometheus loaded the truncated rules.")
    return f"{RULES.name} ends in the middle, and the reload failed."


FAULT = Fault(
    name="truncated_rules",
    runbook="prometheus-alerting",
    option="D",
    wrong="A",
    alert="PrometheusAlertingFailure",
    happens="the disk was full when the rules were deployed: the file ends in the middle, and its reload failed",
    inject=_inject,
    undo=heal,
)
