"""Simulated annotators: what a person does to a mask, and the time that it takes."""

from __future__ import annotations
