"""The same lab as the drills use."""

from tests.drills.conftest import lab, running_lab

__all__ = ["lab", "running_lab"]
