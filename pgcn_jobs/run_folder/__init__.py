"""The records of a run folder: layout, manifests, commits, checkpoints, schemas."""
