// The settings: for all chats of this browser, from the next answer on. What is left empty is up to the server.

import { byId } from './dom.js';

const NAME = 'ingot.settings';
const SAMPLING = ['temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'max_tokens', 'seed'];
const THEMES = ['system', 'light', 'dark'];

let values = read();

export const systemPrompt = () => values.system;
export const chosenModel = () => values.model;

/** The sampling parameters that are set, as the request has them. */
export const sampling = () => ({ ...values.sampling });

export function chooseModel(id) {
  values.model = id;
  write();
}

/** Applies what was kept and makes the dialog work. */
export function setUp() {
  const form = byId('settings').querySelector('form');
  show(form);
  form.addEventListener('input', () => change(form));
  form.addEventListener('submit', (event) => (event.preventDefault(), byId('settings').close()));
  byId('reset').addEventListener('click', () => {
    values = { ...values, system: '', sampling: {} };
    write();
    show(form);
  });
  byId('settings').addEventListener('close', () => show(form)); // drops what was not valid
  window.addEventListener('storage', ({ key }) => {
    if (key !== NAME) return;
    values = read();
    if (!byId('settings').open) show(form);
  });
}

function change(form) {
  const { elements } = form;
  values.system = elements.system.value;
  values.theme = elements.theme.value;
  for (const name of SAMPLING) {
    const field = elements[name];
    if (!field.validity.valid) continue; // the field says so itself
    if (field.value === '') delete values.sampling[name];
    else values.sampling[name] = field.valueAsNumber;
  }
  document.documentElement.dataset.theme = values.theme;
  write();
}

function show({ elements }) {
  elements.system.value = values.system;
  elements.theme.value = values.theme;
  for (const name of SAMPLING) elements[name].value = values.sampling[name] ?? '';
  document.documentElement.dataset.theme = values.theme;
}

function read() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(NAME));
  } catch {
    // Nothing is kept, or not by this page: the defaults do.
  }
  const text = (value) => (typeof value === 'string' ? value : '');
  const numbers = Object.entries(kept?.sampling ?? {}).filter(
    ([name, of]) => SAMPLING.includes(name) && Number.isFinite(of),
  );
  return {
    system: text(kept?.system),
    model: text(kept?.model),
    theme: THEMES.includes(kept?.theme) ? kept.theme : 'system',
    sampling: Object.fromEntries(numbers),
  };
}

function write() {
  try {
    localStorage.setItem(NAME, JSON.stringify(values));
  } catch {
    // They hold until the tab is closed.
  }
}
