"""What confines a process: Landlock, seccomp, dropped privileges, the access audit."""
