"""What can be broken: one file for each fault, named as it is injected."""

from lab.faults import blocked_sessions, busy_sessions, leaked_transactions
from lab.faults._fault import Fault

MODULES = (leaked_transactions, busy_sessions, blocked_sessions)
FAULTS: dict[str, Fault] = {module.FAULT.name: module.FAULT for module in MODULES}
