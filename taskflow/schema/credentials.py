"""The reader of credentials that clients send. No error repeats a value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, get_args

import msgspec

from taskflow.model.credential import Credential, is_private
from taskflow.model.errors import SettingsError
from taskflow.model.host_patterns import Hosts, is_for_strangers
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.signature import SIGNATURE_FIELDS
from taskflow.model.url import parse_target
from taskflow.schema.json_text import object_fields
from taskflow.schema.reader import Fields, Reader
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = (
    'send a JSON object such as {"kind": "bearer", "token": "...", "hosts": ["api.example.com"]}'
)
_NULL: Final = b"null"
_PEM_FIELDS: Final = ("private_key", "certificate", "ca_bundle")
KINDS: Final[Mapping[str, type[Credential]]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(Credential)
}
"""The declaration of each kind, by its name."""
_READERS: Final = {name: Reader(kind, ignored=("kind",)) for name, kind in KINDS.items()}
# The fields that each way of authentication at the token endpoint requires.
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "client_secret_basic": ("client_secret",),
    "client_secret_post": ("client_secret",),
    "private_key_jwt": ("private_key",),
    "tls_client_auth": ("certificate", "certificate_key"),
}


def credential_of(body: bytes) -> Credential:
    """Read a credential.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid. No error repeats a value.
    """
    fields = object_fields(body, how=HOW)
    errors = ValidationErrors()
    kind = _kind_of(fields, errors)
    errors.raise_if_any()
    read = _READERS[kind].read(fields, errors)
    given = {name: value for name, value in read.items() if value is not None}
    for missing in _missing(KINDS[kind], fields):
        errors.add("", f"{missing} is missing; a credential of the kind {kind} needs it")
    unread = {name for name in fields if name not in given and bytes(fields[name]) != _NULL}
    _check(kind, given, unread, errors)
    errors.raise_if_any()
    return KINDS[kind](**given)


def _kind_of(fields: Fields, errors: ValidationErrors) -> str:
    try:
        kind = msgspec.json.decode(fields.get("kind", _NULL), type=str)
    except msgspec.ValidationError:
        kind = ""
    if kind not in KINDS:
        what = "must be one of" if "kind" in fields else "is missing; it is one of"
        errors.add("/kind" if "kind" in fields else "", f"kind {what} {', '.join(KINDS)}")
    return kind


def _missing(kind: type[Credential], fields: Fields) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in fields:
            yield field.name


def _check(
    kind: str, given: Mapping[str, Any], unread: Collection[str], errors: ValidationErrors
) -> None:
    """Add the errors that do not follow from the types of the fields; each field has one at most.

    Args:
        kind: The kind.
        given: The values that were read.
        unread: The fields that have an error by themselves.
        errors: Where the errors are added.
    """
    _check_hosts(given.get("hosts", ()), errors)
    if kind == "header" and str(given.get("name")).lower() in SIGNATURE_FIELDS:
        errors.add(
            "/name", "name must not be the name of a header with which TaskFlow signs requests"
        )
    if kind == "oauth2_client_credentials":
        _check_token_url(given.get("token_url"), errors)
        _check_authentication(given, unread, errors)
    if not given.keys().isdisjoint(_PEM_FIELDS):
        _check_keys(kind, given, errors)


def _check_keys(kind: str, given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add the errors of keys and certificates; a pair is checked only if both are given."""
    # Imported here, because few nodes need `cryptography`.
    from taskflow.model.client_certificate import (  # noqa: PLC0415
        certificates_of,
        check_client_certificate,
    )
    from taskflow.model.signing_key import SigningKey  # noqa: PLC0415

    key = "private_key" if kind == "mtls" else "certificate_key"
    checks: tuple[tuple[Callable[..., object], tuple[str, ...]], ...] = (
        (check_client_certificate, ("certificate", key)),
        (certificates_of, ("ca_bundle",)),
        (SigningKey, ("private_key",) if kind != "mtls" else ()),
    )
    for check, names in checks:
        if names and all(name in given for name in names):
            try:
                check(*(given[name] for name in names))
            except ValueError as error:
                errors.add(f"/{names[0]}", f"{names[0]} {error}")


def _check_hosts(hosts: tuple[str, ...], errors: ValidationErrors) -> None:
    for index, pattern in enumerate(hosts):
        try:
            Hosts([pattern], "hosts")
        except SettingsError:
            errors.add(
                f"/hosts/{index}",
                "hosts must be names, such as api.example.com or *.example.com, or addresses",
            )
            continue
        if is_for_strangers(pattern):
            errors.add(
                f"/hosts/{index}",
                "hosts must not have a pattern under which anyone can register a name, such as "
                "*.com or *.co.uk; name your own domain, such as *.example.com",
            )


def _check_token_url(text: str | None, errors: ValidationErrors) -> None:
    if text is None:
        return
    try:
        target = parse_target(text)
    except InvalidUrl:
        errors.add("/token_url", "token_url must be a URL, such as https://login.example.com/token")
        return
    if not is_private(target):
        errors.add("/token_url", "token_url must begin with https, except on this machine")


def _check_authentication(
    given: Mapping[str, Any], unread: Collection[str], errors: ValidationErrors
) -> None:
    names = {*given, *unread}
    auth = given.get("auth") or ("" if "auth" in unread else "client_secret_basic")
    for name in _NEEDED.get(auth, ()):
        if name not in names:
            errors.add(f"/{name}", f"{name} must be given if auth is {auth}")
    if ("certificate" in names) != ("certificate_key" in names):
        errors.add("/certificate", "certificate and certificate_key must be given together")
