"""The HTTP server: connections, shutdown, and the tuning of the process."""
