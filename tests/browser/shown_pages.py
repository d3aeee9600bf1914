"""All pages of the dashboard. A page that is added here is tested in each size and color scheme."""

from __future__ import annotations

from typing import NamedTuple


class ShownPage(NamedTuple):
    """A page of the furnished service.

    Attributes:
        name: Its name, also of its pictures.
        path: Its path, with names of ``Furnished.ids`` in braces.
        is_large: True if it is tested in a scheduled job only.
    """

    name: str
    path: str
    is_large: bool = False

    def path_with(self, ids: dict[str, str]) -> str:
        """Return the path on a service with these ids."""
        return self.path.format(**ids)


PAGES = (
    ShownPage("overview", "/ui"),
    ShownPage("overview-week", "/ui?span=7d", is_large=True),
    ShownPage("tasks", "/ui/tasks"),
    ShownPage(
        "tasks-filtered", "/ui/tasks?queue=mail&status=FAILED&created_after=2h&tag=customer:7"
    ),
    ShownPage("tasks-columns", "/ui/tasks?columns=id,due,started,finished,priority,queue,error"),
    ShownPage("tasks-held", "/ui/tasks?state=held"),
    ShownPage("tasks-none", "/ui/tasks?queue=empty&host=example.com"),
    ShownPage("tasks-invalid", "/ui/tasks?created_after=never"),
    ShownPage("task-failed", "/ui/tasks/{failed}"),
    ShownPage("task-completed", "/ui/tasks/{fine}"),
    ShownPage("task-image", "/ui/tasks/{image}"),
    ShownPage("task-held", "/ui/tasks/{held}"),
    ShownPage("task-scheduled", "/ui/tasks/{later}"),
    ShownPage("task-child", "/ui/tasks/{child}"),
    ShownPage("task-delivery", "/ui/tasks/{delivery}"),
    ShownPage("submit", "/ui/submit"),
    ShownPage("submit-again", "/ui/submit?from={failed}"),
    ShownPage("many", "/ui/many/cancel?queue=later"),
    ShownPage("failures", "/ui/failures"),
    ShownPage("failures-none", "/ui/failures?queue=empty"),
    ShownPage("failure", "/ui/failures/{failure}"),
    ShownPage("queues", "/ui/queues"),
    ShownPage("queue", "/ui/queues/orders"),
    ShownPage("queue-week", "/ui/queues/mail?span=7d"),
    ShownPage("queue-paused", "/ui/queues/reports"),
    ShownPage("schedules", "/ui/schedules"),
    ShownPage("schedule", "/ui/schedules/nightly-report"),
    ShownPage("schedule-new", "/ui/schedules/heartbeat"),
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
    ShownPage("heartbeat-down", "/ui/heartbeats/sync"),
    ShownPage("heartbeat-form", "/ui/new-heartbeat"),
    ShownPage("credentials", "/ui/credentials?kind=oauth2_client_credentials"),
    ShownPage("audit", "/ui/audit"),
    ShownPage("not-found", "/ui/nothing"),
    ShownPage("api-reference", "/docs", is_large=True),
)
