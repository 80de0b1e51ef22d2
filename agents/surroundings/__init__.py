"""What the computer and its user are doing: power, idle time, load, sleep; and what that means for work."""
