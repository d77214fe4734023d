// The API key: kept until the tab is closed, or in the browser if the user wants that.

import { byId } from './dom.js';

const NAME = 'ingot.key';
let current = '';
let asking = null;

try {
  current = sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? '';
} catch {
  // The browser keeps nothing: the key lives as long as the page.
}

export const apiKey = () => current;

/**
 * Asks for the key. Who asks while the question is there already gets the same answer.
 * @returns {Promise<boolean>} whether a key was given
 */
export function askForKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

function ask() {
  const dialog = byId('key-dialog');
  const input = byId('key');
  const opened = new AbortController();
  const { promise, resolve } = Promise.withResolvers();
  input.value = current;
  dialog.returnValue = '';
  dialog.showModal();
  const form = dialog.querySelector('form');
  form.addEventListener('submit', (event) => (event.preventDefault(), dialog.close('given')), {
    signal: opened.signal,
  });
  dialog.addEventListener(
    'close',
    () => {
      opened.abort();
      if (dialog.returnValue === 'given') keep(input.value.trim(), byId('keep-key').checked);
      input.value = '';
      resolve(dialog.returnValue === 'given' && current !== '');
    },
    { signal: opened.signal },
  );
  return promise;
}

function keep(key, always) {
  current = key;
  try {
    sessionStorage.removeItem(NAME);
    localStorage.removeItem(NAME);
    if (key) (always ? localStorage : sessionStorage).setItem(NAME, key);
  } catch {
    // As above.
  }
}
