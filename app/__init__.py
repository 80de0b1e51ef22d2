"""The faces of Hearth: the desktop and the command line; clients of the runtime and nothing more."""
