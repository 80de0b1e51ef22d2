"""`hearth demo`: the main job on a throw-away home, step by step, on the built-in model."""
