"""What keeps a session whole: look for damage, mend it, give room back."""
