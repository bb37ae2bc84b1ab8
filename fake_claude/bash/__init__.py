"""What the CLI makes of a Bash command before it runs: its parts, its paths, and whether somebody must be asked."""
