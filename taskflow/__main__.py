"""``python -m taskflow``."""

from taskflow.cli import main

main(prog_name="taskflow")
