"""Mutants of the reference server, by the part that they break."""
