"""Fields and parameters that do not exist: each is reported, up to a bound."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from taskflow.model.suggestions import MAX_COMPARED_CHARACTERS, Vocabulary, shown_name
from taskflow.schema.validation_errors import ValidationErrors, token

MAX_UNKNOWN: Final = 20
"""How many unknown names of one document are reported."""

MAX_URL_BYTES: Final = 200
"""How long a URL may be to be repeated in a message."""


def note_unknown(
    fields: Collection[str],
    vocabulary: Vocabulary,
    errors: ValidationErrors,
    *,
    ignored: Collection[str] = (),
    under: str = "",
) -> None:
    """Add an error for each field that does not exist, with what was probably meant.

    Args:
        fields: The names of all fields.
        vocabulary: The fields that exist.
        errors: Where the errors are added.
        ignored: The fields that are ignored.
        under: The JSON pointer of the document.
    """
    unknown = (name for name in fields if name not in vocabulary and name not in ignored)
    owner = ".".join(under.split("/")[1:])
    subject = f"{owner} has" if owner else "there is"
    found = 0
    for name in itertools.islice(unknown, MAX_UNKNOWN):
        found += 1
        place = token(name) if len(name) <= MAX_COMPARED_CHARACTERS else ""
        advice = vocabulary.advice(name)
        errors.add(f"{under}{place}", f"{subject} no field {shown_name(name)}; {advice}")
    if found == MAX_UNKNOWN and next(unknown, None) is not None:
        errors.add(under, f"{owner or 'the body'} has more fields that do not exist")


def unknown_parameters(query: Iterable[str], vocabulary: Vocabulary) -> list[str]:
    """Return an error for each parameter that does not exist."""
    unknown = (name for name in query if name not in vocabulary)
    messages: list[str] = []
    for name in itertools.islice(unknown, MAX_UNKNOWN):
        advice = vocabulary.advice(name)
        listed = "" if messages or advice == vocabulary.listed else f" {vocabulary.listed}"
        messages.append(f"there is no parameter {shown_name(name)}; {advice}{listed}")
    if next(unknown, None) is not None:
        messages.append(f"more than {MAX_UNKNOWN} parameters do not exist")
    return messages


def example_of(fields: Mapping[str, bytes], names: Iterable[str]) -> str:
    """Return a body with these fields of a request in its payload; most values are left out."""
    url = bytes(fields.get("url", b'"https://example.com/"'))
    shown = url.decode() if len(url) <= MAX_URL_BYTES else '"..."'
    others = [f'"{name}": ...' for name in names if name in fields and name != "url"]
    if not others:
        return f'{{"payload": {shown}}}'
    request = ", ".join([f'"url": {shown}', *others])
    return f'{{"payload": {{{request}}}}}'
