"""Routes: what each accepts and returns, who may call it, and the function that answers.

A ``Route`` decorates its handler. ``register`` adds it to Quart, and ``document/openapi.py``
describes it: the name of the handler becomes the ``operationId`` (``list_nodes`` is ``listNodes``),
and its docstring the summary and the description.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Self, TypeAlias

import msgspec
from quart import Quart, Response, request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_caller import scope_of_request
from taskflow.api.access.roles import AccessPolicy, role_for
from taskflow.api.access.scoped_store import refuse_scope
from taskflow.api.responses import JSON
from taskflow.api.services import Services
from taskflow.schema.query import NO_QUERY

Handler: TypeAlias = Callable[..., Awaitable[Response]]

ANY_TYPE: Final = "*/*"
OCTETS: Final = "application/octet-stream"
MERGE_PATCH: Final = "application/merge-patch+json"
_BY_TOKEN: Final = {AccessPolicy.URL_TOKEN, AccessPolicy.PING_URL}
_WITHOUT_KEY: Final = {AccessPolicy.OPEN, AccessPolicy.NO_KEY, *_BY_TOKEN}
_UNDERSCORE: Final = re.compile(r"_(\w)")


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the path or the query, or a header.

    Attributes:
        name: Its name in a request or response.
        description: One line of Markdown.
        kind: The type of its value.
        example: A valid value.
        is_required: Whether a header is always present. Parameters in the path always are, those in
            the query never.
    """

    name: str
    description: str
    kind: Any
    example: object
    is_required: bool = False


class Content(msgspec.Struct, frozen=True):
    """A body of another media type: a stream of lines or events, a page, or bytes.

    Attributes:
        media_type: Its media type.
        kinds: The types that each line or event may have; none for anything.
        example: A valid body.
    """

    media_type: str
    kinds: tuple[Any, ...]
    example: str


class RouteResponse(msgspec.Struct, frozen=True):
    """A response that is not a problem.

    Attributes:
        description: One line of Markdown.
        kind: The type of the body; ``None`` if there is none.
        example: A valid body.
        status: The status code.
        media_type: The media type of the body.
        also: Bodies of other media types.
        selected_kind: The type of the body if the request selects fields.
        headers: Its headers, besides the common ones.
        links: The names of routes that accept the ``id`` in the body.
    """

    description: str
    kind: Any = None
    example: object = None
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = JSON
    also: tuple[Content, ...] = ()
    selected_kind: Any = None
    headers: tuple[Parameter, ...] = ()
    links: tuple[str, ...] = ()


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A ``POST`` request that TaskFlow sends to a URL from a request.

    Attributes:
        name: Its key in the document.
        address: The URL, as a runtime expression of OpenAPI.
        summary: A few words.
        description: When it is sent, and what the responses to it mean.
        kind: The type of its body.
        example: A valid body.
        headers: Its headers.
        responses: What the receiver may return, by status.
    """

    name: str
    address: str
    summary: str
    description: str
    kind: Any
    example: object
    headers: tuple[Parameter, ...]
    responses: Mapping[str, str]


class Route(msgspec.Struct, frozen=True):
    """One method of one path.

    Attributes:
        method: The HTTP method, in capital letters. ``GET`` includes ``HEAD``.
        path: The path, with the names of its parameters in braces.
        group: The tag that the route is listed under.
        responses: The responses that are not problems, the usual one first.
        problems: The statuses of the route's own problems. ``document/problem_responses.py`` adds
            the problems that follow from its query, body and access.
        path_parameters: The parameters in the path.
        headers: The headers of a request that the route reads.
        query: The type of the query: each field is a parameter. Without one, any parameter is
            rejected.
        body: The type of the request body; ``None`` if the route reads none.
        body_type: The media type of the request body.
        body_examples: Valid bodies by a short name.
        needs_body: Whether a request without its body is invalid.
        also_accepts: Request bodies of other media types.
        streams: Request bodies that are streams. The document has them beside its contents, because
            code generators reject media types that they do not know.
        access: Who may call it.
        has_whole_view: Whether it is about the service as a whole, with all queues: keys that are
            limited to some queues get a 403.
        ignores_query: Whether it accepts any query parameters, and ignores them.
        is_traced: Whether requests have spans. Probes and scrapes, every few seconds, need none.
        reads_store: Whether it reads the task store, of which cells may not answer.
        callback: The request that TaskFlow sends later because of this one.
        note: What follows the handler's text in the description, where routes share it.
        handler: Returns the response. Called with the services and the values in the path.
    """

    method: str
    path: str
    group: str
    responses: tuple[RouteResponse, ...]
    problems: tuple[HTTPStatus, ...] = ()
    path_parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    query: type[msgspec.Struct] | None = None
    body: Any = None
    body_type: str = JSON
    body_examples: Mapping[str, object] = msgspec.field(default_factory=dict)
    needs_body: bool = True
    also_accepts: tuple[Content, ...] = ()
    streams: tuple[Content, ...] = ()
    access: AccessPolicy = AccessPolicy.KEY
    has_whole_view: bool = False
    ignores_query: bool = False
    is_traced: bool = True
    reads_store: bool = True
    callback: Callback | None = None
    note: str = ""
    handler: Handler | None = None

    def __call__(self, handler: Handler) -> Self:
        """Return the route with this handler: a route decorates its handler."""
        return msgspec.structs.replace(self, handler=handler)

    @property
    def name(self) -> str:
        """The unique name of the route, for generated clients."""
        return _UNDERSCORE.sub(
            lambda found: found[1].upper(), getattr(self.handler, "__name__", "")
        )

    @property
    def role(self) -> Role | None:
        """The role that a key needs; ``None`` if the route needs no key."""
        return None if self.access in _WITHOUT_KEY else role_for(self.method, self.access)

    @property
    def is_rate_limited(self) -> bool:
        """Whether a rate limit can apply."""
        has_key_or_token = self.role is not None or self.access in _BY_TOKEN
        return self.method in {"GET", "POST"} and has_key_or_token

    @property
    def rule(self) -> str:
        """The path as Quart's router wants it."""
        rule = self.path
        for parameter in self.path_parameters:
            # "default" excludes the names of bulk actions: DELETE /tasks/cancel must be a 405.
            converter = "default" if parameter.kind is uuid.UUID else "string"
            rule = rule.replace(f"{{{parameter.name}}}", f"<{converter}:{parameter.name}>")
        return rule


def register(app: Quart, routes: Iterable[Route], services: Services) -> None:
    """Add the routes to an app."""
    for route in routes:
        assert route.handler is not None
        app.add_url_rule(
            route.rule,
            endpoint=route.name,
            view_func=_view(route, route.handler, services),
            methods=[route.method],
        )


def _view(route: Route, handler: Handler, services: Services) -> Handler:
    async def view(**values: str) -> Response:
        if route.query is None and not route.ignores_query:
            NO_QUERY.read_query(dict(request.args.lists()))
        scope = scope_of_request()
        if scope is None:
            return await handler(services, *values.values())
        if route.has_whole_view:
            refuse_scope()
        return await handler(services.within(scope), *values.values())

    return view
