"""Things that behave like instruments: for simulated cyclers, tests and trials."""
