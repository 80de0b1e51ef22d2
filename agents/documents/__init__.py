"""Files become text here, safely: opened inside their folder, read once, within limits, and split to fit a model."""

from agents.documents.fingerprints import FileChanging, fingerprint
from agents.documents.opening import FileGone
from agents.documents.reading import DocumentKind, DocumentText, read_document
from agents.documents.splitting import split_text

__all__ = [
    "DocumentKind",
    "DocumentText",
    "FileChanging",
    "FileGone",
    "fingerprint",
    "read_document",
    "split_text",
]
