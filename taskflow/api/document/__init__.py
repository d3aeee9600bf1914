"""``/openapi.json``: the API, described by the types that validate it."""
