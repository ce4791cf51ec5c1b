"""Speed, measured side by side in one run: what `napari-breastseg benchmark` prints. Ratios carry over, seconds do not."""
