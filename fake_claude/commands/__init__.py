"""The sub-commands of ``fake-claude``."""
