"""Drivers of cyclers, one a module; they know the domain and nothing else of the house."""
