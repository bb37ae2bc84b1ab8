"""Child processes, and the guardian that lets none of their descendants outlive them."""
