// Server-sent events, as far as the API uses them: the data of each event; comments and other fields are skipped.

const LONGEST_LINE = 8 << 20;

/**
 * Yields the data of each event of a response's body.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string>}
 * @throws {Error} when a line is longer than 8 MiB, or what reading the body throws
 */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      if (rest.length > LONGEST_LINE) throw new Error('a line of the stream is too long');
      for (const line of lines.map((text) => (text.endsWith('\r') ? text.slice(0, -1) : text))) {
        if (line.startsWith('data:')) {
          data.push(line.slice(line[5] === ' ' ? 6 : 5));
        } else if (line === '' && data.length > 0) {
          yield data.join('\n');
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already
  }
}
