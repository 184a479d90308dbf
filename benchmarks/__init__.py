"""Benchmarks: each module is run by hand or by make, none by the product."""
