"""What a user does with the page, from sending a message to having two tabs open."""

import json
import re

from selenium.webdriver.common.keys import Keys

from stub import Reply


# With any model


def test_a_message_is_answered(any_page):
    answer = any_page.ask("Tell me a story about a fox.")
    assert answer != ""
    assert any_page.messages()[0] == "Tell me a story about a fox."
    stats = any_page.texts(".stats")[-1]
    assert re.search(r"^[\d.,]+ tokens/s · [\d,]+ tokens · first after [\d.]+ s · prompt \d+", stats), stats
    assert any_page.chats() == ["Tell me a story about a fox."]


def test_an_answer_grows_and_can_be_stopped(any_page):
    # The page itself stops it with the first text, because a small model may be faster than the driver.
    any_page.js(
        """const list = document.getElementById('messages');
        window.lengths = [];
        new MutationObserver(() => {
          const length = list.querySelector('.assistant .text')?.textContent.length ?? 0;
          if (length > 0) window.lengths.push(length);
          if (window.lengths.length === 1) document.getElementById('stop').click();
        }).observe(list, { subtree: true, childList: true, characterData: true });"""
    )
    any_page.send("Tell me a story about a fox who lost a lantern. " * 40)
    assert any_page.answer() != ""
    any_page.wait_text(".assistant .status", "Stopped")


def test_chats_are_there_after_reloading(any_page):
    answer = any_page.ask("Tell me a story about a bear.")
    before = any_page.messages()
    any_page.reload()
    assert any_page.messages() == before and before[1] == answer
    assert any_page.chats() == ["Tell me a story about a bear."]
    any_page.click("#new-chat")
    assert any_page.messages() == []
    any_page.click("#chats a")
    any_page.until(lambda: any_page.messages() == before)


# Streaming


def test_text_is_shown_as_it_comes(page, stub):
    reply = Reply(pieces=["One ", "two ", "three."], hold_after=2)
    stub.script.append(reply)
    page.send("Count.")
    page.until(lambda: page.messages()[-1] == "One two")
    assert page.shown("#stop") and not page.shown("#send")
    reply.release.set()
    assert page.answer() == "One two three."


def test_stopping_ends_the_request_and_keeps_the_text(page, stub):
    for stop in [lambda: page.click("#stop"), lambda: page.press(Keys.ESCAPE)]:
        reply = Reply(pieces=["Once ", "upon"], hold_after=1)
        stub.script.append(reply)
        page.send("Go on.")
        page.until(lambda: page.messages()[-1] == "Once")
        stop()
        assert page.answer() == "Once"
        assert reply.left.wait(10)
        page.wait_text(".assistant:last-child .status", "Stopped")


def test_another_chat_can_be_read_while_an_answer_is_written(page, stub):
    page.ask("First chat")
    page.click("#new-chat")
    reply = Reply(pieces=["Second ", "answer"], hold_after=1)
    stub.script.append(reply)
    page.send("Second chat")
    page.click("#chats li:nth-child(2) a")
    page.until(lambda: page.messages() == ["First chat", "First chat"])
    assert page.shown("#send")
    reply.release.set()
    page.until(lambda: not page.all("#chats .writing"))
    page.click("#chats li:nth-child(1) a")
    page.until(lambda: page.messages() == ["Second chat", "Second answer"])


def test_a_cut_answer_says_so(page, stub):
    stub.script.append(Reply("As long as it g", finish="length"))
    page.ask("Go")
    page.wait_text(".assistant .status", "Cut off")


def test_the_view_follows_only_from_the_end(page, stub):
    lines = [f"Line {number}\n\n" for number in range(100)]
    reply = Reply(pieces=lines, hold_after=90)
    stub.script.append(reply)
    page.send("Many lines")
    page.wait_text(".assistant .text", "Line 89")
    distance = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    page.until(lambda: page.js(distance) < 2)
    page.js("document.getElementById('scroll').scrollTop = 100")
    page.until(lambda: page.shown("#to-end"))
    reply.release.set()
    page.answer()
    assert page.js("return document.getElementById('scroll').scrollTop") == 100
    page.click("#to-end")
    page.until(lambda: page.js(distance) < 2)


# Branches


def test_another_answer_is_a_version(page, stub):
    stub.script += [Reply("First answer"), Reply("Second answer")]
    page.ask("Question")
    page.act(1, "regenerate")
    page.until(lambda: page.messages()[-1] == "Second answer")
    page.answer()
    assert page.texts(".assistant .versions") == ["2/2"]
    assert stub.requests[0] == stub.requests[1]
    page.act(1, "previous")
    page.until(lambda: page.messages() == ["Question", "First answer"])
    page.reload()
    assert page.messages() == ["Question", "First answer"]
    page.act(1, "next")
    page.until(lambda: page.messages() == ["Question", "Second answer"])


