"""Who computes what next, and which cells and ids it takes; pure."""
