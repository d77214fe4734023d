"""Keyboard, small screens, light and dark, and what assistive technology gets to know. Takes the pictures."""

import pytest
from axe_core_python.base import AXE_SCRIPT
from selenium.webdriver.common.keys import Keys

from stub import Reply

RICH = """# Sorting a list

A **stable** sort keeps *equal* items in order; see [the article](https://example.org/sorting) or `sorted` in Python.

1. Compare neighbours
   - and swap them if they are in the wrong order,
   - until nothing has to be swapped
2. Stop

```python
def bubble(items):
    for end in range(len(items) - 1, 0, -1):
        for at in range(end):
            if items[at] > items[at + 1]:
                items[at], items[at + 1] = items[at + 1], items[at]  # a swap, in a line that is long enough to scroll
    return items
```

> The best sort is the one that you do not have to write.

## How they compare

| algorithm | best | worst | stable |
|---|---:|---:|:---:|
| bubble sort | n | n² | yes |
| quicksort | n log n | n² | no |
| merge sort | n log n | n log n | yes |

---

That is all.
"""


def rich(page, stub):
    stub.script += [Reply(RICH), Reply("Of course. It is `sorted(items)`."), Reply("A second answer.")]
    page.ask("How does bubble sort work, and how does it compare with others? Please show me some code.")
    page.ask("Is there a shorter way?")
    page.act(3, "regenerate")
    page.until(lambda: page.messages()[-1] == "A second answer.")
    page.answer()


# Keyboard


def test_enter_sends_and_shift_enter_does_not(page, stub):
    page.until(lambda: page.js("return document.activeElement.id") == "input")
    page.press("one", Keys.SHIFT, Keys.ENTER)
    page.press("two", Keys.ENTER)
    page.until(lambda: page.messages()[:1] == ["one\ntwo"])
    page.answer()
    assert page.js("return document.activeElement.id") == "input"
    page.press("   ", Keys.ENTER)
    assert len(stub.requests) == 1


