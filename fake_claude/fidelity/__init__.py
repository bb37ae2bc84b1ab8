"""The fake compared with the real CLI: one table of invocations, run on both."""
