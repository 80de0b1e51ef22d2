"""Renders the PNGs beside their SVG sources: `python assets/icons/render.py`, needed only after an SVG was changed."""

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

SIZES_PX = {"hearth": (16, 24, 32, 48, 64, 128, 256), "tray": (16, 22, 24, 32, 48, 64)}


def main() -> None:
    application = QGuiApplication([])
    for source in sorted(Path(__file__).parent.glob("*.svg")):
        for size in SIZES_PX[source.stem.split("-")[0]]:
            image = QImage(size, size, QImage.Format.Format_ARGB32)
            image.fill(Qt.GlobalColor.transparent)
            painter = QPainter(image)
            QSvgRenderer(str(source)).render(painter)
            painter.end()
            image.save(str(source.with_name(f"{source.stem}-{size}.png")))
    application.quit()


main()
