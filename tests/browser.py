"""Pages in headless Chromium, where there is one: what it complains about, what it lays out, and a picture."""

import html
import json
import re
import shutil
import subprocess

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

# runs inside the page, in a frame of the width under test, and tells the page around it
MEASURE = """<script>addEventListener("load", () => {
  const texts = [...document.querySelectorAll("p, td, th, li, figcaption, h1, h2")].filter(e => e.textContent.trim());
  parent.postMessage({
    name: window.name, width: innerWidth, content: document.documentElement.scrollWidth, height: document.body.scrollHeight,
    pictures: [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.getBoundingClientRect().width]),
    smallest: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
    cut: texts.filter(e => !e.closest(".scroll") && e.scrollWidth > e.clientWidth + 1).length,
  }, "*");
});</script>"""
FRAMES = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="measured"></pre><script>
  const found = [];
  addEventListener("message", e => {{ found.push(e.data); measured.textContent = JSON.stringify(found); }});
</script>{frames}"""


def look(pages, widths, folder, height=1600):
    """Return what a browser measures of each page at each width, what it complained about, and a screenshot's path.

    ``pages`` are paths of HTML files; the measurements are dicts with the page's stem and the width as their name.
    """
    frames = []
    for page in pages:
        inside = page.read_text().replace("</body>", MEASURE + "</body>")
        for width in widths:
            name = f"{page.parent.parent.name}/{page.stem} {width}"
            frames.append(f'<iframe name="{name}" width="{width}" height="{height}" srcdoc="{html.escape(inside)}"></iframe>')
    around = folder / "frames.html"
    around.write_text(FRAMES.format(frames="\n".join(frames)))
    arguments = [
        f"--window-size={sum(widths) + 100},{(height + 20) * len(pages)}",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
    ]
    picture = folder / "pages.png"
    dumped = _chromium(folder, *arguments, "--dump-dom", around.as_uri())
    _chromium(folder, *arguments, f"--screenshot={picture}", around.as_uri())
    measured = json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', dumped.stdout, re.DOTALL).group(1)) or "[]")
    return measured, re.findall(r"CONSOLE.*", dumped.stderr), picture


def _chromium(folder, *arguments):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
