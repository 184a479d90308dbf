"""Many images: Ray driver, worker actors, progress, gatherer, gallery and command line. Imports `pgcn_jobs`."""
