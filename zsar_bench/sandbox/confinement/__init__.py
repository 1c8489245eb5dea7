"""What confines a process: Landlock, seccomp, dropped privileges, and who asked for more."""
