"""HTTP and WebSocket: what reaches the server, and what it answers."""
