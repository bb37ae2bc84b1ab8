"""The sub-commands of ``chat-conformance``: each takes parsed options and returns an exit status."""
