// The server's API: which models there are, and chat completions as a stream of chunks.

import { events } from './sse.js';

/** What the server or the way to it refused. `status` is 0 when there was no answer at all. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryAfter?: number}} [details] `retryAfter` in seconds
   */
  constructor(message, { status = 0, code = '', retryAfter } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/**
 * The models that the server has.
 * @param {string} key API key, or '' for none
 * @returns {Promise<{id: string, context: number | undefined}[]>} `context` in tokens
 * @throws {ApiError}
 */
export async function models(key) {
  const response = await request('v1/models', { headers: headers(key) });
  const list = await response.json().catch(() => null);
  if (!Array.isArray(list?.data)) throw new ApiError('the list of models cannot be read', { status: response.status });
  return list.data.map(({ id, context_length: context }) => ({ id: String(id), context }));
}

/**
 * Asks for a chat completion.
 * @param {object} body the request, but for `stream`
 * @param {string} key API key, or '' for none
 * @param {AbortSignal} signal ends the request, on the server too
 * @returns {AsyncGenerator<object>} chunks as OpenAI's API has them
 * @throws {ApiError} also when the stream ends too early
 */
export async function* complete(body, key, signal) {
  const response = await request('v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  try {
    for await (const data of events(response.body)) {
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw refusal(chunk.error, chunk.error.status ?? 500);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError(error.message, { code: 'broken_stream' });
  }
  throw new ApiError('the stream ended early', { code: 'broken_stream' });
}

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(error.message);
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw refusal(error, response.status, response.headers.get('Retry-After'));
}

function refusal(error, status, retryAfter = null) {
  const message = typeof error?.message === 'string' ? error.message : `status ${status}`;
  return new ApiError(message, { status, code: error?.code ?? error?.type ?? '', retryAfter: seconds(retryAfter) });
}

/** Retry-After is a number of seconds or a date. */
function seconds(header) {
  if (header === null) return undefined;
  const wait = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(wait) ? wait : undefined;
}
