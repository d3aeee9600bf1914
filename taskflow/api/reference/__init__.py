"""The page at ``/docs``: the document of the API for people, made on the server.

It is made of the document itself, so that it says neither more nor less. From the bottom up::

    prose, kinds, curl    Markdown, schemas and requests as people read them
    contents              the document as the page is divided
    routes                the page
"""
