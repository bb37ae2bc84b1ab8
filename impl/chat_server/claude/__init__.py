"""The ``claude`` processes: started, asked, read."""
