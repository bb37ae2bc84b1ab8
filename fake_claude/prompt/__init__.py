"""What the CLI makes of a prompt before the model sees it."""
