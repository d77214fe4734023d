// The chats that this browser keeps, in localStorage, an entry each. Several tabs may have the same store open: an
// entry is merged with what is there before it is written, and what other tabs write is taken over as it comes.

import { Chat } from './chat.js';

const PREFIX = 'ingot.chat.';
const SAVE_EVERY = 1000; // milliseconds, while an answer is being written

export class Store {
  /** @type {Map<string, Chat>} */
  chats = new Map();
  /** Called with the chat that another tab has changed. */
  onchange = () => {};
  /** Called with a message when chats cannot be read or kept. */
  ontrouble = () => {};
  #storage = null;
  #timers = new Map();
  #left = false;

  /** Reads all chats; set the callbacks before. */
  open() {
    try {
      this.#storage = window.localStorage; // throws where the user has forbidden it
    } catch {
      this.ontrouble('This browser does not let the page keep anything: chats are gone when the tab is closed.');
      return;
    }
    let unreadable = 0;
    for (const key of Object.keys(this.#storage).filter((name) => name.startsWith(PREFIX))) {
      const chat = this.#read(key);
      if (chat) this.chats.set(chat.id, chat);
      else unreadable += 1;
    }
    if (unreadable > 0) {
      this.ontrouble(`${unreadable} of the chats that this browser keeps cannot be read. They were left as they are.`);
    }
    window.addEventListener('storage', ({ key, newValue }) => this.#changed(key, newValue));
    // Leaving breaks off the answers, which is not to be kept as an error of the server.
    window.addEventListener('pagehide', () => {
      for (const chat of this.#timers.keys()) this.save(chat);
      this.#left = true;
    });
    window.addEventListener('pageshow', () => (this.#left = false));
  }

  /** Newest first. */
  list() {
    return [...this.chats.values()].sort((a, b) => b.updated - a.updated);
  }

  save(chat) {
    clearTimeout(this.#timers.get(chat));
    this.#timers.delete(chat);
    this.chats.set(chat.id, chat);
    if (!this.#storage || this.#left) return;
    const stored = this.#read(PREFIX + chat.id);
    try {
      if (stored) chat.absorb(stored);
      this.#storage.setItem(PREFIX + chat.id, JSON.stringify(chat));
    } catch {
      this.ontrouble(
        'The browser’s store is full: this chat is gone when the tab is closed. Export it, or delete old chats.',
      );
    }
  }

  /** Saves within a second, however often it is called. */
  saveSoon(chat) {
    if (!this.#timers.has(chat))
      this.#timers.set(
        chat,
        setTimeout(() => this.save(chat), SAVE_EVERY),
      );
  }

  remove(chat) {
    clearTimeout(this.#timers.get(chat));
    this.#timers.delete(chat);
    this.chats.delete(chat.id);
    this.#storage?.removeItem(PREFIX + chat.id);
  }

  #read(key) {
    try {
      const chat = Chat.read(JSON.parse(this.#storage.getItem(key)));
      return PREFIX + chat.id === key ? chat : null;
    } catch {
      return null;
    }
  }

  #changed(key, value) {
    if (!key?.startsWith(PREFIX)) return;
    const id = key.slice(PREFIX.length);
    const mine = this.chats.get(id);
    if (value === null) {
      this.chats.delete(id); // who has it open keeps it, and saves it again with the next message
      this.onchange(mine);
      return;
    }
    const theirs = this.#read(key);
    if (!theirs) return;
    if (!mine) {
      this.chats.set(id, theirs);
    } else {
      mine.absorb(theirs);
      // Both tabs wrote at once and the other was last: it did not see what is missing there.
      if (mine.messages.size > theirs.messages.size) this.save(mine);
    }
    this.onchange(this.chats.get(id));
  }
}
