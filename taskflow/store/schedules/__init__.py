"""Schedules in a store: ``base`` says what they can do."""
