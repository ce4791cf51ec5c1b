"""Neural networks of the published methods: ``nn.Module`` only, no files, no devices, no napari."""
