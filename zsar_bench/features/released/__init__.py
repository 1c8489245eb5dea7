"""Features that somebody else published."""
