"""The blocking client. All but ``native`` is written by ``python -m tools.blocking``."""
