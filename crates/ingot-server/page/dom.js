// Elements, made without ever reading HTML: what goes in as text stays text.

/**
 * An element with attributes and children. An attribute that is null or false is left out.
 * @param {string} tag
 * @param {Object<string, string | number | boolean | null>} [attributes]
 * @param {...(Node | string | Node[])} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) element.append(child);
  return element;
}

/** One of the pictures that index.html defines. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** A button that shows a picture; `data-action` says what it does. */
export function iconButton(name, label, action) {
  const button = h('button', {
    type: 'button',
    class: 'icon',
    'aria-label': label,
    title: label,
    'data-action': action,
  });
  button.append(icon(name));
  return button;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Puts text on the clipboard; also where the page does not come over HTTPS, and the clipboard's API is missing. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h('textarea', { class: 'unseen', 'aria-hidden': 'true' });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  if (!copied) throw new Error('the browser refused');
}

/** Offers a file to be saved. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
}
