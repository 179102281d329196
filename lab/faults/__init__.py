"""What can be broken: one file for each fault, named as it is injected."""

from importlib import import_module
from pkgutil import iter_modules

from lab.faults._fault import Fault, remembered

__all__ = ["FAULTS", "HEALABLE", "Fault"]

_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
FAULTS = {module.FAULT.name: remembered(module.FAULT) for module in _MODULES if hasattr(module, "FAULT")}
# Those that an option heals; what no option does ends escalated.
HEALABLE = [fault for fault in FAULTS.values() if fault.option]
