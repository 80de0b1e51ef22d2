"""Prints energy-review.md as the PDF that `hearth demo` uses; run by hand, with reportlab, when the text has changed."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate

SOURCE = Path(__file__).resolve().parent / "energy-review.md"
TITLE = "Energy review of the Harbour Street Library"

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=11, leading=15.5, spaceAfter=7)
ITEM = ParagraphStyle("item", parent=BODY, leftIndent=14, spaceAfter=4)
STYLES = {
    "# ": ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=20, leading=25, spaceAfter=8),
    "## ": ParagraphStyle("h2", fontName="Helvetica-Bold", fontSize=14, leading=18, spaceBefore=14, spaceAfter=6),
    "### ": ParagraphStyle("h3", fontName="Helvetica-Bold", fontSize=11.5, leading=15, spaceBefore=8, spaceAfter=4),
}


def blocks(text: str) -> list[tuple[str, ParagraphStyle]]:
    """The headings, paragraphs and list items of the small part of Markdown that the report uses."""
    found: list[tuple[str, ParagraphStyle]] = []
    joined = False  # whether the next line goes on with the block before
    for line in text.splitlines():
        marker = next((marker for marker in STYLES if line.startswith(marker)), None)
        is_item = line.startswith("- ") or line.split(". ")[0].isdigit()
        if not line.strip():
            joined = False
        elif marker is not None:
            found.append((line.removeprefix(marker), STYLES[marker]))
        elif is_item or not joined:
            found.append((line, ITEM if is_item else BODY))
            joined = True
        else:
            found[-1] = (f"{found[-1][0]} {line.strip()}", found[-1][1])
    return found


class NumberedCanvas(Canvas):
    """Writes the page's number last, so that a page's text does not begin with it."""

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        self.setFont("Helvetica", 9)
        self.drawCentredString(A4[0] / 2, 12 * mm, f"Page {self.getPageNumber()}")
        super().showPage()


def main() -> int:
    story: list[Flowable] = [
        Paragraph(escape(text), style) for text, style in blocks(SOURCE.read_text(encoding="utf-8"))
    ]
    document = SimpleDocTemplate(
        str(SOURCE.with_suffix(".pdf")),
        pagesize=A4,
        leftMargin=25 * mm,
        rightMargin=25 * mm,
        topMargin=22 * mm,
        bottomMargin=22 * mm,
        title=TITLE,
        author="Westmere Building Advice Service",
        invariant=1,  # no date inside: the same text gives the same bytes
    )
    document.build(story, canvasmaker=NumberedCanvas)
    return 0


if __name__ == "__main__":
    sys.exit(main())
