"""The rows of the benchmark: each module measures one thing and says what it means."""
