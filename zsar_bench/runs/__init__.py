"""Runs are made: fits, scores, rounds, hold-outs, GZSL, proofs, records."""
