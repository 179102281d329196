"""Start the command line."""

from lab.cli import main

main()
