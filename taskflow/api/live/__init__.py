"""Requests that wait for a task, and streams of server-sent events."""
