"""What makes occurrences due: the alarm clock, and watched folders whose every version of a file is noticed once."""
