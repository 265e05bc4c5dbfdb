"""What the browser tests share: a page shown at a width and in a theme, and what to ask of it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

WIDTHS = (390, 768, 1600)


def show(browser: Any, page: Path, width: int = 1600, *, scripted: bool = True, **media: str) -> None:
    """Show a page; ``scripted`` false where it may run no script, which then cannot be asked whether it is laid out."""
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    if scripted:  # on a busy machine the first layout may come after the page was loaded
        browser.execute_async_script(
            "const done = arguments[0]; document.fonts.ready.then(() => requestAnimationFrame(() => done()))"
        )


def requested(browser: Any) -> list[str]:
    """Addresses asked for since the last call."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def background(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


OVERLAPS = """
const around = (e) => {
  const range = document.createRange(); range.selectNodeContents(e); return range.getBoundingClientRect(); };
const boxes = [...document.querySelectorAll(arguments[0])].map((e) => [e.textContent, around(e)])
  .filter(([text, b]) => text.trim() && b.width > 1 && b.height > 1);
const touch = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
return [boxes.length,
  boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([, b]) => touch(a, b)).map(([other]) => [name, other]))];
"""

# Words of the first selector that an element of the second covers, or that stand over it.
COVERED = """
const around = (e) => {
  const range = document.createRange(); range.selectNodeContents(e); return range.getBoundingClientRect(); };
const shown = (b) => b.width > 1 && b.height > 1;
const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const things = [...document.querySelectorAll(arguments[1])].map((e) => e.getBoundingClientRect()).filter(shown);
const words = [...document.querySelectorAll(arguments[0])].map((e) => [e.textContent, around(e)])
  .filter(([, b]) => shown(b));
return [words.length, things.length,
  words.filter(([, a]) => things.some((b) => over(a, b))).map(([text]) => text)];
"""


def accessibility(browser: Any) -> list[str]:
    """What axe-core finds wrong with the page that is shown: rule, and the first element it is about."""
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document).then((r) => done(r.violations), (e) => done([{id: String(e)}]))"
    )
    return [f"{v['id']}: {v.get('nodes', [{}])[0].get('html', '')[:200]}" for v in found]


CONTRAST = """
const lum = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (/^rgb\\(/.test(c)) return c; } return "rgb(255,255,255)"; };
return [...document.querySelectorAll("p, td, th, li, dd, dt, a, label, .label, .value-text, h1, h2, .tick, .flag")]
  .filter((e) => e.textContent.trim() && e.getBoundingClientRect().width)
  .map((e) => { const a = lum(getComputedStyle(e).color), b = lum(ground(e));
    return [e.className + e.textContent.slice(0, 20), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; })
  .filter(([, ratio]) => ratio < 4.5);
"""
