"""What a run leaves behind: record, predictions, matrices, environment."""
