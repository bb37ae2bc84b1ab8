"""Small servers with protocols of their own, each with the target file that describes it."""
