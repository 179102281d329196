"""A new rule passes every check of its syntax, and fails whenever it is evaluated."""

import yaml

from lab.faults._alerting import RULES, ask, heal, wait
from lab.faults._fault import Fault

# Many locks of many databases for one instance: the join has no single partner, which only an evaluation finds out.
RULE = {
    "alert": "TooManyLocks",
    "expr": "pg_stat_activity_count * on (instance) pg_locks_count > 100",
    "labels": {"severity": "warning", "service": "postgres"},
}


def _inject() -> str:
    rules = yaml.safe_load(RULES.read_text())
    rules["groups"].append({"name": "deployed-yesterday", "rules": [RULE]})
    RULES.write_text(yaml.safe_dump(rules, sort_keys=False))
    ask("prometheus", "/-/reload", "POST")
    wait(lambda: '"health":"err"' in ask("prometheus", "/api/v1/rules")[1], "The rule fails")
    return "The rule TooManyLocks fails at every evaluation."


FAULT = Fault(
    name="failing_rule",
    runbook="prometheus-alerting",
    option="D",
    wrong="A",
    alert="PrometheusAlertingFailure",
    happens="a rule that joins many to many was deployed: promtool accepts it, and each evaluation fails",
    inject=_inject,
    undo=heal,
)
