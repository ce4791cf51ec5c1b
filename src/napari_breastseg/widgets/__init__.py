"""napari docks, reader, writer and sample data: the only place with Qt. Nothing here computes; it starts the core's jobs and draws."""
