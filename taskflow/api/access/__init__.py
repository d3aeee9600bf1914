"""Who may ask for what: every rule of access, and what it looks at."""
