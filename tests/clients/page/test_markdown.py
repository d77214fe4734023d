"""How answers are shown: what is markup, what is text, and that no text can do anything else."""

import json
import random

import pytest

from stub import Reply

RENDER = """
const [text, done] = arguments;
import('/page/live.js').then(({ LiveMarkdown }) => {
  const element = document.createElement('div');
  new LiveMarkdown(element).show(text);
  for (const e of element.querySelectorAll('button, [role], a')) {
    if (e.nodeName === 'BUTTON') e.remove();
    for (const name of ['tabindex', 'role', 'aria-label', 'target', 'rel']) e.removeAttribute(name);
  }
  done(element.innerHTML);
}, (error) => done(String(error)));
"""


def render(page, text):
    """The markup that a text gets, without what every link and code block has."""
    return page.browser.execute_async_script(RENDER, text)


CASES = {
    "Hello *you* and **you**": "<p>Hello <em>you</em> and <strong>you</strong></p>",
    "***both*** ~~gone~~ ~ _so_ snake_case_name __b__": "<p><em><strong>both</strong></em> <s>gone</s> ~ <em>so</em> snake_case_name <strong>b</strong></p>",
    "2 * 3 * 4 and a ** b": "<p>2 * 3 * 4 and a ** b</p>",
    "**a *b* c** *open **shut**": "<p><strong>a <em>b</em> c</strong> *open <strong>shut</strong></p>",
    "**a*b**": "<p><strong>a*b</strong></p>",
    "**名前：**です": "<p><strong>名前：</strong>です</p>",
    "`a*b*` `` ` `` `open": "<p><code>a*b*</code> <code>`</code> `open</p>",
    r"\*no\* \` \q": r"<p>*no* ` \q</p>",
    "&lt;b&gt; &amp;amp; &copy;": "<p>&lt;b&gt; &amp;amp; &amp;copy;</p>",
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "<b>bold</b><br>": "<p>&lt;b&gt;bold&lt;/b&gt;&lt;br&gt;</p>",
    "# One #\n### Three\n#no": '<h3 class="level-1">One</h3><h5 class="level-3">Three</h5><p>#no</p>',
    "---\n* * *\n--": "<hr><hr><p>--</p>",
    "> a\n> > b\n\nc": "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>",
    "- a\n- b\n  - c\n    - d\n- e": "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><ul><li><p>d</p></li></ul></li></ul></li><li><p>e</p></li></ul>",
    "Steps:\n3) a\n\n4) b\n   more\n\n   yet more": '<p>Steps:<br>3) a</p><ol start="4"><li><p>b<br>more</p><p>yet more</p></li></ol>',
    "1. a\n  - b\n2. c\nlazy": "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c<br>lazy</p></li></ol>",
    "1. a\n   ```c\n   x\n     y\n   ```\n2. b": '<ol><li><p>a</p><div class="code"><div class="code-head"><span>c</span></div><pre><code>x\n  y</code></pre></div></li><li><p>b</p></li></ol>',
    "* a\n+ b": "<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul>",
    "```\n<b>\n\n# no\n```\nafter": '<div class="code"><div class="code-head"><span>text</span></div><pre><code>&lt;b&gt;\n\n# no</code></pre></div><p>after</p>',
    "~~~js x\n```\n~~~~": '<div class="code"><div class="code-head"><span>js</span></div><pre><code>```</code></pre></div>',
    "```py\nopen": '<div class="code"><div class="code-head"><span>py</span></div><pre><code>open</code></pre></div>',
    "a | b\n:-|-:\n`x` | \\|\n1": '<div class="table"><table><thead><tr><th>a</th><th class="right">b</th></tr></thead><tbody><tr><td><code>x</code></td><td class="right">|</td></tr></tbody></table></div><p>1</p>',
    "| a |\n|---|---|": "<p>| a |<br>|---|---|</p>",
    "[a *b*](https://x.org/y_(z) 'title') [c](mailto:a@b.c)": '<p><a href="https://x.org/y_(z)">a <em>b</em></a> <a href="mailto:a@b.c">c</a></p>',
    "[no](javascript:alert(1)) [no](/relative) [no]() [no": "<p>[no](javascript:alert(1)) [no](/relative) [no]() [no</p>",
    "![cat](https://x.org/c.png)": '<p><a href="https://x.org/c.png">Image: cat</a></p>',
    "(see https://x.org/a_(b)). <https://y.org>, http": '<p>(see <a href="https://x.org/a_(b)">https://x.org/a_(b)</a>). <a href="https://y.org">https://y.org</a>, http</p>',
    "(https://x.org/).": '<p>(<a href="https://x.org/">https://x.org/</a>).</p>',
    "[https://x.org](https://x.org)": '<p><a href="https://x.org">https://x.org</a></p>',
    "[a [b](https://x.org) c](https://y.org)": '<p>[a <a href="https://x.org">b</a> c](<a href="https://y.org">https://y.org</a>)</p>',
    "a\r\nb\r\n\r\n- c\r\n": "<p>a<br>b</p><ul><li><p>c</p></li></ul>",
    "": "",
}


