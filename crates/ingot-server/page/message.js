// One message on the page: the text, what can be done with it, what it cost, what went wrong.

import { h, iconButton } from './dom.js';
import { LiveMarkdown } from './live.js';

/** What can be done about a kind of problem. */
const ACTIONS_ON = new Map([
  ['key', [['retry', 'Enter the API key']]],
  [
    'context',
    [
      ['edit-question', 'Edit the message'],
      ['new-chat', 'New chat'],
    ],
  ],
]);
const TRY_AGAIN = [['retry', 'Try again']];
const ENDS = new Map([
  ['', 'Not finished'],
  ['length', 'Cut off: the answer may not get longer'],
  ['stopped', 'Stopped'],
]);

export class MessageView {
  element;
  #message;
  #text = h('div', { class: 'text', dir: 'auto' });
  #markdown = null;
  #status = h('p', { class: 'status' });
  #problem = h('div', { class: 'problem' });
  #versions = h('span', { class: 'versions' });
  #version = h('span');
  #stats = h('span', { class: 'stats' });
  #shown = null;

  /** @param {import('./chat.js').Message} message */
  constructor(message) {
    this.#message = message;
    const mine = message.role === 'user';
    if (!mine) this.#markdown = new LiveMarkdown(this.#text);
    this.#versions.append(
      iconButton('left', 'Previous version', 'previous'),
      this.#version,
      iconButton('right', 'Next version', 'next'),
    );
    const buttons = h('div', { class: 'buttons' }, this.#versions, iconButton('copy', 'Copy message', 'copy'));
    buttons.append(
      mine ? iconButton('edit', 'Edit message', 'edit') : iconButton('again', 'Another answer', 'regenerate'),
    );
    buttons.append(this.#stats);
    this.element = h(
      'li',
      { class: `message ${message.role}`, 'data-id': message.id },
      h('h2', { class: 'unseen' }, mine ? 'You said' : 'Answer'),
      this.#text,
      this.#status,
      this.#problem,
      buttons,
    );
  }

  /** The finished parts of the text, for screen readers; when the answer has ended all, and what went wrong. */
  spoken() {
    const { end, problem } = this.#message;
    const parts = [...this.#text.children].map((part) =>
      part.classList.contains('code') ? 'Code.' : part.textContent,
    );
    if (!end) return parts.slice(0, -2);
    return problem ? [...parts, problem.text] : parts;
  }

  /** Moves the focus to one of the buttons. */
  focus(action) {
    const buttons = [action, 'previous', 'next'].map((each) => this.element.querySelector(`[data-action=${each}]`));
    buttons.find((button) => !button.disabled)?.focus();
  }

  /**
   * Brings the view up to date.
   * @param {{place: number, versions: number, status: string | null, waiting: boolean}} state which of how many
   *   versions this is; what the answer waits for, null if it is not being written; whether any is being written in
   *   this chat
   */
  update({ place, versions, status, waiting }) {
    const { text, end, problem, stats, role } = this.#message;
    if (this.#markdown) this.#markdown.show(text);
    else if (this.#text.textContent !== text) this.#text.textContent = text;
    this.element.classList.toggle('writing', status !== null);
    this.#status.textContent = status ?? (role === 'assistant' ? (ENDS.get(end) ?? '') : '');
    this.#version.textContent = `${place}/${versions}`;
    this.#versions.hidden = versions < 2;
    this.#stats.textContent = status === null ? describe(stats) : '';
    for (const button of this.element.querySelectorAll(':scope > .buttons button')) {
      const { action } = button.dataset;
      button.disabled =
        (waiting && action !== 'copy') ||
        (action === 'previous' && place === 1) ||
        (action === 'next' && place === versions);
    }
    this.#showProblem(problem);
  }

  #showProblem(problem) {
    if (problem === this.#shown) return;
    this.#shown = problem;
    const actions = problem ? (ACTIONS_ON.get(problem.kind) ?? TRY_AGAIN) : [];
    this.#problem.replaceChildren(
      ...(problem ? [h('p', {}, problem.text)] : []),
      ...actions.map(([action, label]) => h('button', { type: 'button', 'data-action': action }, label)),
    );
  }
}

const speed = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

/** Speed, counts and times of an answer, as far as they are known. */
function describe({ prompt, cached, completion, first, writing, context }) {
  const parts = [];
  const count = (number, what) => `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`;
  // The first token comes out of reading the prompt, so it does not count towards the speed of writing.
  if (completion > 1 && writing > 0) parts.push(`${speed.format((completion - 1) / writing)} tokens/s`);
  if (completion !== undefined) parts.push(count(completion, 'token'));
  if (first !== undefined) parts.push(`first after ${first < 10 ? first.toFixed(2) : first.toFixed(0)} s`);
  if (prompt !== undefined)
    parts.push(`prompt ${prompt.toLocaleString('en')}${cached ? `, ${cached.toLocaleString('en')} cached` : ''}`);
  if (context && prompt !== undefined)
    parts.push(`${Math.ceil((100 * (prompt + completion)) / context)} % of the context`);
  return parts.join(' · ');
}
