"""What tests share: made records, plans and files, toys, fakes, faults, and the command line."""
