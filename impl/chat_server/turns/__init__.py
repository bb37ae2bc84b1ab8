"""Turns: admitted, run, followed, stopped and saved."""
