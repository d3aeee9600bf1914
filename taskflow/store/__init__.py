"""Where tasks are kept: ``base/tasks.py`` is the interface; each backend has a folder."""
