"""What runs the service, and looks at what it stands on."""
