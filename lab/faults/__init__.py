"""What can be broken: one file for each fault, named as it is injected."""

from lab.faults import busy_sessions, leaked_transactions
from lab.faults._fault import Fault

FAULTS: dict[str, Fault] = {module.FAULT.name: module.FAULT for module in (leaked_transactions, busy_sessions)}
