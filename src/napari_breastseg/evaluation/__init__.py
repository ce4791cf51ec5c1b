"""How good a mask is, and a simulated annotator that measures the whole loop."""

from __future__ import annotations
