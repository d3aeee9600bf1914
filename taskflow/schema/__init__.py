"""What clients send: the fields of bodies and queries, each declared once, and their reader.

A declaration is a ``msgspec.Struct`` whose fields are ``Annotated`` with their bounds, a
description and an example. Validation and its messages, ``/openapi.json``, the reference, the
options of the command line and of the client come from it.
"""
