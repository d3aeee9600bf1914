"""The settings: one frozen object, validated when it is loaded.

This is the only package that reads the environment. Every setting is a field of ``Settings``
(``fields.py``): its type carries bounds and a description, from which ``.env.example`` and
docs/reference/settings.md are generated (``python -m tests.reference``).
"""

from taskflow.settings.documentation import Setting, catalogue, variable_of
from taskflow.settings.fields import Settings
from taskflow.settings.loading import Examined, examine, load, validated
from taskflow.settings.reporting import reported_settings

__all__ = [
    "Examined",
    "Setting",
    "Settings",
    "catalogue",
    "examine",
    "load",
    "reported_settings",
    "validated",
    "variable_of",
]
