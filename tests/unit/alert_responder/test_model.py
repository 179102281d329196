"""Alerts, copies, ends, answers, holds, clock steps and kills in any order break no promise."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

from alert_responder.store_memory import MemoryStore
from alert_responder.store_sql import SqlStore, sqlite_engine
from tests.unit.alert_responder.model import Model

if TYPE_CHECKING:
    from alert_responder.store import Store

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


class InMemory(Model):
    """With the store in memory, which takes part in the contract of the others."""

    def open_store(self) -> Store:
        return getattr(self, "store", None) or MemoryStore()


class InSqlite(Model):
    """With the real store; every life opens the file anew."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        super().__init__()

    def open_store(self) -> Store:
        if hasattr(self, "store"):
            self.store.close()
        return SqlStore(sqlite_engine(self._folder / "incidents.sqlite3"))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self._folder)


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=30, suppress_health_check=_CHECKS)
TestInSqlite = InSqlite.TestCase
TestInSqlite.settings = settings(max_examples=15, stateful_step_count=25, suppress_health_check=_CHECKS)
