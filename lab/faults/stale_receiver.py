"""Alertmanager still sends to an address that refuses its alerts; the file was corrected, and nobody had it loaded."""

from lab.compose import RECEIVER
from lab.faults._alerting import ROUTES, ask, heal
from lab.faults._fault import Fault
from lab.shell import LabError

# The shop answers 404, which Alertmanager does not try again.
STALE = "http://lb:8080"


def _inject() -> str:
    good = ROUTES.read_text()
    ROUTES.write_text(good.replace(RECEIVER, STALE))
    status, said = ask("alertmanager", "/-/reload", "POST")
    ROUTES.write_text(good)
    if status != 200:  # noqa: PLR2004 -- HTTP's own number
        raise LabError(f"Alertmanager did not load the wrong address: {said}")
    return f"Alertmanager sends to {STALE}; the file on disk is right."


def _undo() -> None:
    heal()
    # Nothing tells from outside that the file is not what was loaded, but what was loaded itself.
    if STALE in ask("alertmanager", "/api/v2/status")[1]:
        ask("alertmanager", "/-/reload", "POST")


FAULT = Fault(
    name="stale_receiver",
    runbook="prometheus-alerting",
    option="A",
    wrong="B",
    alert="PrometheusAlertingFailure",
    happens="the receiver moved, its old address answers 404, and Alertmanager was not told to load the corrected file",
    inject=_inject,
    undo=_undo,
)
