// One answer: asks the server, writes what comes into a message, tries again when the server is busy, and says what
// went wrong in words that help.

import { ApiError, complete } from './api.js';

const TRIES = 5;
const LONGEST_WAIT = 60; // seconds

export class Answer {
  /** What is going on while there is no text yet, for people to read. */
  status = '';
  /** Where the answer goes. */
  message;
  #abort = new AbortController();
  #changed;

  /**
   * @param {import('./chat.js').Message} message
   * @param {() => void} changed called after every change of the message or the status
   */
  constructor(message, changed) {
    this.message = message;
    this.#changed = changed;
  }

  stop() {
    this.#abort.abort();
  }

  /**
   * Runs until the answer has ended, however that may be; never throws.
   * @param {() => Promise<object>} body makes the request, anew for every try
   * @param {() => string} key gives the API key
   * @param {() => Promise<boolean>} askForKey asks the user for another key; false if there is none
   */
  async run(body, key, askForKey) {
    Object.assign(this.message, { text: '', end: '', problem: null, stats: {} });
    for (let attempt = 1; this.message.end === '';) {
      try {
        this.#set('Waiting for the first token…');
        await this.#stream(await body(), key());
      } catch (error) {
        const unanswered = this.message.text === '';
        if (this.#abort.signal.aborted) {
          this.message.end = 'stopped';
        } else if (unanswered && busy(error) && attempt < TRIES) {
          attempt += 1;
          await this.#wait(error.retryAfter ?? 2 ** attempt, attempt);
        } else if (!(error.status === 401 && (await askForKey()))) {
          this.message.problem = explain(error, unanswered);
          this.message.end = 'error';
        }
      }
    }
    this.#set('');
  }

  async #stream(body, key) {
    const message = this.message;
    const asked = performance.now();
    let first = 0;
    let last = 0;
    let end = '';
    for await (const { choices, usage } of complete(body, key, this.#abort.signal)) {
      const text = choices?.[0]?.delta?.content;
      if (text) {
        last = performance.now();
        if (!first) {
          first = last;
          message.stats.first = (first - asked) / 1000;
        }
        message.text += text;
        message.stats.writing = (last - first) / 1000;
        this.#set('');
      }
      end = choices?.[0]?.finish_reason ?? end;
      if (usage) {
        message.stats.prompt = usage.prompt_tokens;
        message.stats.completion = usage.completion_tokens;
        message.stats.cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
      }
    }
    message.end = end === 'length' ? 'length' : 'stop';
  }

  async #wait(seconds, attempt) {
    const { signal } = this.#abort;
    for (let left = Math.ceil(Math.min(Math.max(seconds, 1), LONGEST_WAIT)); left > 0 && !signal.aborted; left -= 1) {
      this.#set(`The server is busy. Trying again in ${left} s (try ${attempt} of ${TRIES}).`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1000);
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }

  #set(status) {
    this.status = status;
    this.message.revision += 1;
    this.#changed();
  }
}

const busy = (error) => error.status === 503 || error.status === 429;

/** What went wrong and what to do about it. */
function explain(error, unanswered) {
  const { status, code, message } = error;
  const says = `The server says: ${message}`;
  if (!(error instanceof ApiError)) return { kind: 'page', text: `Something went wrong in this page: ${message}` };
  if (status === 401) return { kind: 'key', text: `The server wants an API key, and refused what it got. ${says}` };
  if (busy(error))
    return { kind: 'busy', text: `The server is still busy after ${TRIES} tries. Try again in a while.` };
  if (code === 'context_length_exceeded') {
    const todo = 'Shorten the message, edit an earlier one, or start a new chat.';
    return { kind: 'context', text: `This chat is longer than the model can read. ${todo} ${says}` };
  }
  if (status >= 500) return { kind: 'server', text: `The server failed. ${says}` };
  if (status > 0) return { kind: 'request', text: `The server refused the request (status ${status}). ${says}` };
  if (code === 'broken_stream' && !unanswered) {
    return { kind: 'offline', text: 'The connection broke before the answer was complete. What had come is kept.' };
  }
  return { kind: 'offline', text: 'The server cannot be reached. Is it running? Your message is kept.' };
}
