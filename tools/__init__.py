"""Programs for those who develop TaskFlow."""
