"""Long work as bounded slices, so that no turn waits for it."""
