"""A request becomes a list of jobs."""
