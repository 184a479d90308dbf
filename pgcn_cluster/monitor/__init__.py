"""The state of a run, for a terminal and for `pgcn status`."""
