"""When the server is gone, busy, strict, or fails: the user reads what to do, and no text is lost."""

from selenium.webdriver.common.keys import Keys

from stub import Reply

TOO_LONG = {"message": "5000 tokens, 4096 fit", "type": "invalid_request_error", "code": "context_length_exceeded"}
BUSY = {"message": "all slots are taken", "type": "overloaded"}


def test_a_server_that_is_gone(page, stub):
    page.until(lambda: page.shown("#model"))
    stub.stop()
    page.ask("Are you there?")
    page.wait_text(".problem", "cannot be reached")
    assert page.messages()[0] == "Are you there?"
    assert page.shown(".problem [data-action=retry]")


def test_a_message_can_be_tried_again(page, stub):
    stub.script.append(Reply(status=500, error={"message": "out of memory", "type": "server_error"}))
    page.ask("Hello")
    page.wait_text(".problem", "The server failed. The server says: out of memory")
    page.reload()
    page.wait_text(".problem", "out of memory")
    page.click(".problem [data-action=retry]")
    page.until(lambda: page.messages() == ["Hello", "Hello"])
    assert page.answer() == "Hello" and not page.shown(".problem")
    assert [turn["content"] for turn in stub.requests[-1]["messages"]] == ["Hello"]


def test_after_a_failure_turns_still_alternate(page, stub):
    stub.script.append(Reply(status=500, error={"message": "no", "type": "server_error"}))
    page.ask("First")
    page.ask("Second")
    assert stub.requests[-1]["messages"] == [{"role": "user", "content": "First\n\nSecond"}]


def test_a_busy_server_is_tried_again(page, stub):
    stub.script += [Reply(status=503, error=BUSY, headers={"Retry-After": "1"}), Reply("At last")]
    page.send("Hello")
    page.wait_text(".status", "The server is busy. Trying again in 1 s (try 2 of 5).")
    assert page.answer() == "At last"
    assert stub.requests[0] == stub.requests[1]


def test_waiting_for_a_busy_server_can_be_stopped(page, stub):
    stub.script.append(Reply(status=503, error=BUSY, headers={"Retry-After": "50"}))
    page.send("Hello")
    page.wait_text(".status", "Trying again in 50 s")
    page.press(Keys.ESCAPE)
    assert page.answer() == ""
    page.wait_text(".status", "Stopped")
    assert page.messages()[0] == "Hello"


def test_a_server_that_stays_busy(page, stub):
    stub.script += [Reply(status=429, error=BUSY, headers={"Retry-After": "0"})] * 5
    page.ask("Hello")
    page.wait_text(".problem", "still busy after 5 tries")
    assert len(stub.requests) == 5


def test_a_chat_that_is_too_long(page, stub):
    stub.script.append(Reply(status=400, error=TOO_LONG))
    page.ask("A very long message")
    page.wait_text(".problem", "longer than the model can read")
    page.wait_text(".problem", "5000 tokens, 4096 fit")
    page.click(".problem [data-action=edit-question]")
    page.fill(".edit textarea", "Short")
    page.press(Keys.ENTER)
    page.until(lambda: page.messages() == ["Short", "Short"])


def test_a_refused_request(page, stub):
    stub.script.append(Reply(status=400, error={"message": "top_k is too large", "type": "invalid_request_error"}))
    page.ask("Hello")
    page.wait_text(".problem", "refused the request (status 400). The server says: top_k is too large")


def test_an_error_in_the_middle_keeps_the_text(page, stub):
    stub.script.append(Reply("Once upon", error={"message": "the device is gone", "type": "server_error"}))
    assert page.ask("Hello") == "Once upon"
    page.wait_text(".problem", "The server says: the device is gone")
    page.click(".problem [data-action=retry]")
    page.until(lambda: page.messages()[-1] == "Hello")
    page.answer()
    page.act(1, "previous")
    page.until(lambda: page.messages()[-1] == "Once upon")


def test_a_connection_that_breaks_keeps_the_text(page, stub):
    stub.script.append(Reply("Once upon", breaks=True))
    assert page.ask("Hello") == "Once upon"
    page.wait_text(".problem", "The connection broke")


def test_the_page_closed_in_the_middle_keeps_the_text(page, stub):
    reply = Reply("Once upon a time", hold_after=2)
    stub.script.append(reply)
    page.send("Hello")
    page.until(lambda: page.messages()[-1] == "Once upo")
    page.reload()
    assert reply.left.wait(10)
    assert page.messages() == ["Hello", "Once upo"]
    page.wait_text(".assistant .status", "Not finished")


def test_the_key_is_asked_for(page, stub):
    stub.key = "secret"
    page.reload()
    page.until(lambda: page.shown("#key-dialog"))
    page.fill("#key", "guess")
    page.press(Keys.ENTER)
    page.until(lambda: page.shown("#key-dialog"), "it was not asked for again")
    page.press(Keys.ESCAPE)
    page.wait_text("#server", "API key needed")
    page.send("Hello")
    page.until(lambda: page.shown("#key-dialog"))
    page.press(Keys.ESCAPE)
    page.wait_text(".problem", "wants an API key")
    page.click(".problem [data-action=retry]")
    page.fill("#key", "secret")
    page.press(Keys.ENTER)
    page.until(lambda: page.messages() == ["Hello", "Hello"])
    page.answer()
    assert page.js("return localStorage.getItem('ingot.key')") is None
    page.reload()
    assert page.ask("Again") == "Again"


def test_the_key_is_kept_if_that_is_wanted(page, stub, tab):
    stub.key = "secret"
    page.reload()
    page.until(lambda: page.shown("#key-dialog"))
    page.click("#keep-key")
    page.fill("#key", "secret")
    page.press(Keys.ENTER)
    page.until(lambda: page.shown("#model"))
    other = tab(stub.url).open()
    assert other.ask("From another tab") == "From another tab"


def test_a_server_that_comes_later_is_found(tab, stub):
    models, stub.models = stub.models, None  # the list of models fails
    page = tab(stub.url).open()
    page.wait_text("#server", "not reachable")
    stub.models = models
    page.until(lambda: page.shown("#model"))
    assert not page.texts("#server")[0]
