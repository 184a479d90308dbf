"""Jobs as their pages show them: images, curves, facts and metrics, read from committed artifacts."""
