"""What the sections are made of."""
