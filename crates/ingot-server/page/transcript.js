// The messages of a chat, one below the other, kept in view while they grow.

import { byId, h } from './dom.js';
import { grow, sendsOnEnter } from './composer.js';
import { MessageView } from './message.js';
import { announce } from './notices.js';

const NEAR = 48; // pixels: so close to the end counts as being there

export class Transcript {
  #list = byId('messages');
  #scroll = byId('scroll');
  /** @type {Map<import('./chat.js').Message, MessageView>} */
  #views = new Map();
  #chat = null;
  #answerOf;
  #atEnd = true;
  #frame = 0;
  #said = { message: null, parts: 0 };

  /**
   * @param {(chat: import('./chat.js').Chat) => import('./answer.js').Answer | undefined} answerOf the answer that is
   *   being written in a chat
   * @param {(action: string, message: object) => void} act does what a message's button says
   */
  constructor(answerOf, act) {
    this.#answerOf = answerOf;
    this.#list.addEventListener('click', ({ target }) => {
      const { action } = target.closest('[data-action]')?.dataset ?? {};
      const id = target.closest('.message')?.dataset.id;
      if (action === 'copy-code') act(action, target.closest('.code').querySelector('pre').textContent);
      else if (action) act(action, this.#chat.messages.get(id));
    });
    this.#scroll.addEventListener('scroll', () => this.#scrolled());
    new ResizeObserver(() => this.#follow()).observe(this.#scroll);
    byId('to-end').addEventListener('click', () => this.toEnd());
  }

  /** Shows a chat as it is now. */
  show(chat) {
    if (chat !== this.#chat) {
      this.#chat = chat;
      this.#views.clear();
      this.#list.replaceChildren();
      this.#atEnd = true;
    }
    const path = chat.path();
    path.forEach((message, index) => {
      const { element } = this.#update(message);
      const there = this.#list.children[index] ?? null;
      if (there !== element) this.#list.insertBefore(element, there);
    });
    while (this.#list.children.length > path.length) this.#list.lastChild.remove();
    byId('empty').hidden = path.length > 0;
    this.#follow();
    this.#say(path.at(-1));
  }

  /** Shows, with the next frame, how far the answer in this chat is, if it is the chat on the page. */
  refresh(chat) {
    if (chat !== this.#chat || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const message = this.#answerOf(this.#chat)?.message;
      if (!this.#views.has(message)) return; // the chat was changed for another meanwhile
      this.#update(message);
      this.#follow();
      this.#say(message);
    });
  }

  /** Moves the focus to a button of a message. */
  focus(message, action) {
    this.#views.get(message).focus(action);
  }

  /** Scrolls to the end, and stays there while messages grow. */
  toEnd() {
    this.#atEnd = true;
    this.#follow();
  }

  /**
   * Puts a field in the place of a message's text until it is sent or given up.
   * @param {(text: string) => void} send
   */
  edit(message, send) {
    const { element } = this.#views.get(message);
    if (element.querySelector('form')) return;
    const field = h('textarea', { 'aria-label': 'Edit message', rows: 1, dir: 'auto' });
    const cancel = h('button', { type: 'button' }, 'Cancel');
    const form = h('form', { class: 'edit' }, field, cancel, h('button', { class: 'primary' }, 'Send'));
    const close = () => {
      form.remove();
      element.classList.remove('editing');
      element.querySelector('[data-action=edit]').focus();
    };
    const submit = (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (!text) return;
      close();
      send(text);
    };
    form.addEventListener('submit', submit);
    cancel.addEventListener('click', close);
    field.addEventListener('input', () => grow(field));
    field.addEventListener('keydown', (event) => {
      if (sendsOnEnter(event)) submit(event);
      if (event.key !== 'Escape') return;
      event.preventDefault();
      event.stopPropagation(); // it would stop the answer
      close();
    });
    element.classList.add('editing');
    element.append(form);
    field.value = message.text;
    grow(field);
    field.focus();
  }

  #update(message) {
    let view = this.#views.get(message);
    if (!view) this.#views.set(message, (view = new MessageView(message)));
    const answer = this.#answerOf(this.#chat);
    const siblings = this.#chat.siblings(message);
    view.update({
      place: siblings.indexOf(message) + 1,
      versions: siblings.length,
      status: answer?.message === message ? answer.status : null,
      waiting: answer !== undefined,
    });
    return view;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    byId('to-end').hidden = this.#atEnd;
  }

  #follow() {
    if (this.#atEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#scrolled();
  }

  /** Tells screen readers what is finished of the answer: whole paragraphs, not tokens. */
  #say(message) {
    const writing = this.#answerOf(this.#chat)?.message;
    if (writing && writing !== this.#said.message) this.#said = { message: writing, parts: 0 };
    if (!message || message !== this.#said.message) return;
    const parts = this.#views.get(message).spoken();
    parts.slice(this.#said.parts).forEach(announce);
    this.#said.parts = Math.max(parts.length, this.#said.parts);
    if (message.end) this.#said.message = null;
  }
}
