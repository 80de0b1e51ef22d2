"""Colours, spacing and icons: one table of tokens, drawn in light and dark."""
