"""The dashboard at ``/ui``: pages for people, made on the server.

Each page is whole without scripts. With them one part of it, the region, is kept up to date: a
stream of server-sent events brings it anew whenever it has changed. From the bottom up::

    showing, charts     values as people read them; numbers as shapes
    assets, pages       what pages are made of: files, templates
    refreshing          the region of a page, again and again
    overview, listing, task, submitting, signing_in    a page each, with what can be done there
    routes              all of them
"""
