"""The JSON lines of stream-json output."""
