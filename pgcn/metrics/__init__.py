"""Metrics: fidelity and copying of samples against the image, and errors of task results."""
