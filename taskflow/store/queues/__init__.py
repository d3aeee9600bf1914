"""What keeps tasks waiting: what is asked of queues, and hosts that fail."""
