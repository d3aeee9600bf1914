"""TaskFlow from Python, over HTTP: on Trio, and blocking.

Of TaskFlow this knows the model alone, and of other packages httpx, msgspec and Trio: it is at
home in programs that have nothing else of the service. From the bottom up::

    errors               what can be the matter, and how an answer says so
    task                 a task as it is shown, with what can be done with its result
    arguments            what cannot be used is one kind of error
    options              what may be said of a task, and how tasks are looked for
    calls                a request, an answer
    portions, sse        many tasks on their way in, events on their way out
    proxies, connecting  where the service is, through which proxy, and when to ask again
    on_trio              the client: transport, streams, task_actions, queues, schedules, client
    blocking             the same, written by ``python -m tools.blocking``

Nothing above ``on_trio`` waits for anything; in it and in ``blocking`` is ``native.py`` what the
two cannot share.
"""
