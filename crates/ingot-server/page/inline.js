// Markdown inside of a line of text: emphasis, code, links. Nodes are made from text only, and links lead to web pages
// and mail addresses only. Takes time linear in the text, whatever the text.
//
// Differs from CommonMark: line breaks are kept; an asterisk next to a word always counts, punctuation or not, which
// languages without spaces need; images become links, so that nothing is loaded.

import { h } from './dom.js';

const SPECIAL = /[\\`*_~![\]<&\n]|\bhttps?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}]/u;
// Everything that repeats is bounded, so that a link without an end is not followed far.
const TARGET =
  /\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s()]|\([^\s()]{0,2000}\)){0,2000}))(?:\s{1,9}(?:"[^"]{0,999}"|'[^']{0,999}'))?\s{0,9}\)/y;
const ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"`[\]]{1,2000}/y;
const AFTER_LINKS = ".,:;!?*_~'";
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#39);/y;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', '#39': "'" };
/** So many delimiters wait for their ends at most; the oldest give up. Bounds time and how deep elements nest. */
const WAITING = 32;

/** Appends the text to the element, with its markup as elements, and gives the element back. */
export function inline(element, text) {
  return fill(element, new Scanner(text).scan());
}

/** Delimiters that may still open something: `count` of them are left, and are text if nothing closes them. */
class Opener {
  constructor(char, count, closes) {
    Object.assign(this, { char, count, closes, original: count });
  }
}

class Scanner {
  #text;
  #at = 0;
  /** @type {(string | Opener | Node)[]} what has been read */
  #out = [];
  /** @type {{opener: Opener, index: number}[]} openers and where in `#out` they are */
  #waiting = [];
  #ticks = null;

  constructor(text) {
    this.#text = text;
  }

  scan() {
    const text = this.#text;
    while (this.#at < text.length) {
      SPECIAL.lastIndex = this.#at;
      const next = SPECIAL.exec(text)?.index ?? text.length;
      if (next > this.#at) this.#out.push(text.slice(this.#at, next));
      this.#at = next;
      if (next < text.length) this.#special(text[next]);
    }
    return this.#out;
  }

  #special(char) {
    const text = this.#text;
    const next = text[this.#at + 1] ?? '';
    switch (char) {
      case '\n':
        return this.#put(h('br'), 1);
      case '\\':
        if (next === '\n') return this.#put(h('br'), 2);
        return PUNCTUATION.test(next) ? this.#put(next, 2) : this.#put(char, 1);
      case '`':
        return this.#code();
      case '*':
      case '_':
      case '~':
        return this.#delimiters(char);
      case '!':
        return next === '[' ? this.#open('![') : this.#put(char, 1);
      case '[':
        return this.#open('[');
      case ']':
        return this.#close();
      case '<': {
        const url = this.#match(ANGLED)?.[1];
        return url && isSafe(url) ? this.#put(link(url, [url]), url.length + 2) : this.#put(char, 1);
      }
      case '&': {
        const name = this.#match(ENTITY)?.[1];
        return name ? this.#put(ENTITIES[name], name.length + 2) : this.#put(char, 1);
      }
      default:
        return this.#bareLink();
    }
  }

  #put(piece, length) {
    this.#out.push(piece);
    this.#at += length;
  }