def test_markup(page):
    wrong = {text: got for text, markup in CASES.items() if (got := render(page, text)) != markup}
    assert wrong == {}


def test_links_are_safe(page, stub):
    stub.script.append(Reply("[a](https://x.org) https://y.org"))
    page.ask("Links")
    for link in page.all("#messages a"):
        assert link.get_attribute("rel") == "noopener noreferrer nofollow" and link.get_attribute("target") == "_blank"


GROW = """
const [texts, done] = arguments;
import('/page/live.js').then(({ LiveMarkdown }) => {
  const wrong = [];
  for (const text of texts) {
    const growing = document.createElement('div');
    const live = new LiveMarkdown(growing);
    for (let end = 1; end <= text.length; end += 1) {
      live.show(text.slice(0, end));
      const whole = document.createElement('div');
      new LiveMarkdown(whole).show(text.slice(0, end));
      if (growing.innerHTML !== whole.innerHTML) { wrong.push(text.slice(0, end)); break; }
    }
  }
  done(wrong);
}, (error) => done([String(error)]));
"""


def test_growing_text_looks_like_the_whole(page):
    """Whatever was shown on the way, the end is what the text would look like at once; also for random documents."""
    pieces = [
        "- ",
        "1. ",
        "> ",
        "#",
        "```",
        "\n",
        "\n",
        "\n\n",
        "  ",
        "a",
        "b c",
        "*",
        "**",
        "|",
        "-",
        "|-|-|",
        "`",
        "[x](https://y.z)",
        "~~~",
        "\t",
    ]
    chance = random.Random(1)
    documents = ["".join(chance.choices(pieces, k=chance.randint(5, 40))) for _ in range(300)]
    assert page.browser.execute_async_script(GROW, [*CASES, *documents]) == []


def test_finished_blocks_are_kept(page, stub):
    reply = Reply(pieces=["```py\ncode\n```\n\nOne\n\nTwo", " more"], hold_after=1)
    stub.script.append(reply)
    page.send("Go")
    page.wait_text(".assistant .text", "Two")
    kept = page.js("window.kept = [...document.querySelectorAll('.assistant .text > *')]; return window.kept.length")
    reply.release.set()
    page.answer()
    assert kept == 3
    assert page.js(
        "return [...document.querySelectorAll('.assistant .text > *')].every((e, n) => e === window.kept[n])"
    )


