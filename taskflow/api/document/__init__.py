"""``/openapi.json``: the OpenAPI document, built from the routes and their types."""
