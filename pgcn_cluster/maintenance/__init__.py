"""Verification, repair and garbage collection of a whole run."""
