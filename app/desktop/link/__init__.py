"""The line to the runtime: HTTP requests and server-sent events over its Unix socket, on Qt's event loop."""
