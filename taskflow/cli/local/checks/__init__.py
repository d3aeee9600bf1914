"""What the doctor looks at, a module for each theme; ``finding`` is what each tells."""
