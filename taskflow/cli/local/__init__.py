"""Commands that run the service, or inspect the machine and the database that it uses."""
