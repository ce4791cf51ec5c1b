"""One training loop, two ways to feed it: from scratch, and from a person's corrections."""
