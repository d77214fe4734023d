// Markdown that grows: of a text that was shown before and now goes on, only the last blocks are read again, and of
// those only the nodes that differ are changed, so that selected text stays selected.

import { blocks } from './markdown.js';

export class LiveMarkdown {
  #element;
  #text = '';
  /** Where in the text each block begins. */
  #starts = [];

  constructor(element) {
    this.#element = element;
  }

  /** Shows this text. */
  show(text) {
    if (text === this.#text) return;
    // Appended text can change the block that it ends, and the one before by joining it.
    const kept = text.startsWith(this.#text) ? Math.max(this.#starts.length - 2, 0) : 0;
    const from = this.#starts[kept] ?? 0;
    const lines = text.slice(from).split('\n');
    const offsets = [];
    let offset = from;
    for (const line of lines) {
      offsets.push(offset);
      offset += line.length + 1;
    }
    const fresh = blocks(lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line)));
    this.#starts = this.#starts.slice(0, kept).concat(fresh.map(({ line }) => offsets[line]));
    this.#text = text;
    update(
      this.#element,
      kept,
      fresh.map(({ node }) => node),
    );
  }
}

/** Makes the element's children from the `from`th on like `fresh`. */
function update(element, from, fresh) {
  let old = element.childNodes[from] ?? null;
  for (const node of fresh) {
    const next = old?.nextSibling ?? null;
    if (old) become(old, node);
    else element.append(node);
    old = next;
  }
  while (element.childNodes.length > from + fresh.length) element.lastChild.remove();
}

function become(old, fresh) {
  if (old.nodeName !== fresh.nodeName || !sameAttributes(old, fresh)) {
    old.replaceWith(fresh);
  } else if (old instanceof Text) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
  } else {
    update(old, 0, [...fresh.childNodes]);
  }
}

function sameAttributes(old, fresh) {
  const a = [...(old.attributes ?? [])];
  return (
    a.length === (fresh.attributes ?? []).length && a.every(({ name, value }) => fresh.getAttribute(name) === value)
  );
}
