"""Fills in the references of a request to the results of the parents of its task."""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from taskflow.checkpoints import fair_checkpoint
from taskflow.model.encryption import Encryption
from taskflow.model.references import (
    MAX_RESULT_BYTES,
    MissingReference,
    Reference,
    references_in,
    resolved,
    value_at,
)
from taskflow.model.task import Claim
from taskflow.store.base.listing import ListingStore, ParentResult

# Of documents that no version of TaskFlow stores.
_UNREADABLE: Final = (ValueError, RecursionError)


async def with_results(
    claim: Claim, store: ListingStore, encryption: Encryption, *, max_bytes: int
) -> Claim:
    """Return a claim whose payload has values of the results of its parents.

    One result is in memory at a time. The values are for this attempt only.

    Args:
        claim: The claim, decrypted.
        store: Has the results.
        encryption: Decrypts them.
        max_bytes: Maximum size of all values.

    Raises:
        MissingReference: A reference finds nothing, or a value that cannot be used in its place.
        KeyMissing: A result is encrypted with another key.
        Undecryptable: A result was changed.
        StoreUnavailable: The results cannot be read.
    """
    payload = bytes(claim.payload)
    values: dict[Reference, bytes] = {}
    left = max_bytes
    found = {one.reference for one in references_in(payload)}
    by_parent = {parent: [one for one in found if one.parent == parent] for parent, _ in found}
    for parent, references in by_parent.items():
        document = await _result_of(claim.task_id, parent, store, encryption)
        for reference in references:
            await fair_checkpoint()
            values[reference] = _value_of(reference, document)
            left -= len(values[reference])
            if left < 0:
                raise MissingReference(f"the values are larger than {max_bytes} bytes together")
    try:
        return msgspec.structs.replace(
            claim, payload=msgspec.Raw(resolved(payload, values.__getitem__))
        )
    except _UNREADABLE as error:
        raise MissingReference(f"a value cannot be used in the request: {error}") from None


async def _result_of(
    task_id: uuid.UUID, parent: str, store: ListingStore, encryption: Encryption
) -> bytes:
    known: ParentResult | None
    known = await store.parent_result(task_id, parent, max_bytes=MAX_RESULT_BYTES)
    if known is None:
        raise MissingReference(f"the parent {parent} was deleted")
    if known.is_too_large:
        raise MissingReference(f"the result of {parent} is larger than {MAX_RESULT_BYTES} bytes")
    if known.result is None:
        raise MissingReference(f"the parent {parent} has no result")
    return encryption.open_result(known.result, known.task_id)


def _value_of(reference: Reference, document: bytes) -> bytes:
    try:
        value = value_at(document, reference.pointer)
    except _UNREADABLE:
        value = None
    if value is None:
        raise MissingReference(f"nothing at {reference}")
    return value
