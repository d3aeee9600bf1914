"""All pages of the dashboard. A page that is added here is tested in each size and color scheme."""

from __future__ import annotations

from typing import NamedTuple


class ShownPage(NamedTuple):
    """A page of the furnished service.

    Attributes:
        name: Its name, also of its pictures.
        path: Its path, with names of ``Furnished.ids`` in braces.
        is_long: True if an ordinary run does not visit it.
    """

    name: str
    path: str
    is_long: bool = False

    def path_with(self, ids: dict[str, str]) -> str:
        """Return the path on a service with these ids."""
        return self.path.format(**ids)


PAGES = (
    ShownPage("overview", "/ui"),
    ShownPage("overview-week", "/ui?span=7d", is_long=True),
    ShownPage("tasks", "/ui/tasks"),
    ShownPage(
        "tasks-filtered", "/ui/tasks?queue=mail&status=FAILED&created_after=2h&tag=customer:7"
    ),
    ShownPage(
        "tasks-columns",
        "/ui/tasks?columns=id,due,started,finished,priority,queue,error",
        is_long=True,
    ),
    ShownPage("tasks-held", "/ui/tasks?state=held", is_long=True),
    ShownPage("tasks-none", "/ui/tasks?queue=empty&host=example.com", is_long=True),
    ShownPage("tasks-invalid", "/ui/tasks?created_after=never"),
    ShownPage("task-failed", "/ui/tasks/{failed}"),
    ShownPage("task-completed", "/ui/tasks/{fine}"),
    ShownPage("task-image", "/ui/tasks/{image}"),
    ShownPage("task-held", "/ui/tasks/{held}", is_long=True),
    ShownPage("task-scheduled", "/ui/tasks/{later}", is_long=True),
    ShownPage("task-child", "/ui/tasks/{child}", is_long=True),
    ShownPage("task-delivery", "/ui/tasks/{delivery}"),
    ShownPage("submit", "/ui/submit"),
    ShownPage("submit-again", "/ui/submit?from={failed}", is_long=True),
    ShownPage("many", "/ui/many/cancel?queue=later"),
    ShownPage("failures", "/ui/failures"),
    ShownPage("failures-none", "/ui/failures?queue=empty", is_long=True),
    ShownPage("failure", "/ui/failures/{failure}"),
    ShownPage("queues", "/ui/queues"),
    ShownPage("queue", "/ui/queues/orders"),
    ShownPage("queue-week", "/ui/queues/mail?span=7d", is_long=True),
    ShownPage("queue-paused", "/ui/queues/reports", is_long=True),
    ShownPage("schedules", "/ui/schedules"),
    ShownPage("schedule", "/ui/schedules/nightly-report"),
    ShownPage("schedule-new", "/ui/schedules/heartbeat", is_long=True),
    ShownPage("groups", "/ui/groups"),
    ShownPage("group", "/ui/groups/{group}"),
    ShownPage("topics", "/ui/topics"),
    ShownPage("topic", "/ui/topics/orders"),
    ShownPage("endpoint", "/ui/topics/orders/endpoints/billing"),
    ShownPage("hosts", "/ui/hosts"),
    ShownPage("host", "/ui/hosts/{host}"),
    ShownPage("host-open", "/ui/hosts/billing.example.com"),
    ShownPage("nodes", "/ui/nodes"),
    ShownPage("node", "/ui/nodes/{node}"),
    ShownPage("alerts", "/ui/alerts"),
    ShownPage("alert", "/ui/alerts/failed-mail"),
    ShownPage("heartbeats", "/ui/heartbeats"),
    ShownPage("heartbeat", "/ui/heartbeats/backup"),
    ShownPage("heartbeat-down", "/ui/heartbeats/sync", is_long=True),
    ShownPage("heartbeat-form", "/ui/new-heartbeat"),
    ShownPage("credentials", "/ui/credentials?kind=oauth2_client_credentials"),
    ShownPage("audit", "/ui/audit"),
    ShownPage("not-found", "/ui/nothing"),
    ShownPage("api-reference", "/docs", is_long=True),
)
