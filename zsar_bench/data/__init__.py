"""The data of a run: clips, protocols, class texts, data sets of the user."""
