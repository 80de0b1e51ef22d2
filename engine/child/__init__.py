"""The engine child: its walls, its pipes and the loops that serve requests."""
