"""Numbers of one score matrix: accuracies, GZSL, the gate, all measures of a run."""
