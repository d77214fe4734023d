// Short notices at the foot of the page, with something to do about them, and what is said to screen readers only.

import { byId, h, iconButton } from './dom.js';

const SHOWN_FOR = 2000; // milliseconds, and more for what has to be read or done
const A_LETTER = 80;
const AN_ACTION = 10_000;

/**
 * Shows a notice until it is closed or has been there for a while; a pointer or focus on it keeps it.
 * @param {string} text
 * @param {{label: string, act: () => void}} [action]
 */
export function notice(text, action) {
  const list = byId('notices');
  if ([...list.children].some((shown) => shown.firstChild.textContent === text)) return;
  const element = h('div', { class: 'notice' }, h('span', {}, text));
  const close = () => element.remove();
  if (action) {
    const button = h('button', { type: 'button' }, action.label);
    button.addEventListener('click', () => (close(), action.act()));
    element.append(button);
  }
  const cross = iconButton('close', 'Close this notice', null);
  cross.addEventListener('click', close);
  element.append(cross);
  list.append(element);
  const expire = () => (element.matches(':hover, :focus-within') ? setTimeout(expire, 2000) : close());
  setTimeout(expire, SHOWN_FOR + A_LETTER * text.length + (action ? AN_ACTION : 0));
}

/** Says something to screen readers when they have finished what they are saying. */
export function announce(text) {
  byId('announcer').append(h('p', {}, text));
}

/** Forgets what was announced, before something new begins. */
export function hush() {
  byId('announcer').replaceChildren();
}
