"""The page of credentials, for users with the role admin. Values are never rendered."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect
from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.credentials import delete_as_asked, sealed_of
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import new_credential_name_of
from taskflow.model.errors import FieldError, Unprocessable
from taskflow.model.keyring import Keyring
from taskflow.schema.credentials import KINDS
from taskflow.schema.validation_errors import extra_of, kinds_of
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

CREDENTIALS_PAGE: Final = f"{PATH}/credentials"
_FIRST_KIND: Final = next(iter(KINDS))
# The name of the credential and its hosts are shown again after an error, and nothing else.
_SHOWN_AGAIN: Final = ("credential", "hosts")


class Value(NamedTuple):
    """A field of the form that is never filled in.

    Attributes:
        name: The name of the field in the document.
        label: Its label.
        hint: Its description.
        type: The type of the input: ``text``, ``password``, ``area`` or ``choice``.
        choices: The values of a choice.
    """

    name: str
    label: str
    hint: str
    type: str
    choices: Sequence[tuple[str, str]] = ()


def add_routes(routes: Blueprint, store: TaskStore, settings: Settings, keyring: Keyring) -> None:
    """Add the page and its actions."""

    @routes.get(CREDENTIALS_PAGE)
    async def credentials() -> Response:
        return await _page(store, keyring, {"kind": request.args.get("kind", "")})

    @routes.post(CREDENTIALS_PAGE)
    async def put_credential() -> Response:
        require_all_queues()
        form = await read_form(await read_body())
        try:
            name = new_credential_name_of(form.get("credential", "").strip())
            sealed = sealed_of(document_of(form), name, keyring, settings)
            with store_timeout():
                await store.credentials.put(sealed, by=actor_of_request())
        except Unprocessable as error:
            return await _page(store, keyring, form, error)
        return redirect_to(CREDENTIALS_PAGE)

    @routes.post(f"{CREDENTIALS_PAGE}/<name>/delete")
    async def delete_credential(name: str) -> Response:
        require_all_queues()
        await read_body()
        await delete_as_asked(store, name)
        return redirect_to(CREDENTIALS_PAGE)


async def _page(
    store: TaskStore,
    keyring: Keyring,
    form: Mapping[str, str],
    error: Unprocessable | None = None,
) -> Response:
    require_all_queues()
    with store_timeout():
        found = await store.credentials.all()
    kind = form["kind"] if form.get("kind") in KINDS else _FIRST_KIND
    return await page(
        "credentials.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        credentials=found,
        kinds=list(KINDS),
        kind=kind,
        values=values_of(kind),
        form={name: form.get(name, "") for name in _SHOWN_AGAIN},
        error=None if error is None else str(error),
        errors={} if error is None else _by_field(error.errors),
        has_keys=bool(keyring),
    )


def document_of(form: Mapping[str, str]) -> bytes:
    """Return the JSON document for the values of a form, without validating them."""
    values = {
        name.removeprefix("value-"): value
        for name, value in form.items()
        if name.startswith("value-") and value
    }
    hosts = form.get("hosts", "").replace(",", " ").split()
    return msgspec.json.encode({"kind": form.get("kind", ""), **values, "hosts": hosts})


def _by_field(found: Sequence[FieldError]) -> dict[str, str]:
    """Return the errors by the name of the form field that shows them."""
    errors: dict[str, str] = {}
    for error in found:
        name = error.pointer.removeprefix("#/").partition("/")[0]
        errors["hosts" if name == "hosts" else f"value-{name}"] = error.detail
    return errors


@functools.cache
def values_of(kind: str) -> tuple[Value, ...]:
    """Return the form fields of a kind, derived from its declaration."""
    declared = KINDS[kind]
    info = inspect.type_info(declared)
    assert isinstance(info, inspect.StructType)
    properties = msgspec.json.schema_components([declared])[1][declared.__name__]["properties"]
    return tuple(
        _value_of(field, properties[field.name]["description"])
        for field in info.fields
        if field.name != "hosts"
    )


def _value_of(field: inspect.Field, description: str) -> Value:
    extra: Mapping[str, Any] = extra_of(field.type)
    label = field.name.replace("_", " ").capitalize() + ("" if field.required else " (optional)")
    hint = description.replace("`", "")
    for one in kinds_of(field.type):
        if isinstance(one, inspect.LiteralType):
            choices = [("", "default"), *((str(value), str(value)) for value in one.values)]
            return Value(field.name, label, hint, "choice", choices)
    secret = "area" if extra.get("is_long") else "password"
    return Value(field.name, label, hint, secret if extra.get("is_secret") else "text")
