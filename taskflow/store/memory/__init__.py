"""The store in memory: lost at exit; the simple model that PostgreSQL is compared with."""
