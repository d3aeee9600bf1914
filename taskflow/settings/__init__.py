"""What an operator can set: one frozen object, validated at the edge.

This is the only package that reads the environment. Every setting is a field of ``Settings``
(``fields.py``): its type carries bounds and one line of meaning, from which ``.env.example`` and
docs/reference/settings.md are written (``python -m tests.reference``).
"""

from taskflow.settings.documentation import Setting, catalogue, variable_of
from taskflow.settings.fields import Settings
from taskflow.settings.loading import Examined, examine, load

__all__ = ["Examined", "Setting", "Settings", "catalogue", "examine", "load", "variable_of"]
