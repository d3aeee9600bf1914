"""What ``name``, ``after`` and ``on_parent_failure`` of a task allow beside them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from taskflow.model.parents import OnParentFailure, is_id
from taskflow.model.references import MAX_REFERENCES, references_in
from taskflow.model.task import NewTask
from taskflow.schema.validation_errors import ValidationErrors

_EXCLUDED: Final = ("order_key", "unique", "debounce")


def check_parents(given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add an error for each field of a task that does not go together with its parents."""
    if is_id(given.get("name", "")):
        errors.add("/name", "name must not look like the id of a task")
    after = given.get("after", ())
    if not after:
        if "on_parent_failure" in given:
            errors.add("/on_parent_failure", "on_parent_failure needs after")
        return
    seen: set[str] = set()
    for place, parent in enumerate(after):
        canonical = parent.lower() if is_id(parent) else parent
        if canonical in seen:
            errors.add(f"/after/{place}", f"{parent} is given twice")
        seen.add(canonical)
    for name in _EXCLUDED:
        if name in given:
            errors.add(f"/{name}", f"{name} must not be given together with after")
    # A time that is over changes nothing: a task can be submitted again as it was shown.
    if "run_at" in given and given["run_at"] > dt.datetime.now(dt.UTC):
        errors.add("/run_at", "run_at must not be in the future together with after")


def check_references(payload: bytes, given: Mapping[str, Any], errors: ValidationErrors) -> bool:
    """Add an error for each reference that is invalid; return whether there are references.

    Args:
        payload: The payload of the task; without parents it has no references.
        given: The fields beside it.
        errors: Where errors are added.
    """
    after = given.get("after", ())
    found = references_in(payload) if after else []
    parents = {parent.lower() if is_id(parent) else parent for parent in after}
    for one in found:
        parent = one.reference.parent
        is_known = (parent.lower() if is_id(parent) else parent) in parents
        fault = one.fault or ("" if is_known else f"{parent!r} is not among the parents in after")
        if fault:
            errors.add(f"/payload{one.place}", fault)
    if len(found) > MAX_REFERENCES:
        errors.add("/payload", f"a payload can have at most {MAX_REFERENCES} references")
    return bool(found)


def with_parents(given: dict[str, Any], *, has_references: bool) -> dict[str, Any]:
    """Return the fields of a task with what is stored because it has parents."""
    if not given.get("after"):
        return given
    policy = given.get("on_parent_failure", OnParentFailure.CANCEL)
    return {
        **given,
        "on_parent_failure": policy,
        "delay_after_parents": given.get("delay_seconds") or None,
        "has_references": has_references,
    }


def refuse_links(task: NewTask, under: str, errors: ValidationErrors) -> None:
    """Add an error for the name and the parents of a template, which cannot have any."""
    label = under.removeprefix("/")
    for name, value in (("name", task.options.name), ("after", task.after)):
        if value:
            what = (
                f"{label}.{name} is for POST /tasks: it relates tasks that are submitted together"
            )
            errors.add(f"{under}/{name}", what)
