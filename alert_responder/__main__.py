# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the command line."""

from alert_responder.cli import main

main()
