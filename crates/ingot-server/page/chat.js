// A chat: a tree of messages. Editing a message or asking for another answer adds a sibling, so nothing is ever lost.
// Which of several siblings is shown is remembered for each parent.

const ROOT = '';
const TITLE_LENGTH = 60;

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {string} parent id of the message before, '' for the first
 * @property {'user' | 'assistant'} role
 * @property {string} text
 * @property {number} revision grows with every change; of two copies the one with more is newer
 * @property {'' | 'stop' | 'length' | 'stopped' | 'error'} end why an answer ended; '' while it is being written
 * @property {{kind: string, text: string} | null} problem what went wrong
 * @property {Object<string, number>} stats tokens and seconds: prompt, cached, completion, first, writing, context
 */

/** A name that no other has. (`crypto.randomUUID` is missing where the page does not come over HTTPS.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export class Chat {
  id = newId();
  /** Given by the user; '' while the first message is the title. */
  name = '';
  named = 0;
  updated = Date.now();
  /** @type {Map<string, Message>} parents come before their children */
  messages = new Map();
  #children = new Map([[ROOT, []]]);
  #chosen = new Map();

  get title() {
    if (this.name) return this.name;
    const [first] = this.#children.get(ROOT);
    const line = first ? this.messages.get(first).text.trim().split('\n', 1)[0] : '';
    return (line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line) || 'New chat';
  }

  rename(name) {
    this.name = name.trim();
    this.named = Date.now();
  }

  /** Adds a message after `parent` (null: at the start) and shows it. */
  add(parent, role, text) {
    const message = {
      id: newId(),
      parent: parent?.id ?? ROOT,
      role,
      text,
      revision: 0,
      end: '',
      problem: null,
      stats: {},
    };
    this.#insert(message);
    this.choose(message);
    this.updated = Date.now();
    return message;
  }

  /** The messages that are shown, first to last; up to `last` if that is given. */
  path(last = null) {
    const path = [];
    for (let id = ROOT; ;) {
      const children = this.#children.get(id);
      if (children.length === 0 || id === last?.id) return path;
      id = this.#chosen.get(id) ?? children.at(-1);
      path.push(this.messages.get(id));
    }
  }

  /** The message and those that could be in its place, oldest first. */
  siblings(message) {
    return this.#children.get(message.parent).map((id) => this.messages.get(id));
  }

  choose(message) {
    this.#chosen.set(message.parent, message.id);
  }

  parent(message) {
    return this.messages.get(message.parent) ?? null;
  }

  /**
   * The conversation up to `last` as the API wants it. Answers that never began are left out, and what the user said
   * before and after them is joined, because many chat templates insist that turns alternate.
   */
  conversation(last, system) {
    const turns = system.trim() ? [{ role: 'system', content: system }] : [];
    for (const { role, text } of this.path(last)) {
      if (text === '') continue;
      if (turns.at(-1)?.role === role) turns.at(-1).content += `\n\n${text}`;
      else turns.push({ role, content: text });
    }
    return turns;
  }

  /** Takes over whatever another copy of this chat has that this one lacks or has in an older state. */
  absorb(other) {
    for (const message of other.messages.values()) {
      const mine = this.messages.get(message.id);
      if (!mine) this.#insert({ ...message });
      else if (message.revision > mine.revision) Object.assign(mine, message);
    }
    for (const [parent, child] of other.#chosen) {
      if (!this.#chosen.has(parent)) this.#chosen.set(parent, child);
    }
    if (other.named > this.named) ({ name: this.name, named: this.named } = other);
    this.updated = Math.max(this.updated, other.updated);
  }

  toJSON() {
    const { id, name, named, updated } = this;
    return { version: 1, id, name, named, updated, messages: [...this.messages.values()], chosen: [...this.#chosen] };
  }

  /** The messages that are shown, for people to read. */
  toMarkdown() {
    const parts = this.path().map(({ role, text }) => `**${role === 'user' ? 'You' : 'Answer'}**\n\n${text}\n`);
    return `# ${this.title}\n\n${parts.join('\n')}`;
  }

  /**
   * A chat from what `toJSON` gave. Whatever is not as it should be is refused: stored text is not to be trusted.
   * @throws {Error}
   */
  static read(value) {
    const chat = new Chat();
    chat.id = text(value.id);
    if (!/^[0-9a-f]{24}$/.test(chat.id) || value.version !== 1) throw new Error('not a chat');
    chat.name = text(value.name);
    chat.named = number(value.named);
    chat.updated = number(value.updated);
    for (const each of value.messages) {
      const { kind, text: problem } = each.problem ?? {};
      chat.#insert({
        id: text(each.id),
        parent: text(each.parent),
        role: each.role === 'user' ? 'user' : 'assistant',
        text: text(each.text),
        revision: number(each.revision),
        end: text(each.end),
        problem: each.problem ? { kind: text(kind), text: text(problem) } : null,
        stats: Object.fromEntries(Object.entries(each.stats ?? {}).filter(([, value]) => Number.isFinite(value))),
      });
    }
    for (const [parent, child] of value.chosen) {
      if (chat.messages.get(child)?.parent === parent) chat.#chosen.set(parent, child);
    }
    return chat;
  }

  #insert(message) {
    // A parent has to be there already, so there are no circles.
    if (this.#children.has(message.id) || !this.#children.has(message.parent)) throw new Error('messages do not fit');
    this.messages.set(message.id, message);
    this.#children.set(message.id, []);
    this.#children.get(message.parent).push(message.id);
  }
}

function text(value) {
  if (typeof value !== 'string') throw new Error('not a text');
  return value;
}

function number(value) {
  if (!Number.isFinite(value)) throw new Error('not a number');
  return value;
}
