"""TaskFlow on a real PostgreSQL cluster of Patroni, whose servers and paths are lost under load."""
