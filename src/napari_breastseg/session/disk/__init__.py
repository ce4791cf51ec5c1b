"""Bytes of a session: what lies where, arrays, whole files or none, and values as text."""
