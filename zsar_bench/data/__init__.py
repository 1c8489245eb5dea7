"""What a run is about: clips, protocols, class texts, data sets of the user."""
