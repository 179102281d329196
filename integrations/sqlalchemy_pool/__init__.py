# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLAlchemy pools under operation: metrics and an authenticated reset for an ASGI application."""

from __future__ import annotations

from .asgi import PoolAdmin
from .pools import Pools, PoolStatus

__all__ = ["PoolAdmin", "PoolStatus", "Pools"]
