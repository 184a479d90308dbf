"""Submission of a run to a Ray cluster as a job."""
