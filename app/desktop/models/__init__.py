"""What the pages show, as plain Python without widgets, clocks or sockets."""
