"""The HTTP server: Hypercorn, its connections, shutdown, and process tuning."""
