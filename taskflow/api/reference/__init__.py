"""The page at ``/docs``: the reference of the API as HTML, rendered from the OpenAPI document.

From the bottom up::

    prose       descriptions, schemas and requests as people read them
    contents    the sections of the page
    docs_page   the page
"""
