"""The local HTTP API: the doors through which clients and other programs reach the runtime."""

from agents.api.application import create_app
from agents.api.listening import ListenOptions, OpenDoor, open_door
from agents.api.metrics import Metrics
from agents.api.model_door import create_model_door
from agents.api.server import ApiServer, bind_socket

__all__ = [
    "ApiServer",
    "ListenOptions",
    "Metrics",
    "OpenDoor",
    "bind_socket",
    "create_app",
    "create_model_door",
    "open_door",
]
