"""TaskFlow: a self-hosted HTTP task queue on PostgreSQL, written on Trio."""

__version__ = "0.1.0"