def test_an_edited_message_is_a_branch(page, stub):
    page.ask("First")
    page.ask("Then")
    page.act(2, "edit")
    page.fill(".edit textarea", "Instead")
    page.click(".edit .primary")
    page.until(lambda: page.messages() == ["First", "First", "Instead", "Instead"])
    page.answer()
    assert [turn["content"] for turn in stub.requests[-1]["messages"]] == ["First", "First", "Instead"]
    page.act(0, "edit")
    page.fill(".edit textarea", "Start over")
    page.press(Keys.ENTER)
    page.until(lambda: page.messages() == ["Start over", "Start over"])
    page.answer()
    page.act(0, "previous")
    page.until(lambda: page.messages() == ["First", "First", "Instead", "Instead"])
    page.act(2, "previous")
    page.until(lambda: page.messages() == ["First", "First", "Then", "Then"])


def test_an_edit_can_be_given_up(page, stub):
    page.ask("First")
    page.act(0, "edit")
    page.fill(".edit textarea", "Something else")
    page.press(Keys.ESCAPE)
    assert not page.all(".edit") and page.messages() == ["First", "First"] and len(stub.requests) == 1


# Chats


def test_a_chat_is_renamed(page):
    page.ask("First")
    page.click("#chat-actions")
    page.click("#do-rename")
    page.fill("#name", "A better name")
    page.press(Keys.ENTER)
    page.until(lambda: page.chats() == ["A better name"])
    page.reload()
    assert page.chats() == ["A better name"] and page.texts("#title") == ["A better name"]


def test_a_deleted_chat_can_be_had_back(page):
    page.ask("First")
    page.click("#chat-actions")
    page.click("#do-delete")
    page.until(lambda: page.chats() == [] and page.messages() == [])
    page.click(".notice button")
    page.until(lambda: page.chats() == ["First"] and page.messages() == ["First", "First"])
    page.click("#chat-actions")
    page.click("#do-delete")
    page.until(lambda: page.chats() == [])
    page.reload()
    assert page.chats() == []


def test_a_chat_deleted_while_it_is_answered_stays_deleted(page, stub):
    reply = Reply("Too late", hold_after=1)
    stub.script.append(reply)
    page.send("First")
    page.until(lambda: page.messages()[-1] != "")
    page.click("#chat-actions")
    page.click("#do-delete")
    assert reply.left.wait(10)
    page.ask("Second")
    page.reload()
    assert page.chats() == ["Second"]


def test_chats_are_exported(page):
    page.ask("A *question*")
    # What would be saved, instead of a file.
    page.js("URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved = text); return 'data:,' }")
    page.js("HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download }")
    markdown = ("#save-markdown", "A question.md", "**You**\n\nA *question*")
    for button, name, content in [markdown, ("#save-json", "A question.json", '"version": 1')]:
        page.js("window.saved = ''")
        page.click("#chat-actions")
        page.click(button)
        page.until(lambda content=content: content in page.js("return window.saved"))
        assert page.js("return window.savedAs") == name


def test_copying(page, stub):
    stub.script.append(Reply("Before\n\n```python\nprint(1)\n\tprint(2)\n```"))
    page.ask("Code")
    page.js("window.copied = []; navigator.clipboard.writeText = async (text) => { window.copied.push(text) }")
    page.act(1, "copy")
    page.act(1, "copy-code")
    page.act(0, "copy")
    page.until(lambda: len(page.js("return window.copied")) == 3)
    assert page.js("return window.copied") == [
        "Before\n\n```python\nprint(1)\n\tprint(2)\n```",
        "print(1)\n\tprint(2)",
        "Code",
    ]


def test_copying_where_the_page_does_not_come_over_https(page):
    page.ask("Some text")
    page.js(
        """Object.defineProperty(navigator, 'clipboard', { value: undefined });
        document.execCommand = (command) => {
          window.copied = [command, document.activeElement.value];
          return true;
        };"""
    )
    page.act(1, "copy")
    page.wait_text(".notice", "Copied.")
    assert page.js("return window.copied") == ["copy", "Some text"]
    assert page.js("return document.activeElement.dataset.action") == "copy"


# Settings


