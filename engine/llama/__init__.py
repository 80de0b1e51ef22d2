"""The only door to llama.cpp and llguidance.

Runs in: engine child, engine thread only.
"""
