"""Control requests beyond the few that every host sends, a file for each kind, loaded when one is asked for."""
