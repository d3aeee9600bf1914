"""The store in PostgreSQL: durable, and shared by any number of nodes."""
