"""The images that a command names: found, listed, and read."""
