"""Login at a forge, and the sessions that keep it."""
