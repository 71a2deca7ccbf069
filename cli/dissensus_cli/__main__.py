"""Run as ``python -m dissensus_cli``."""

from .main import main

main()
