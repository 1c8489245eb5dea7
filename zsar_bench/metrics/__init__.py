"""Measures of one score matrix: accuracies, GZSL, the gate."""
