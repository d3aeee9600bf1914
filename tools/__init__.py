"""Programs for the development of TaskFlow."""
