"""A user's own data set, read from a folder."""
