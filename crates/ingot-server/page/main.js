// The chat page: what happens when the user does something.

import { Answer } from './answer.js';
import { models } from './api.js';
import { Chat } from './chat.js';
import { Composer } from './composer.js';
import { byId, copyText, download, h } from './dom.js';
import { apiKey, askForKey } from './key.js';
import { hush, notice } from './notices.js';
import * as settings from './settings.js';
import * as sidebar from './sidebar.js';
import { Store } from './store.js';
import { Transcript } from './transcript.js';

const ASK_AGAIN = 4000; // milliseconds until a server that was not there is asked again for its models

const store = new Store();
/** The answers that are being written, by chat. */
const answers = new Map();
let current = new Chat();
let known = []; // the server's models

const transcript = new Transcript((chat) => answers.get(chat), act);
const composer = new Composer(send);

// What the page shows

function refresh() {
  sidebar.list(store.list(), current, (chat) => answers.has(chat));
  transcript.show(current);
  const answering = answers.has(current);
  byId('send').hidden = answering;
  byId('stop').hidden = !answering;
  byId('title').textContent = current.title;
  byId('chat-actions').hidden = current.messages.size === 0;
  document.title = current.messages.size === 0 ? 'ingot' : `${current.title} · ingot`;
}

/** Shows the chat that the address names, or an empty one. */
function open() {
  const id = location.hash.slice(1);
  if (id !== current.id || !id) current = store.chats.get(id) ?? new Chat();
  hush();
  composer.open(store.chats.has(current.id) ? current.id : 'new');
  refresh();
}

function newChat() {
  sidebar.closeDrawer();
  history.pushState(null, '', location.pathname);
  open();
  composer.focus();
}

// Messages

function send(text) {
  if (answers.has(current)) return false;
  ask(current.path().at(-1) ?? null, text);
  return true;
}

/** Adds what the user says after `parent` and has it answered. */
function ask(parent, text) {
  const chat = current;
  const first = chat.messages.size === 0;
  const question = chat.add(parent, 'user', text);
  if (first) {
    composer.write('');
    store.save(chat);
    history.replaceState(null, '', `#${chat.id}`);
    composer.open(chat.id);
  }
  answer(chat, chat.add(question, 'assistant', ''));
}

/** Has the server write this message. */
async function answer(chat, message) {
  const writer = new Answer(message, () => {
    transcript.refresh(chat);
    if (store.chats.has(chat.id)) store.saveSoon(chat); // it may have been deleted meanwhile
  });
  answers.set(chat, writer);
  hush();
  transcript.toEnd();
  store.save(chat);
  const body = async () => {
    if (known.length === 0) await findModels();
    const messages = chat.conversation(message, settings.systemPrompt());
    return { model: byId('model').value, messages, ...settings.sampling() };
  };
  const written = writer.run(body, apiKey, askForKey);
  refresh();
  await written;
  const { context } = known.find(({ id }) => id === byId('model').value) ?? {};
  if (context) message.stats.context = context;
  answers.delete(chat);
  if (store.chats.has(chat.id)) store.save(chat);
  refresh();
}

function act(action, message) {
  const answering = answers.has(current);
  if (action === 'copy' || action === 'copy-code') {
    copyText(action === 'copy' ? message.text : message).then(
      () => notice('Copied.'),
      (error) => notice(`Could not copy: ${error.message}.`),
    );
  } else if (action === 'new-chat') {
    newChat();
  } else if (answering) {
    return; // one answer at a time
  } else if (action === 'edit') {
    transcript.edit(message, (text) => {
      ask(current.parent(message), text);
      composer.focus();
    });
  } else if (action === 'edit-question') {
    act('edit', current.parent(message));
  } else if (action === 'regenerate' || (action === 'retry' && message.text)) {
    answer(current, current.add(current.parent(message), 'assistant', ''));
    composer.focus();
  } else if (action === 'retry') {
    retry(current, message);
  } else if (action === 'previous' || action === 'next') {
    const siblings = current.siblings(message);
    const other = siblings[siblings.indexOf(message) + (action === 'next' ? 1 : -1)];
    current.choose(other);
    store.save(current);
    refresh();
    transcript.focus(other, action);
  }
}

async function retry(chat, message) {
  if (message.problem.kind === 'key' && !(await askForKey())) return;
  answer(chat, message);
}

// Chats

function remove() {
  const chat = current;
  answers.get(chat)?.stop();
  store.remove(chat);
  newChat();
  const undo = () => {
    store.save(chat);
    location.hash = chat.id;
  };
  notice('Chat deleted.', { label: 'Undo', act: undo });
}

function rename() {
  const dialog = byId('rename');
  byId('name').value = current.title;
  dialog.showModal();
  byId('name').select();
}

function save(type) {
  const name = current.title.replace(/[^\p{L}\p{N} -]/gu, '').trim() || 'chat';
  if (type === 'json') download(`${name}.json`, 'application/json', JSON.stringify(current, null, 1));
  else download(`${name}.md`, 'text/markdown', current.toMarkdown());
}

// The server

/** Asks the server for its models. */
async function findModels() {
  const select = byId('model');
  try {
    known = await models(apiKey());
  } catch (error) {
    byId('server').textContent = error.status === 401 ? 'API key needed' : 'Server not reachable';
    return error;
  }
  byId('server').textContent = '';
  select.replaceChildren(...known.map(({ id }) => h('option', {}, id)));
  select.disabled = known.length < 2;
  if (known.some(({ id }) => id === settings.chosenModel())) select.value = settings.chosenModel();
  select.hidden = false;
  return null;
}

/** Asks until there is an answer; for an API key if the server wants one and the user has not been asked. */
async function connect() {
  const error = await findModels();
  if (error?.status !== 401 && error) setTimeout(connect, ASK_AGAIN);
  else if (error && (await askForKey())) connect();
}

// Wiring

function onClick(id, does) {
  byId(id).addEventListener('click', () => {
    byId('chat-menu').hidePopover();
    does();
  });
}

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    newChat();
  } else if (event.key === 'Escape' && !event.isComposing && !document.querySelector('dialog[open], :popover-open')) {
    if (!sidebar.closeDrawer()) answers.get(current)?.stop();
  }
}

onClick('new-chat', newChat);
onClick('stop', () => (answers.get(current)?.stop(), composer.focus()));
onClick('open-settings', () => byId('settings').showModal());
onClick('change-key', () => askForKey().then((given) => given && connect()));
onClick('do-rename', rename);
onClick('do-delete', remove);
onClick('save-markdown', () => save('markdown'));
onClick('save-json', () => save('json'));
for (const button of document.querySelectorAll('dialog [data-close]')) {
  button.addEventListener('click', () => button.closest('dialog').close());
}
byId('rename').addEventListener('submit', (event) => {
  event.preventDefault();
  byId('rename').close();
  current.rename(byId('name').value);
  store.save(current);
  refresh();
});
byId('model').addEventListener('change', ({ target }) => settings.chooseModel(target.value));
byId('suggestions').addEventListener('click', ({ target }) => {
  if (target.dataset.text) composer.write(target.dataset.text);
});
byId('chats').addEventListener('click', () => sidebar.closeDrawer());
document.addEventListener('keydown', onKey);
window.addEventListener('hashchange', open);
window.addEventListener('popstate', open);
store.onchange = (chat) => {
  if (!answers.has(current) || chat !== current) refresh();
};
store.ontrouble = notice;

settings.setUp();
sidebar.setUp();
store.open();
open();
connect();
composer.focus();
