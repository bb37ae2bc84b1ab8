"""The command line and the settings files of a run."""
