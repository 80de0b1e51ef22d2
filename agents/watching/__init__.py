"""Notices new versions of files in watched folders."""
