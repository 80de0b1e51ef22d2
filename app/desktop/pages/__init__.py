"""The pages of the window: each draws a model and asks the runtime."""
