"""What clients send, read strictly and named in their own terms.

``/openapi.json`` shows the types here as they are: bounds come from ``Meta``, descriptions from
the docstrings.
"""
