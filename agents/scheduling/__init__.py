"""What makes occurrences due: when, what becomes of those that come late or meet others, and the service that sees to it."""
