"""Benchmarks: each one command that prints a table with seeds and spread, and writes CSV into `benchmarks/results/`."""
