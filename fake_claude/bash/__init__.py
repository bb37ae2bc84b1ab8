"""What the CLI makes of a Bash command before it runs: its parts, its paths, and whether the user must be asked."""
