"""Tests of the chat page in a headless Chromium. They need a browser and its driver, and Python packages:

    apt install chromium chromium-driver
    pip install -r tests/clients/page/requirements.txt
    pytest tests/clients/page

By default the server is a stub. `INGOT_URL=http://127.0.0.1:8080/ pytest tests/clients/page` also runs the tests that
any model can pass against that server. `--screenshots DIR` keeps pictures of the page there.
"""

import os
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException

from driver import Page, start_browser
from stub import Stub


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


@pytest.fixture(params=["stub"] + (["real"] if os.environ.get("INGOT_URL") else []))
def any_page(request, tab):
    """The page, freshly opened; of a real server too if there is one."""
    if request.param == "stub":
        request.getfixturevalue("stub").pace = 0.003  # like a small model
        return request.getfixturevalue("page")
    page = tab(os.environ["INGOT_URL"].rstrip("/") + "/").open()
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
