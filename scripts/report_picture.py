"""Take the picture of the report that README shows: the top of a page, by headless Chromium.

    pegai demo --out demo && python scripts/report_picture.py demo/report.html

Needs Debian's `chromium`. Writes docs/_static/report.png.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "docs" / "_static" / "report.png"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")


def main() -> None:
    """Take the picture."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    page = Path(sys.argv[1]).resolve()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or not page.exists():
        raise SystemExit("needs chromium (apt-get install chromium) and the path of a report.html")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                *FLAGS,
                f"--user-data-dir={profile}",
                "--window-size=1200,1180",
                f"--screenshot={TARGET}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
