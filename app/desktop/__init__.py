"""The desktop: a window, a tray icon and notifications over the runtime's local API.

Importing this package loads no Qt; `app.desktop.main.run` does.
"""
