"""Cases: what they are given, how they are played, and what they are compared with."""