def test_settings_are_sent_and_kept(page, stub):
    page.ask("Before")
    sent = stub.requests[-1]
    assert (
        sent["stream"] is True and sent["stream_options"] == {"include_usage": True} and sent["model"] == "tale-llama"
    )
    assert not {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"} & sent.keys()
    values = dict(temperature=0.5, top_p=0.9, top_k=40, min_p=0.1, repetition_penalty=1.1, max_tokens=99, seed=7)
    page.setting(system="Be brief.", **{name: str(value) for name, value in values.items()})
    page.reload()
    page.ask("After")
    sent = stub.requests[-1]
    assert {name: sent[name] for name in values} == values
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    page.click("#open-settings")
    page.click("#reset")
    page.click("#settings .primary")
    page.ask("Again")
    assert not values.keys() & stub.requests[-1].keys() and stub.requests[-1]["messages"][0]["role"] == "user"


def test_a_setting_out_of_range_is_not_sent(page, stub):
    page.click("#open-settings")
    page.fill("#settings [name=top_p]", "1.5")
    page.click("#settings .primary")
    assert page.shown("#settings"), "the dialog closed over an invalid value"
    page.press(Keys.ESCAPE)
    page.ask("Go")
    assert "top_p" not in stub.requests[-1]


def test_the_model_is_chosen(page, stub):
    stub.models = ["small", "large"]
    page.reload()
    page.until(lambda: page.shown("#model"))
    page.one("#model").send_keys("large")
    page.ask("Go")
    page.reload()
    page.ask("Again")
    assert [request["model"] for request in stub.requests] == ["large", "large"]


# The store


def test_two_tabs_keep_each_others_chats(page, stub, tab):
    page.ask("From the first tab")
    other = tab(stub.url).open()
    other.ask("From the second tab")
    page.activate().until(lambda: len(page.chats()) == 2)
    page.ask("More from the first")
    other.activate().click("#chats li:nth-child(1) a")
    other.until(lambda: len(other.messages()) == 4)
    other.ask("And more from the second")
    page.activate().until(lambda: len(page.messages()) == 6)
    page.reload()
    assert page.messages()[::2] == ["From the first tab", "More from the first", "And more from the second"]
    assert page.chats() == ["From the first tab", "From the second tab"]


def test_two_tabs_answering_in_one_chat_lose_nothing(page, stub, tab):
    page.ask("Start")
    address = page.js("return location.hash")
    other = tab(stub.url).open(address)
    other.until(lambda: other.messages() == ["Start", "Start"])
    replies = [Reply("Answer one", hold_after=1), Reply("Answer two", hold_after=1)]
    stub.script += replies
    page.activate().send("One")
    page.until(lambda: page.messages()[-1] == "Answ")
    other.activate().act(1, "regenerate")
    other.until(lambda: other.messages()[-1] == "Answ")
    replies[1].release.set()
    other.answer()
    replies[0].release.set()
    page.activate().answer()
    page.reload()
    stored = json.loads(
        page.js("return localStorage.getItem(Object.keys(localStorage).find((k) => k.startsWith('ingot.chat.')))")
    )
    assert sorted(message["text"] for message in stored["messages"]) == sorted(
        ["Start", "Start", "One", "Answer one", "Answer two"]
    )


def test_what_was_written_unnoticed_is_not_overwritten(page):
    """Another tab may write just before this one does: the same, without the event that says so."""
    page.ask("Start")
    page.js(
        """const key = Object.keys(localStorage).find((key) => key.startsWith('ingot.chat.'));
        const chat = JSON.parse(localStorage.getItem(key));
        chat.messages.push({ ...chat.messages[1], id: 'f'.repeat(24), text: 'From elsewhere' });
        localStorage.setItem(key, JSON.stringify(chat));"""
    )
    page.ask("More")
    page.reload()
    assert page.messages() == ["Start", "Start", "More", "More"]
    page.act(1, "next")
    page.until(lambda: page.messages() == ["Start", "From elsewhere"])


def test_a_full_store_is_said_and_nothing_breaks(page):
    page.js(
        """let size = 1 << 22;
        while (size > 0) {
          try { localStorage.setItem('x' + size + Math.random(), 'x'.repeat(size)); } catch { size >>= 1; }
        }"""
    )
    assert page.ask("No room") == "No room"
    page.wait_text(".notice", "store is full")
    assert page.ask("Still works") == "Still works"


def test_a_forbidden_store_is_said_and_nothing_breaks(page):
    source = """for (const name of ['localStorage', 'sessionStorage'])
      Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"""
    page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    page.reload()
    page.wait_text(".notice", "does not let the page keep anything")
    assert page.ask("Works") == "Works"


def test_broken_entries_are_left_alone(page):
    page.ask("Good")
    good = page.js("return localStorage.getItem(Object.keys(localStorage).find((k) => k.startsWith('ingot.chat.')))")
    circle = json.loads(good)
    circle["messages"][0]["parent"] = circle["messages"][1]["id"]
    broken = [
        "",
        "null",
        "[]",
        "{",
        '{"version":1}',
        json.dumps(circle),
        good.replace('"text":"Good"', '"text":{"a":1}', 1),
        good,
    ]
    for number, text in enumerate(broken):
        page.store(f"ingot.chat.{number:024}", text)
    page.store("ingot.settings", '{"sampling":{"temperature":"hot","evil":1},"theme":"<b>","system":3}')
    page.reload()
    assert page.chats() == ["Good"] and page.messages() == ["Good", "Good"]
    page.wait_text(".notice", f"{len(broken)} of the chats")
    assert page.js("return localStorage.getItem('ingot.chat.' + '3'.padStart(24, '0'))") == "{"
    assert page.ask("More") == "More"


def test_a_draft_is_kept(page):
    page.ask("First")
    page.type("not yet sent")
    page.click("#new-chat")
    assert page.js("return document.getElementById('input').value") == ""
    page.type("another")
    page.click("#chats a")
    page.until(lambda: page.js("return document.getElementById('input').value") == "not yet sent")
    page.reload()
    assert page.js("return document.getElementById('input').value") == "not yet sent"
