"""The engine room: llama.cpp in a child process of its own, and the supervisor that keeps it alive."""
