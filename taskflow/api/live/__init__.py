"""What happens, told as it happens: to those who wait for a task, and to those who watch."""
