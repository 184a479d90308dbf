"""Parquet tables of a run: built from records, queried by SQL."""