SIZE = 100_000
HOSTS = {
    "asterisks": "*" * SIZE,
    "asterisks and letters": "*a " * (SIZE // 3),
    "asterisks between letters": "*a" * (SIZE // 2),
    "closing asterisks": "a* " * (SIZE // 3),
    "strong and emphasis": "**a *b " * (SIZE // 7),
    "nested emphasis": "*a _b " * (SIZE // 12) + "b_ a* " * (SIZE // 12),
    "underscores": "_" * SIZE,
    "tildes": "~~a " * (SIZE // 4),
    "brackets": "[" * SIZE,
    "closing brackets": "]" * SIZE,
    "bracket pairs": "[]" * (SIZE // 2),
    "nested brackets": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "links that do not end": "[a](" * (SIZE // 4),
    "links that do not end, angled": "[a](<b" * (SIZE // 6),
    "links with open titles": '[a](b "' * (SIZE // 7),
    "nested links": "[" * (SIZE // 20) + "a" + "](https://x.y/)" * (SIZE // 20),
    "brackets in targets": "[a](b()" * (SIZE // 7),
    "images": "![" * (SIZE // 2),
    "backticks": "`" * SIZE,
    "runs of backticks": "".join("a" + "`" * n for n in range(1, 440)),
    "fences": "```\n" * (SIZE // 4),
    "quotes": ">" * SIZE,
    "quotes and spaces": "> " * (SIZE // 2),
    "quotes by line": "".join(">" * n + " a\n" for n in range(1, 440)),
    "lists in a line": "- " * (SIZE // 2),
    "numbered lists in a line": "1. " * (SIZE // 3),
    "deep lists": "".join("  " * n + "- a\n" for n in range(440)),
    "many items": "- a\n" * (SIZE // 4),
    "items of two kinds": "- a\n+ b\n" * (SIZE // 8),
    "lists in quotes": "> - " * (SIZE // 4),
    "pipes": "|" * SIZE,
    "wide table": "|a" * (SIZE // 5) + "\n" + "|-" * (SIZE // 5) + "\n" + "|\n" * (SIZE // 10),
    "widest table": "|a" * 100 + "\n" + "|-" * 100 + "\n" + ("|a" * 100 + "\n") * (SIZE // 201),
    "long table": "|a|\n|-|\n" + "|\n" * (SIZE // 2),
    "tables": "|a|\n|-|\n" * (SIZE // 8),
    "backslashes": "\\" * SIZE,
    "ampersands": "&" * SIZE,
    "angles": "<" * SIZE,
    "angled addresses": "<https://" * (SIZE // 9),
    "addresses": "https://a " * (SIZE // 10),
    "brackets after an address": "https://a" + ")" * SIZE,
    "spaces": " " * SIZE + "a",
    "spaces in a heading": "# " + " " * SIZE + "#" * 100 + "x",
    "number signs": "#" * SIZE,
    "dashes": "-" * SIZE + "a",
    "spaced dashes": "- " * (SIZE // 2) + "a",
    "lines": "\n" * SIZE,
    "short lines": "a\n" * (SIZE // 2),
    "tabs": "\t" * SIZE + "a",
    "one word": "a" * SIZE,
    "emoji": "👩‍👩‍👧" * (SIZE // 8),
}


@pytest.mark.parametrize("name", HOSTS)
def test_no_text_takes_forever(page, stub, name):
    """The driver gives up after 20 s, and anything quadratic in 100 kB takes longer or crashes the tab."""
    text = HOSTS[name]
    stub.script.append(Reply(pieces=[text[: SIZE // 2], text[SIZE // 2 :], "\n\nThe end"]))
    page.send("Go")
    page.until(lambda: not page.shown("#stop"))
    assert page.js("return document.querySelector('.assistant .text').textContent").endswith("The end")
    depth = page.js(
        """let depth = 0;
        const walker = document.createTreeWalker(document.querySelector('.assistant .text'));
        for (let below = 0; ; depth = Math.max(depth, below)) {
          if (walker.firstChild()) { below += 1; continue; }
          while (!walker.nextSibling()) {
            if (!walker.parentNode()) return depth;
            below -= 1;
          }
        }"""
    )
    assert depth < 100


ATTACKS = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<svg/onload=pwned()>",
    "<svg><script>pwned()</script></svg>",
    "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>",
    "<body onload=pwned()>",
    "<details open ontoggle=pwned()>x</details>",
    "<input autofocus onfocus=pwned()>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=pwned()>",
    "<a href='javascript:pwned()'>x</a>",
    "<style>@import 'http://127.0.0.1:1/x.css';</style><link rel=stylesheet href=http://127.0.0.1:1/x.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:1/'>",
    "<base href=http://127.0.0.1:1/>",
    "[x](javascript:pwned())",
    "[x](JaVaScRiPt:pwned())",
    "[x](java\tscript:pwned())",
    "[x](<javascript:pwned()>)",
    "[x](&#106;avascript:pwned())",
    "[x](data:text/html;base64,PHNjcmlwdD5wd25lZCgpPC9zY3JpcHQ+)",
    "[x](vbscript:pwned())",
    "[x](blob:http://127.0.0.1/x)",
    '[x](https://a.b/"onmouseover="pwned())',
    "[x](https://a.b 'title\" onclick=\"pwned()')",
    "![x](http://127.0.0.1:1/x.png)",
    '![x](x"onerror="pwned())',
    '<https://a.b/"onclick=pwned()>',
    '```"onclick="pwned()\n</code></pre><script>pwned()</script>\n```',
    "``` <img/src=x/onerror=pwned()>\n```",
    "| <img src=x onerror=pwned()> |\n|---|\n| <script>pwned()</script> |",
    "1. <script>pwned()</script>\n   > <img src=x onerror=pwned()>",
    "`<script>pwned()</script>` **<script>pwned()</script>**",
    "</textarea><script>pwned()</script>",
    "</title><script>pwned()</script>",
    "{{constructor.constructor('pwned()')()}} ${pwned()} #{pwned()}",
    "\u202e<script>pwned()</script>\u0000",
]
ALLOWED = {
    "P",
    "BR",
    "EM",
    "STRONG",
    "S",
    "CODE",
    "PRE",
    "A",
    "UL",
    "OL",
    "LI",
    "BLOCKQUOTE",
    "HR",
    "DIV",
    "SPAN",
    "BUTTON",
    "svg",
    "use",
}
ALLOWED |= {"TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "H3", "H4", "H5", "H6"}


def check_inert(page):
    """Only elements and links that markup can make are in the messages; focus and pointers have been everywhere."""
    page.js(
        """for (const e of document.querySelectorAll('#messages *, #chats *, #title')) {
          for (const name of ['mouseover', 'focus', 'toggle', 'load', 'error']) e.dispatchEvent(new Event(name));
        }"""
    )
    names = page.js("return [...new Set([...document.querySelectorAll('#messages .text *')].map((e) => e.nodeName))]")
    assert set(names) <= ALLOWED
    links = page.js("return [...document.querySelectorAll('#messages a')].map((a) => a.protocol)")
    assert set(links) <= {"https:", "http:", "mailto:"}
    handlers = page.js(
        "return [...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on') || n === 'style')"
    )
    assert [name for name in handlers if name != "style"] == []
    assert page.violations() == []


def test_hostile_answers_and_messages_are_text(page, stub):
    for attack in ATTACKS:
        stub.script.append(Reply(attack))
        page.click("#new-chat")
        page.ask(attack)
        assert page.js("return document.querySelector('.user .text').textContent") == attack.strip()
        check_inert(page)
    page.reload()
    assert len(page.chats()) == len(ATTACKS)
    check_inert(page)


def test_hostile_names_models_and_errors_are_text(page, stub):
    attack = "<img src=x onerror=pwned()><script>pwned()</script>"
    stub.models = [attack, "other"]
    stub.script.append(Reply(status=400, error={"message": attack, "type": attack, "code": attack}))
    page.setting(system=attack)
    page.reload()
    page.ask("Hello")
    page.wait_text(".problem", attack)
    page.click("#chat-actions")
    page.click("#do-rename")
    page.fill("#name", attack)
    page.click("#rename .primary")
    page.wait_text("#title", attack)
    assert page.js("return document.title").startswith(attack)
    check_inert(page)


def test_hostile_stored_chats_are_text(page, stub):
    page.ask("Hello")
    chat = json.loads(
        page.js("return localStorage.getItem(Object.keys(localStorage).find((k) => k.startsWith('ingot.chat.')))")
    )
    for number, attack in enumerate(ATTACKS):
        chat["id"] = f"{number:024}"
        chat["name"] = attack
        chat["named"] = 1
        chat["__proto__"] = {"polluted": attack}
        user, answer = chat["messages"]
        user["text"] = answer["text"] = attack
        answer["stats"] = {"first": attack, "prompt": 5, "__proto__": 7}
        answer["problem"] = {"kind": "constructor", "text": attack}
        page.store(f"ingot.chat.{number:024}", chat)
    page.reload()
    assert len(page.chats()) == len(ATTACKS) + 1
    for number in range(len(ATTACKS)):
        page.browser.get(f"{stub.url}#{number:024}")
        page.until(lambda: page.shown(".problem"))
        check_inert(page)
    page.browser.get(f"{stub.url}#<img src=x onerror=pwned()>")
    check_inert(page)
