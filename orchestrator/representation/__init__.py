"""Candidate -> something physical (a protocol), or something a kernel can read (numbers)."""