def test_everything_is_reached_with_the_keyboard(page, stub):
    rich(page, stub)
    page.js("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.press(Keys.TAB)
        reached.add(page.js("const e = document.activeElement; return e.id || e.dataset.action || e.nodeName"))
        ring = page.js("return getComputedStyle(document.activeElement).outlineStyle")
        field = page.js("return document.activeElement.id === 'input' || document.activeElement === document.body")
        assert field or ring != "none", "the focus cannot be seen"
    wanted = {"new-chat", "A", "open-settings", "toggle", "chat-actions", "scroll", "copy", "edit", "copy-code", "PRE"}
    wanted |= {"regenerate", "previous", "input", "send"}
    assert wanted <= reached, wanted - reached


def test_a_new_chat_by_keyboard(page):
    page.ask("First")
    page.press(Keys.CONTROL, "k")
    page.until(lambda: page.messages() == [])
    assert page.js("return document.activeElement.id") == "input"
    page.browser.back()
    page.until(lambda: page.messages() == ["First", "First"])


def test_switching_versions_keeps_the_focus(page, stub):
    rich(page, stub)
    page.act(3, "previous")
    assert page.js("return document.activeElement.dataset.action") == "next"
    page.press(Keys.ENTER)
    page.until(lambda: page.messages()[-1] == "A second answer.")


def test_focus_comes_back_from_dialogs(page):
    for button, dialog in [("#open-settings", "#settings"), ("#change-key", "#key-dialog")]:
        if button == "#change-key":
            page.click("#open-settings")
        page.click(button)
        assert page.shown(dialog)
        page.press(Keys.ESCAPE)
        assert not page.shown(dialog)
        assert page.js("return '#' + document.activeElement.id") == button


# Screens


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_screen(page, stub, width):
    stub.script.append(Reply(RICH + "\n\n" + "x" * 300 + " `" + "y" * 300 + "` https://example.org/" + "z" * 300))
    screen = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": width < 500}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    page.fill("#input", "w" * 300)
    page.click("#send")
    page.until(lambda: len(page.messages()) == 2)
    page.answer()
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert page.js("return document.documentElement.scrollHeight") <= 740
    assert page.js("const s = document.getElementById('scroll'); return s.scrollWidth - s.clientWidth") <= 0


def test_the_drawer(page, picture):
    page.ask("First")
    page.phone()
    page.reload()
    assert not page.shown("#sidebar")
    page.click("#toggle")
    assert page.shown("#sidebar") and page.js("return document.activeElement.id") == "new-chat"
    picture("phone-drawer")
    page.press(Keys.ESCAPE)
    assert not page.shown("#sidebar")
    page.click("#toggle")
    page.click("#chats a")
    page.until(lambda: not page.shown("#sidebar"))
    assert page.messages() == ["First", "First"]


def test_enter_makes_a_line_on_a_phone(page, stub):
    page.phone()
    page.reload()
    page.type("one\ntwo")
    assert stub.requests == []
    page.click("#send")
    page.until(lambda: page.messages()[:1] == ["one\ntwo"])
    page.answer()


def test_themes(page):
    def background():
        return page.js("return getComputedStyle(document.body).backgroundColor")

    light = background()
    page.dark()
    page.until(lambda: background() != light)
    page.setting(theme="light")
    assert background() == light
    page.reload()
    assert background() == light


# What assistive technology gets to know


def axe(page):
    """What axe-core finds wrong with the page as it is."""
    page.js(AXE_SCRIPT)
    result = page.browser.execute_async_script("axe.run().then(arguments[0], (error) => arguments[0](String(error)))")
    return [f"{rule['id']}: {node['html'][:120]}" for rule in result["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["desk", "phone"])
def test_axe_finds_nothing(page, stub, theme, screen, picture):
    if theme == "dark":
        page.dark()
    if screen == "phone":
        page.phone()
    page.reload()
    page.until(lambda: page.shown("#model"))
    found = axe(page)
    picture(f"{screen}-{theme}-empty")
    if screen == "desk":
        rich(page, stub)
    else:
        stub.script.append(Reply(RICH))
        page.fill("#input", "How does bubble sort work?")
        page.click("#send")
        page.until(lambda: len(page.messages()) == 2)
        page.answer()
    picture(f"{screen}-{theme}-end")
    page.js("document.getElementById('scroll').scrollTop = 0")
    page.until(lambda: page.shown("#to-end"))
    picture(f"{screen}-{theme}-start")
    found += axe(page)
    stub.script.append(Reply("Half an ans", error={"message": "the device is gone", "type": "server_error"}))
    page.fill("#input", "Fail")
    page.click("#send")
    page.wait_text(".problem", "the device")
    page.answer()
    picture(f"{screen}-{theme}-problem")
    found += axe(page)
    page.act(0, "edit")
    found += axe(page)
    picture(f"{screen}-{theme}-edit")
    if screen == "phone":
        page.click("#toggle")
    page.click("#open-settings")
    picture(f"{screen}-{theme}-settings")
    found += axe(page)
    assert found == []


def test_every_control_has_a_name(page, stub):
    rich(page, stub)
    page.act(0, "edit")
    tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "textbox", "link", "combobox", "spinbutton", "checkbox"}
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    named = [(role, name) for role, name in roles if role in controls]
    assert len(named) > 20 and all(name.strip() for _, name in named), named


def test_an_answer_is_announced_in_paragraphs(page, stub):
    reply = Reply(pieces=["One, ", "still one\n\nTwo\n\n", "Three, ", "still three"], hold_after=3)
    stub.script.append(reply)
    page.js(
        """window.announced = [];
        new MutationObserver((records) => {
          for (const { addedNodes } of records) window.announced.push(...[...addedNodes].map((node) => node.textContent));
        }).observe(document.getElementById('announcer'), { childList: true });"""
    )
    page.send("Go")
    page.until(lambda: page.js("return window.announced") == ["One, still one"])
    reply.release.set()
    page.answer()
    page.until(lambda: page.js("return window.announced") == ["One, still one", "Two", "Three, still three"])


def test_little_motion_is_respected(page, stub):
    assert page.js("return matchMedia('(prefers-reduced-motion: reduce)').matches")
    stub.script.append(Reply("Wait", hold_after=1))
    page.send("Go")
    page.until(lambda: page.messages()[-1] == "Wait")
    assert page.js("return document.getAnimations().length") == 0
    page.press(Keys.ESCAPE)
    page.answer()
