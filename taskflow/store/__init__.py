"""Where tasks are kept: ``base/store.py`` is the interface; each backend has a folder."""
