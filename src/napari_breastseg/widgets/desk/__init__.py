"""What is open, and the threads on which the core works for it."""
