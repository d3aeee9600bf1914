"""The dashboard at ``/ui``: HTML pages, rendered by the service.

Every page works without scripts. With scripts, one part of it, the region, is kept up to date: a
stream of server-sent events sends it again whenever it has changed. From the bottom up::

    formatting, charts    values as people read them; coordinates of timelines
    axes, plots, series   charts: gridlines, coordinates, and the roll-ups that they show
    settings_form         forms that send the values that the user changed
    pages                 templates, static files, the viewer
    live_region           the stream that updates the region of a page
    queues, schedules, hosts, nodes    a list and a page each, with its actions
    overview, listing, task, submit_form, sign_in    one page each, with its actions
    routes                all routes
"""
