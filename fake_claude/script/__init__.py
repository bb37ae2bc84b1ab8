"""Scripts: what the fake says, and how it misbehaves."""
