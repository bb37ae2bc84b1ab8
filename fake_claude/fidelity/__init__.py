"""The fake held against the real CLI: one table of invocations, played through both."""
