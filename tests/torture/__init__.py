"""Deterministic torture: one seed is one whole campaign, on the real tick and real SQLite, in virtual time.

`world` holds time, the seeded scheduler and what was noted; `actors` are the processes that tick and the people in the lab;
`devices` the cycler, whose physical truth is recorded; `plans` draws everything else from the seed; `substitutions` puts the
harness between the shipped code and its database; `invariants` judges; `simulation` runs a seed; `mutants` are the faults that
must be caught.
"""
