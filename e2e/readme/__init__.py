"""The commands of the README, as a newcomer runs them."""
