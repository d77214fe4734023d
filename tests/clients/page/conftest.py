"""Tests of the chat page in a headless Chromium. They need a browser and its driver, and Python packages:

    apt install chromium chromium-driver
    pip install -r tests/clients/page/requirements.txt
    pytest tests/clients/page

The server is a stub, and for the tests that any model can pass also `ingot serve` with the model in the program: what
the variable INGOT names, or else what cargo built last; or the server at INGOT_URL. `--screenshots DIR` keeps pictures
of the page there.
"""

import os
import sys
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from driver import Page, start_browser  # noqa: E402
from server import Server  # noqa: E402
from stub import Stub  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="DIR", help="where to put pictures of the page")


@pytest.fixture(scope="session")
def browser():
    browser = start_browser()
    yield browser
    browser.quit()


@pytest.fixture
def stub():
    with Stub() as stub:
        yield stub


@pytest.fixture
def tab(browser):
    """Opens tabs, and closes them at the end, when nothing that must not happen may have happened in any."""
    first = browser.window_handles[0]
    browser.switch_to.window(first)
    pages = []

    def open_tab(url):
        pages.append(Page(browser, url))
        return pages[-1]

    yield open_tab
    found = []
    for page in pages:
        try:
            found += page.activate().violations()
            browser.close()
        except WebDriverException as error:  # a tab that crashed; the next test has one of its own
            found.append(str(error))
    browser.switch_to.window(first)
    assert found == []


@pytest.fixture
def page(tab, stub):
    """The page, freshly opened. Each stub has a port, hence a store in the browser, of its own."""
    return tab(stub.url).open()


@pytest.fixture(scope="session")
def real_url():
    """Where a real server answers."""
    if url := os.environ.get("INGOT_URL"):
        yield url
        return
    with Server.ingot() as server:
        yield server.url


@pytest.fixture(params=["stub", "real"])
def any_page(request, tab):
    """The page, freshly opened; of a stub and of a real server."""
    if request.param == "stub":
        request.getfixturevalue("stub").pace = 0.003  # like a small model
        return request.getfixturevalue("page")
    page = tab(request.getfixturevalue("real_url").rstrip("/") + "/").open()
    page.js("localStorage.clear(); sessionStorage.clear()")
    return page.reload()


@pytest.fixture
def picture(request, browser):
    """Takes a picture of the page, if pictures are wanted."""
    folder = request.config.getoption("--screenshots")

    def take(name):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    return take
