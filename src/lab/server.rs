//! An SSH server in this process that runs the machine's own `sh` in a directory of its own.
