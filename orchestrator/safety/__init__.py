"""What may run, and when to stop."""
