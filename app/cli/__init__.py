"""The command line: one noun per file, each a thin client of the runtime."""
