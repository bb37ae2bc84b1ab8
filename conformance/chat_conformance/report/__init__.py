"""Reports, each a pure function of the result model."""