  #match(pattern) {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#text);
  }

  #run(char) {
    let end = this.#at;
    while (this.#text[end] === char) end += 1;
    return end - this.#at;
  }

  #code() {
    const length = this.#run('`');
    const start = this.#at + length;
    const end = this.#closingTicks(length, start);
    if (end === undefined) return this.#put('`'.repeat(length), length);
    const code = this.#text.slice(start, end).replaceAll('\n', ' ');
    const padded = code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '';
    this.#put(h('code', {}, padded ? code.slice(1, -1) : code), end + length - this.#at);
  }

  /** Where the next run of so many backticks begins. All runs are looked up once, and each is passed once. */
  #closingTicks(length, from) {
    if (!this.#ticks) {
      this.#ticks = new Map();
      for (const { 0: run, index } of this.#text.matchAll(/`+/g)) {
        if (!this.#ticks.has(run.length)) this.#ticks.set(run.length, { starts: [], next: 0 });
        this.#ticks.get(run.length).starts.push(index);
      }
    }
    const runs = this.#ticks.get(length);
    if (!runs) return undefined; // an escaped backtick split a run
    while (runs.starts[runs.next] < from) runs.next += 1;
    return runs.starts[runs.next];
  }

  #delimiters(char) {
    const text = this.#text;
    const length = this.#run(char);
    const before = text[this.#at - 1] ?? ' ';
    const after = text[this.#at + length] ?? ' ';
    this.#at += length;
    let opens = after.trim() !== '';
    let closes = before.trim() !== '';
    if (char === '_') [opens, closes] = [opens && !WORD.test(before), closes && !WORD.test(after)];
    if (char === '~' && length !== 2) opens = closes = false;
    const run = new Opener(char, length, closes);
    if (closes) this.#closeEmphasis(run, opens);
    if (run.count === 0) return;
    if (opens) this.#wait(run);
    else this.#out.push(char.repeat(run.count));
  }

  #closeEmphasis(run, opens) {
    while (run.count > 0) {
      const at = this.#waiting.findLastIndex(({ opener }) => matches(opener, run, opens));
      if (at < 0) return;
      const { opener, index } = this.#waiting[at];
      const used = Math.min(opener.count, run.count, 2);
      opener.count -= used;
      run.count -= used;
      const inner = this.#out.splice(index + 1);
      this.#out.push(fill(h(run.char === '~' ? 's' : used === 2 ? 'strong' : 'em'), inner));
      this.#waiting.length = opener.count > 0 ? at + 1 : at;
    }
  }

  #open(char) {
    this.#at += char.length;
    this.#wait(new Opener(char, 1, false));
  }

  #wait(opener) {
    if (this.#waiting.length === WAITING) this.#waiting.shift();
    this.#waiting.push({ opener, index: this.#out.length });
    this.#out.push(opener);
  }

  #close() {
    const at = this.#waiting.findLastIndex(({ opener }) => opener.char.endsWith('['));
    this.#at += 1;
    const target = at < 0 ? null : this.#match(TARGET);
    const url = target?.[1] ?? target?.[2] ?? '';
    if (!isSafe(url)) {
      if (at >= 0) this.#waiting.splice(at, 1);
      this.#out.push(']');
      return;
    }
    const { opener, index } = this.#waiting[at];
    const inner = this.#out.splice(index + 1);
    this.#out.pop();
    if (opener.char === '![') inner.unshift('Image: ');
    this.#put(link(url, inner), target[0].length);
    // There are no links in links: brackets around this one are text.
    this.#waiting = this.#waiting.slice(0, at).filter(({ opener: { char } }) => char !== '[');
  }

  #bareLink() {
    const [found] = this.#match(BARE) ?? [''];
    let url = trimEnd(found, AFTER_LINKS);
    // A bracket at the end belongs to the sentence, unless it was opened in the address.
    let unopened = found.split(')').length - found.split('(').length;
    for (; unopened > 0 && url.endsWith(')'); unopened -= 1) url = trimEnd(url.slice(0, -1), AFTER_LINKS);
    if (isSafe(url)) this.#put(link(url, [url]), url.length);
    else this.#put('h', 1);
  }
}

/** CommonMark's rule of three keeps `**a*b**` together. */
function matches(opener, run, opens) {
  if (opener.char !== run.char) return false;
  if (!opener.closes && !opens) return true;
  return (opener.original + run.original) % 3 !== 0 || opener.original % 3 === 0;
}

function link(url, inner) {
  const element = fill(h('a', { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' }), inner);
  for (const nested of element.querySelectorAll('a')) nested.replaceWith(...nested.childNodes);
  return element;
}

const isSafe = (url) => /^(?:https?:\/\/|mailto:)./i.test(url) && URL.canParse(url);

function trimEnd(text, chars) {
  let end = text.length;
  while (end > 0 && chars.includes(text[end - 1])) end -= 1;
  return text.slice(0, end);
}

/** Appends pieces to the element, neighbouring texts as one node. */
function fill(element, pieces) {
  let text = [];
  const flush = () => {
    const joined = text.join('');
    if (joined) element.append(joined);
    text = [];
  };
  for (const piece of pieces) {
    if (piece instanceof Node) {
      flush();
      element.append(piece);
    } else {
      text.push(piece instanceof Opener ? piece.char.repeat(piece.count) : piece);
    }
  }
  flush();
  return element;
}
