# SPDX-License-Identifier: GPL-3.0-or-later
"""Let an alert start the right runbook, prove recovery, and escalate with the evidence."""

__version__ = "0.1.0"
