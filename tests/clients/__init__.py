"""Clients in all languages, held to the vectors of ``clients/conformance``."""
