"""TaskFlow within a test: the service itself in this process, with time under control.

``TestService`` runs the API, the engine and the store in memory in a thread, as ``taskflow serve``
composes them. Its clock stands still until the test advances it, and its requests to targets go to
a function of the test. It needs the extra ``server``. From the bottom up::

    stopped_clock   the clock
    handled         requests of tasks: from the bytes of HTTP to the function, and back
    service_thread  the service in its thread
"""

from __future__ import annotations

from taskflow.version import install_command

try:
    from taskflow.testing.handled import Handler
    from taskflow.testing.service_thread import TestService
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "taskflow":
        raise
    raise ModuleNotFoundError(
        f"taskflow.testing runs the service, which is not installed (there is no {error.name}): "
        f"run {install_command('server')}",
        name=error.name,
    ) from None

__all__ = ["Handler", "TestService"]
