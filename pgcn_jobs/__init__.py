"""One image from its specification to committed artifacts. Imports `pgcn`; never Ray."""
