"""A real stack to practise on, and the faults that break it: ``python -m lab --help``."""
