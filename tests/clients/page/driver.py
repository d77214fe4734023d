"""The chat page in a browser, in the words of its user."""

import json
import shutil

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 20  # seconds

# Runs before anything else in every page: remembers what must not happen.
WATCH = """
window.watched = [];
document.addEventListener('securitypolicyviolation', (event) =>
  window.watched.push(`policy: ${event.violatedDirective} ${event.blockedURI}`));
window.addEventListener('error', (event) => window.watched.push(`error: ${event.message}`));
window.addEventListener('unhandledrejection', (event) => window.watched.push(`rejected: ${event.reason}`));
for (const name of ['alert', 'confirm', 'prompt', 'pwned']) window[name] = () => window.watched.push(`called: ${name}`);
"""


def start_browser():
    """A headless Chromium whose user does not want motion: what moves is hard to click."""
    options = webdriver.ChromeOptions()
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
        "--lang=en",
        "--force-prefers-reduced-motion",
    ]:
        options.add_argument(argument)
    # Selenium would ask the network for a driver if it were not told.
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.set_script_timeout(PATIENCE)
    return browser


class Page:
    """One tab with the chat page. Methods wait for what they look for, and fail after a while."""

    def __init__(self, browser, url, fresh_tab=True):
        self.browser = browser
        self.url = url
        if fresh_tab:
            browser.switch_to.new_window("tab")
        self.tab = browser.current_window_handle
        browser.execute_cdp_cmd("Page.enable", {})
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})

    def activate(self):
        """Makes this the tab that commands go to."""
        self.browser.switch_to.window(self.tab)
        return self

    def open(self, path=""):
        self.browser.get(self.url + path)
        return self.ready()

    def reload(self):
        self.browser.refresh()
        return self.ready()

    def ready(self):
        self.until(lambda: self.js("return document.readyState === 'complete' && window.performance.now() > 0"))
        self.until(lambda: self.shown("#messages, #empty"))
        return self

    # Looking

    def until(self, condition, what="it did not happen"):
        """Waits until the condition gives something true, and gives that back."""
        return WebDriverWait(self.browser, PATIENCE, poll_frequency=0.02).until(lambda _: condition(), what)

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.until(lambda: next(iter(self.all(selector)), None), f"there is no {selector}")

    def shown(self, selector):
        """Whether there is such an element and it is visible."""
        return self.js("return [...document.querySelectorAll(arguments[0])].some((e) => e.checkVisibility())", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector)

    def messages(self):
        """The texts of all messages, first to last."""
        return self.texts("#messages .text")

    def chats(self):
        return self.texts("#chats a")

    def answer(self):
        """Waits until no answer is being written; the text of the last message."""
        self.until(lambda: not self.shown("#stop"), "the answer does not end")
        return self.messages()[-1]

    def wait_text(self, selector, text):
        self.until(lambda: any(text in shown for shown in self.texts(selector)), f"{selector} never said {text!r}")

    def violations(self):
        """What must not have happened since the page was loaded: script errors, blocked or foreign requests."""
        foreign = self.js(
            "return performance.getEntriesByType('resource').map(({name}) => name)"
            ".filter((name) => !name.startsWith(location.origin + '/') && !name.startsWith('data:'))"
        )
        return self.js("return window.watched") + foreign

    # Doing

    def click(self, selector):
        self.until(lambda: self.shown(selector), f"{selector} is not there to be clicked")
        self.one(selector).click()

    def press(self, *keys):
        """Types into whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def type(self, text):
        self.one("#input").send_keys(text)

    def fill(self, selector, text):
        """Puts text into a field at once, as pasting does."""
        self.js(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.one(selector),
            text,
        )

    def send(self, text):
        """Sends a message; does not wait for the answer."""
        count = len(self.messages())
        self.fill("#input", text)
        self.one("#input").send_keys(Keys.ENTER)
        self.until(lambda: len(self.messages()) == count + 2, "the message was not sent")

    def ask(self, text):
        """Sends a message and gives the answer."""
        self.send(text)
        return self.answer()

    def act(self, number, action):
        """Uses a button of a message, counted from 0, or from the last with -1."""
        message = self.all("#messages > li")[number]
        button = message.find_element(By.CSS_SELECTOR, f"[data-action={action}]")
        self.js("arguments[0].scrollIntoView({block: 'center'})", button)
        webdriver.ActionChains(self.browser).move_to_element(message).perform()
        button.click()

    def setting(self, **values):
        self.click("#open-settings")
        for name, value in values.items():
            self.fill(f"#settings [name={name}]", value)
        self.click("#settings .primary")

    def phone(self):
        """Makes the tab a phone's."""
        screen = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def dark(self):
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def store(self, key, value):
        """Puts something into the browser's store."""
        self.js(
            "localStorage.setItem(arguments[0], arguments[1])",
            key,
            value if isinstance(value, str) else json.dumps(value),
        )
