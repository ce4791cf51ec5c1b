"""Prediction: windows in the breast region, coarse first, refined window by window."""
