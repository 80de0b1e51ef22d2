"""The local HTTP API: the one door through which clients reach the runtime."""

from agents.api.application import create_app
from agents.api.server import ApiServer, bind_socket

__all__ = ["ApiServer", "bind_socket", "create_app"]
