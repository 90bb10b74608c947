"""Opens the report.html of a run in headless Chromium and checks the rendered page.

    report_page.py [--shots FOLDER] REPORT_HTML...

Checked in light and dark colours, at widths of 1440, 1100 and 390 px: the console has no errors; only the file itself is
requested; every chart is drawn; no text is clipped, and no two texts of a chart overlap; the page is not wider than its window;
the table of results is not cut, except on a phone; tables can be sorted with the keyboard; the page also works without its
script. The script uses the DevTools protocol through a pipe, so it needs only Python and a browser (CHROMIUM names another one).
"""

import argparse
import base64
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

WIDTHS = (1440, 1100, 390)
SCHEMES = ("light", "dark")
MOST_BYTES = 2_000_000
SLICE = 1600

CHECK = r"""
(() => {
  const wrong = [];
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const shown = (element) => element.getClientRects().length > 0;
  const name = (text) => JSON.stringify(text.textContent.trim());
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wrong.push(`the page is ${page.scrollWidth} px wide in ${page.clientWidth}`);
  const figures = [...document.querySelectorAll("figure.chart")];
  const expected = Number(document.body.dataset.charts);
  let drawn = 0;
  for (const figure of figures) {
    const title = figure.querySelector("figcaption").textContent;
    const pictures = [...figure.querySelectorAll("svg")].filter(shown);
    if (pictures.length !== 1) { wrong.push(`${title}: ${pictures.length} pictures are shown`); continue; }
    const picture = pictures[0];
    const shapes = picture.querySelectorAll("rect, polyline, polygon, circle").length;
    const box = picture.getBoundingClientRect();
    if (shapes < 1 || box.width < 300 || box.height < 60) { wrong.push(`${title}: ${shapes} shapes in ${box.width} x ${box.height}`); continue; }
    if (!picture.querySelector("title").textContent || !picture.querySelector("desc").textContent) wrong.push(`${title}: no title or description`);
    drawn += 1;
    const texts = [...picture.querySelectorAll("text")].map((text) => [text, text.getBoundingClientRect()]);
    for (const [text, at] of texts) {
      const size = parseFloat(getComputedStyle(text).fontSize) * box.width / picture.viewBox.baseVal.width;
      if (size < 11) wrong.push(`${title}: ${name(text)} is ${size.toFixed(1)} px high`);
      if (at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 1 || at.bottom > box.bottom + 1) wrong.push(`${title}: ${name(text)} is outside its picture`);
      if (at.left < 0 || at.right > innerWidth) wrong.push(`${title}: ${name(text)} leaves the window`);
    }
    // A line box is higher than its letters, so the boxes of neighbours may touch.
    const inner = (at) => ({ left: at.left + 1, right: at.right - 1, top: at.top + at.height * 0.2, bottom: at.bottom - at.height * 0.2 });
    for (let one = 0; one < texts.length; one += 1) for (let other = one + 1; other < texts.length; other += 1) {
      const a = inner(texts[one][1]), b = inner(texts[other][1]);
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) wrong.push(`${title}: ${name(texts[one][0])} and ${name(texts[other][0])} overlap`);
    }
  }
  if (figures.length !== expected || drawn !== expected) wrong.push(`${drawn} of ${expected} charts are drawn`);
  // Text outside of charts must not be clipped by its box, except where it scrolls.
  for (const element of document.querySelectorAll("main *, header *, nav *")) {
    if (!shown(element) || element.closest("svg") || element.closest(".scroll")) continue;
    const style = getComputedStyle(element);
    if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1) wrong.push(`<${element.localName}> cuts ${name(element).slice(0, 60)}`);
    const at = element.getBoundingClientRect();
    if (at.right > innerWidth + 1 || at.left < -1) wrong.push(`<${element.localName} class="${element.className}"> leaves the window: ${name(element).slice(0, 60)}`);
  }
  // The first table contains the results.
  const results = document.querySelector("main table").closest(".scroll");
  if (innerWidth > 1000 && results.scrollWidth > results.clientWidth) wrong.push(`the results are cut: ${results.scrollWidth} px in ${results.clientWidth}`);
  // Columns that are too narrow for words.
  for (const element of document.querySelectorAll("dd, dt, td, th, li, p")) {
    if (!shown(element)) continue;
    const at = element.getBoundingClientRect();
    if (element.textContent.length > 12 && at.width < 45) wrong.push(`<${element.localName}> is ${at.width} px wide for ${name(element).slice(0, 60)}`);
  }
  // The contrast of each text with the background must be 4.5 or more (WCAG 2, level AA).
  const light = (colour) => { const parts = colour.match(/[\d.]+/g).slice(0, 3).map((v) => { const c = v / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (colour) => { const l = light(colour); return (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05); };
  const poor = new Set();
  for (const text of document.querySelectorAll("svg text, p, td, th, li, dt, dd, h1, h2, summary")) {
    if (!shown(text)) continue;
    const colour = text.localName === "text" ? getComputedStyle(text).fill : getComputedStyle(text).color;
    if (ratio(colour) < 4.5) poor.add(`${text.localName} in ${colour}`);
  }
  poor.forEach((each) => wrong.push(`contrast below 4.5: ${each}`));
  return { wrong, drawn, height: page.scrollHeight, paper: getComputedStyle(document.body).backgroundColor };
})()
"""

