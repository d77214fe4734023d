// The field for the next message. What was written but not sent is kept, for each chat, until the tab is closed.

import { byId } from './dom.js';

const NAME = 'ingot.draft.';

export class Composer {
  #input = byId('input');
  #drafts = new Map();
  #chat = '';

  /** @param {(text: string) => boolean} send says whether the text was taken */
  constructor(send) {
    const submit = () => {
      const text = this.#input.value.trim();
      if (text && send(text)) this.write('');
    };
    this.#input.addEventListener('keydown', (event) => sendsOnEnter(event) && (event.preventDefault(), submit()));
    this.#input.addEventListener('input', () => this.#keep());
    byId('composer').addEventListener('submit', (event) => (event.preventDefault(), submit()));
  }

  /** Shows what was written for this chat. */
  open(chat) {
    this.#chat = chat;
    let kept = this.#drafts.get(chat);
    try {
      kept ??= sessionStorage.getItem(NAME + chat);
    } catch {
      // The browser keeps nothing.
    }
    this.#input.value = kept ?? '';
    grow(this.#input);
  }

  /** Puts a text into the field. */
  write(text) {
    this.#input.value = text;
    this.#keep();
    this.focus();
  }

  /** Not on touch screens, where a keyboard would cover the answer. */
  focus() {
    if (!isTouch()) this.#input.focus();
  }

  #keep() {
    const { value } = this.#input;
    grow(this.#input);
    this.#drafts.set(this.#chat, value);
    try {
      if (value) sessionStorage.setItem(NAME + this.#chat, value);
      else sessionStorage.removeItem(NAME + this.#chat);
    } catch {
      // It is in `#drafts` as long as the page is open.
    }
  }
}

/** Enter sends, with Shift it makes a line; on touch screens, which have no Shift to hold, it makes a line. */
export function sendsOnEnter(event) {
  return event.key === 'Enter' && !event.shiftKey && !event.isComposing && !isTouch();
}

const isTouch = () => matchMedia('(pointer: coarse)').matches;

/** Makes a text field as high as its text, within what the style sheet allows. */
export function grow(field) {
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}
