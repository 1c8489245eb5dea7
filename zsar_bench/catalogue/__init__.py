"""What there is: plugins discovered, their answers kept and merged, settings, own data sets."""
