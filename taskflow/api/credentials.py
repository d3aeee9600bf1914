"""The routes under ``/credentials``, for admins. No response contains a value."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, TypeVar

from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.common_parts import location
from taskflow.api.document.examples import CREDENTIAL
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_json
from taskflow.api.reading.paths import credential_name_of, new_credential_name_of
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.credential import Credential, Oidc
from taskflow.model.errors import CredentialNotFound, Unprocessable
from taskflow.model.keyring import Keyring
from taskflow.model.sealed_credential import CredentialSummary, SealedCredential, seal
from taskflow.model.task import CredentialName
from taskflow.schema.credentials import credential_of
from taskflow.schema.query import DELETE_CREDENTIAL_QUERY, DeleteCredentialRequest
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

T = TypeVar("T")

NO_ENCRYPTION_KEYS: Final = (
    "credentials cannot be stored: there is no key to encrypt them with; set "
    "TASKFLOW_ENCRYPTION_KEYS on all nodes to what `taskflow secret new --encryption` prints"
)
NO_PUBLIC_URL: Final = (
    "ID tokens cannot be issued: there is no issuer; set TASKFLOW_PUBLIC_URL on all nodes to the "
    "URL under which targets reach /.well-known/jwks.json"
)
_CREDENTIAL: Final = RouteResponse("The credential.", CredentialSummary, CREDENTIAL)
_FOR_ADMINS: Final[dict[str, Any]] = {
    "group": "credentials",
    "access": AccessPolicy.ADMIN_KEY,
    "has_whole_view": True,
}
_ONE_CREDENTIAL: Final[dict[str, Any]] = {
    **_FOR_ADMINS,
    "path_parameters": (
        Parameter("name", "The name of the credential.", CredentialName, CREDENTIAL.name),
    ),
}


@Route(
    "PUT",
    "/credentials/{name}",
    responses=(
        _CREDENTIAL,
        RouteResponse(
            "The credential, which is new.",
            CredentialSummary,
            CREDENTIAL,
            HTTPStatus.CREATED,
            headers=(location(f"/credentials/{CREDENTIAL.name}", "The path of the credential."),),
        ),
    ),
    body=Credential,
    body_examples={
        "bearer": {"kind": "bearer", "token": "eyJhbGciOiJFUzI1NiJ9", "hosts": ["api.example.com"]},
        "basic": {
            "kind": "basic",
            "username": "taskflow",
            "password": "correct horse",
            "hosts": ["*.example.com"],
        },
        "header": {
            "kind": "header",
            "name": "X-Api-Key",
            "value": "4fK2u0",
            "hosts": ["api.example.com"],
        },
        "oidc": {"kind": "oidc", "hosts": ["api.example.com"]},
        "aws": {
            "kind": "aws_sigv4",
            "region": "eu-central-1",
            "service": "execute-api",
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "hosts": ["*.execute-api.eu-central-1.amazonaws.com"],
        },
        "oauth2": {
            "kind": "oauth2_client_credentials",
            "token_url": "https://login.example.com/oauth2/token",
            "client_id": "taskflow",
            "client_secret": "bm90IGEgc2VjcmV0",
            "scope": "invoices:write",
            "hosts": ["api.example.com"],
        },
    },
    **_ONE_CREDENTIAL,
)
async def put_credential(services: Services, name: str) -> Response:
    """Create or replace a credential.

    Tasks, queues and schedules refer to it by its name. Its values are encrypted with the first key
    of ``TASKFLOW_ENCRYPTION_KEYS``, and are never shown in a response, page, log or export, so a
    credential can only be replaced as a whole. Attempts that start within seconds of the response
    may still use the former values.
    """
    name = new_credential_name_of(name)
    sealed = sealed_of(await read_json(), name, services.keyring, services.settings)
    with store_timeout():
        is_new = await services.store.credentials.put(sealed, by=actor_of_request())
        shown = _found(await services.store.credentials.get(name))
    if not is_new:
        return as_json(shown)
    return as_json(shown, status=HTTPStatus.CREATED, location=f"/credentials/{name}")


@Route(
    "GET",
    "/credentials",
    responses=(RouteResponse("The credentials.", list[CredentialSummary], [CREDENTIAL]),),
    **_FOR_ADMINS,
)
async def list_credentials(services: Services) -> Response:
    """List credentials by name.

    Returns all credentials, at most 1,000, without their values.
    """
    with store_timeout():
        return as_json(await services.store.credentials.all())


@Route(
    "GET",
    "/credentials/{name}",
    responses=(_CREDENTIAL,),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE_CREDENTIAL,
)
async def show_credential(services: Services, name: str) -> Response:
    """Get a credential.

    Returns its last use, and the queues, schedules and endpoints that use it; its values are never
    returned.
    """
    with store_timeout():
        return as_json(_found(await services.store.credentials.get(credential_name_of(name))))


@Route(
    "DELETE",
    "/credentials/{name}",
    responses=(RouteResponse("The credential was deleted.", status=HTTPStatus.NO_CONTENT),),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    query=DeleteCredentialRequest,
    **_ONE_CREDENTIAL,
)
async def delete_credential(services: Services, name: str) -> Response:
    """Delete a credential.

    A credential that a queue, schedule or endpoint uses is deleted only with ``force=true``. Tasks
    that still name it fail as ``credential_missing``, and are retried while they have attempts.
    """
    await delete_as_asked(services.store, name)
    return no_content()


async def delete_as_asked(store: TaskStore, name: str) -> None:
    """Delete a credential as the query of the request says.

    Raises:
        CredentialNotFound: There is no credential with this name.
        CredentialInUse: A queue, schedule or endpoint uses it, and the query has no ``force=true``.
        Unprocessable: The query is invalid.
    """
    query = DELETE_CREDENTIAL_QUERY.read_query(dict(request.args.lists()))
    name = credential_name_of(name)
    with store_timeout():
        is_deleted = await store.credentials.delete(
            name, even_if_used=query.force, by=actor_of_request()
        )
    if not is_deleted:
        raise CredentialNotFound


def sealed_of(body: bytes, name: str, keyring: Keyring, settings: Settings) -> SealedCredential:
    """Read and encrypt a credential.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It is invalid, or requires a setting that is not set.
    """
    credential = credential_of(body)
    if not keyring:
        raise Unprocessable(NO_ENCRYPTION_KEYS)
    if isinstance(credential, Oidc) and not settings.public_url:
        raise Unprocessable(NO_PUBLIC_URL)
    return seal(name, credential, keyring)


def _found(one: T | None) -> T:
    if one is None:
        raise CredentialNotFound
    return one


ROUTES: Final = (put_credential, list_credentials, show_credential, delete_credential)
