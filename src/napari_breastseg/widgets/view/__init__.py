"""The case in the viewer: its layers, what is painted on them, and how it is looked at."""