FOCUS = r"""
(() => {
  const table = document.querySelectorAll("table.sortable")[%d];
  const heads = [...table.tHead.rows[0].cells];
  const place = heads.findIndex((head) => head.classList.contains("number") && new Set([...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex].textContent)).size > 1);
  if (place < 0 || table.tBodies[0].rows.length < 3) return null;
  heads[place].querySelector("button").focus();
  window.checked = { table, place };
  return document.activeElement === heads[place].querySelector("button") ? heads[place].textContent : "";
})()
"""

ORDER = r"""
(() => {
  const { table, place } = window.checked;
  const values = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[place].textContent)).filter((value) => !Number.isNaN(value));
  return { sort: table.tHead.rows[0].cells[place].getAttribute("aria-sort"), values };
})()
"""


class Browser:
    """Chromium, controlled through a pipe."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp()
        down_read, self.down = os.pipe()
        self.up, up_write = os.pipe()
        # The browser reads commands from descriptor 3 and writes results to descriptor 4.
        shell = f'exec 3<&{down_read} 4>&{up_write}; exec "$@"'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self.profile}"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *options, "about:blank"],
            pass_fds=(down_read, up_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(down_read)
        os.close(up_write)
        self.rest = b""
        self.numbers = itertools.count(1)
        self.events = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.up, 1 << 20)
            if not more:
                raise SystemExit("the browser ended unexpectedly")
            self.rest += more
        line, self.rest = self.rest.split(b"\0", 1)
        return json.loads(line)

    def ask(self, method, **params):
        number = next(self.numbers)
        question = {"id": number, "method": method, "params": params}
        if getattr(self, "session", None):
            question["sessionId"] = self.session
        os.write(self.down, json.dumps(question).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == number:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"the check itself failed: {result['exceptionDetails']}")
        return result["result"].get("value")

    def key(self, key, code):
        text = {"Enter": "\r"}.get(key)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def open(self, url, width, scheme, script=True):
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self.ask("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())
        # Waits for late requests of the page. The events until then are read together with the result of the next command.
        time.sleep(0.3)
        self.ask("Runtime.evaluate", expression="0")

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


def problems(events, url):
    """Errors on the console, and requests for anything except the file."""
    found = []
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            asked = params["request"]["url"]
            if asked.split("#")[0] != url and not asked.startswith("data:"):
                found.append(f"it requests {asked}")
        elif method == "Runtime.exceptionThrown":
            found.append(f"an exception: {params['exceptionDetails'].get('text')}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            found.append(f"on the console: {params['entry']['text']}")
        elif method == "Runtime.consoleAPICalled":
            found.append(f"on the console: {params['args']}")
    return found


def sorting(browser):
    """Sorts every sortable table with the keyboard, in both directions."""
    found, sorted_tables = [], 0
    for number in range(browser.value('document.querySelectorAll("table.sortable").length')):
        head = browser.value(FOCUS % number)
        if head is None:
            continue
        sorted_tables += 1
        for expected in ("descending", "ascending"):
            browser.key("Enter", 13)
            after = browser.value(ORDER)
            if after["sort"] != expected or after["values"] != sorted(after["values"], reverse=expected == "descending"):
                found.append(f"table {number + 1}, {head}: after Enter {after}, expected {expected}")
    return found, sorted_tables


def keyboard(browser):
    """The first Tab reaches the link that skips to the report."""
    browser.value("document.activeElement && document.activeElement.blur()")
    browser.key("Tab", 9)
    first = browser.value("document.activeElement.className")
    return [] if first == "skip" else [f"the first Tab reaches {first!r} instead of the link that skips to the report"]


def shots(browser, folder, name, height):
    """The whole page in slices."""
    width = browser.value("innerWidth")
    for number, top in enumerate(range(0, height, SLICE)):
        clip = {"x": 0, "y": top, "width": width, "height": min(SLICE, height - top), "scale": 1}
        image = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        (folder / f"{name}-{number:02}.png").write_bytes(base64.b64decode(image["data"]))


def check(browser, path, folder):
    """All checks of one page; returns the problems."""
    url = path.resolve().as_uri()
    size = path.stat().st_size
    wrong = [] if size < MOST_BYTES else [f"{size} bytes: more than {MOST_BYTES}"]
    papers = set()
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        browser.open(url, width, scheme)
        found = problems(browser.events, url)
        found += keyboard(browser)
        order, tables = sorting(browser)
        found += order
        seen = browser.value(CHECK)
        found += seen["wrong"]
        papers.add((scheme, seen["paper"]))
        found += problems(browser.events, url)
        if folder:
            shots(browser, folder, f"{path.parent.name}-{width}-{scheme}", seen["height"])
        print(f"{path} at {width} px, {scheme}: {seen['drawn']} charts, {tables} tables sorted, {len(found)} problems")
        wrong += [f"{width} px, {scheme}: {each}" for each in found]
    if len(papers) != len(SCHEMES):
        wrong.append(f"light and dark have the same background: {papers}")
    browser.open(url, WIDTHS[0], "light", script=False)
    wrong += [f"without script: {each}" for each in problems(browser.events, url)]
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=pathlib.Path, help="folder for screenshots")
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    program = os.environ.get("CHROMIUM", "chromium")
    if not shutil.which(program):
        print(f"skipped: {program} is not installed")
        return 0
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    browser = Browser(program)
    try:
        wrong = {page: check(browser, page, arguments.shots) for page in arguments.pages}
    finally:
        browser.close()
    for page, found in wrong.items():
        for each in found:
            print(f"{page}: {each}", file=sys.stderr)
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
