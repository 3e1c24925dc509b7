"""A page opened in a headless Chromium, and what the browser says of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

ENTER, SPACE, TAB = "\ue007", "\ue00d", "\ue004"
"""Keys, as WebDriver names them."""
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    *("hide-scrollbars", "disable-dev-shm-usage"),
)
_OWN = ("chrome:", "chrome-", "data:", "about:")
"""Schemes of what the browser asks itself for."""


def missing() -> str | None:
    """Why no browser can be started here; None if one can."""
    for program in (CHROMIUM, DRIVER):
        if not Path(program).exists():
            return f"{program} isn't installed (Debian: apt install chromium-driver)"
    return None


def start(profile: Path) -> Any:
    """A headless Chromium with an empty profile, whose logs can be read; ``quit()`` ends it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@dataclass
class Page:
    """An opened page and what the browser said while it was opened."""

    driver: Any
    path: Path

    def open(self) -> Page:
        """Load it afresh and wait until lists are filled and all charts drawn."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(self.path.as_uri())
        self.wait(
            "return document.documentElement.dataset.ready === 'yes' && "
            "[...document.querySelectorAll('[data-chart]')].every(f => f.dataset.drawn)"
        )
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def media(self, **features: str) -> None:
        """Emulate a medium (``media``) and features such as prefers-color-scheme."""
        medium = features.pop("media", "")
        named = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": medium, "features": named}
        )

    def size(self, width: int, height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def rows(self, where: str) -> list[list[str]]:
        """The texts of a table's body."""
        cells = "[...r.cells].map(c => c.innerText.trim())"
        rows: list[list[str]] = self.run(
            f"return [...document.querySelectorAll('{where} tbody tr')].map(r => {cells})"
        )
        return rows

    def marks(self, chart: str, kind: str) -> list[dict[str, str]]:
        """What a chart says of its marks of a kind to a screen reader, by name."""
        labels: list[str] = self.run(
            "return [...document.querySelectorAll(`[data-chart=${arguments[0]}] "
            "[aria-roledescription=${arguments[1]}]`)].map(n => n.getAttribute('aria-label'))",
            chart,
            kind,
        )
        pairs = [[part.partition(": ")[::2] for part in label.split("; ")] for label in labels]
        return [dict(each) for each in pairs]

    def network(self) -> tuple[set[str], set[str]]:
        """Addresses asked for since the page was opened, and those of them that were blocked."""
        log = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked, blocked = {}, set()
        for message in log:
            parameters = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                asked[parameters["requestId"]] = parameters["request"]["url"]
            elif message["method"] == "Network.loadingFailed" and "blockedReason" in parameters:
                blocked.add(asked.get(parameters["requestId"], ""))
        return {url for url in asked.values() if not url.startswith(_OWN)}, blocked

    def choose(self, select: str, value: str) -> None:
        """Choose in a <select>, as a person does."""
        self.run(
            "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('input', { bubbles: true }));"
            "s.dispatchEvent(new Event('change', { bubbles: true }))",
            select,
            value,
        )

    def hover(self, marks: str, words: str) -> bool:
        """Whether a tooltip with these words comes up over one of the marks."""
        for mark in self.driver.find_elements("css selector", marks):
            self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
            self.run(
                "const b = arguments[0].getBoundingClientRect();"
                "const at = { clientX: b.x + b.width / 2, clientY: b.y + b.height / 2 };"
                "for (const kind of ['pointerover', 'mouseover', 'pointermove', 'mousemove'])"
                "arguments[0].dispatchEvent(new PointerEvent(kind, { ...at, bubbles: true }))",
                mark,
            )
            tip = self.run(
                "return document.querySelector('#vg-tooltip-element.visible')?.innerText"
            )
            if tip and words in tip:
                return True
        return False

    def focus(self, selector: str) -> Any:
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].focus()", element)
        return element


def shares(values: pd.Series) -> list[str]:
    """Numbers as the page writes them."""
    return [f"{v:.3f}".replace("-", "\u2212") for v in values]
