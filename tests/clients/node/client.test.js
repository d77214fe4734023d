/**
 * The official JavaScript client against `ingot serve`: its main paths. What the server does in detail is tested
 * in Python; here it matters that this client understands it.
 *
 *   npm ci && npm test
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import OpenAI from "openai";
import { start } from "./server.js";

const { client, model, stop, url, has } = await start();
after(stop);

/** Options of a test of something that a server may not have. */
const needs = (name) => ({ skip: !has(name) && `the server has no ${name}` });

const messages = [{ role: "user", content: "Tell me a story about a fox." }];
const chat = (more) => client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 40, ...more });

const lamp = {
  type: "function",
  function: {
    name: "switch_light",
    parameters: {
      type: "object",
      properties: { on: { type: "boolean" }, room: { enum: ["küche", "bath"] } },
      required: ["on", "room"],
      additionalProperties: false,
    },
  },
};

function checkArguments(text) {
  const given = JSON.parse(text);
  assert.deepEqual(Object.keys(given).sort(), ["on", "room"]);
  assert.equal(typeof given.on, "boolean");
  assert.ok(["küche", "bath"].includes(given.room));
}

test("models", async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("a chat", async () => {
  const answer = await chat();
  const [choice] = answer.choices;
  assert.equal(choice.message.role, "assistant");
  assert.ok(choice.message.content.trim());
  assert.equal(choice.finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 40);
});

test("seeds and several choices", async () => {
  const drawn = async () => (await chat({ n: 2, temperature: 1, seed: 7 })).choices.map((c) => c.message.content);
  const first = await drawn();
  assert.deepEqual(await drawn(), first);
  assert.notEqual(first[0], first[1]);
});

test("a stream", async () => {
  const whole = (await chat()).choices[0].message.content;
  let text = "";
  let usage, finish;
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole);
  assert.equal(finish, "length");
  assert.equal(usage.completion_tokens, 40);
});

test("the client's own gathering of a stream", async () => {
  const whole = (await chat()).choices[0].message.content;
  const stream = client.chat.completions.stream({ model, messages, temperature: 0, max_tokens: 40 });
  assert.equal(await stream.finalContent(), whole);
});

test("stop strings", async () => {
  const whole = (await chat()).choices[0].message.content;
  const stop = whole.slice(30, 36);
  const [choice] = (await chat({ stop: [stop] })).choices;
  assert.equal(choice.message.content, whole.slice(0, whole.indexOf(stop)));
  assert.equal(choice.finish_reason, "stop");
});

test("a tool", needs("tools"), async () => {
  const [choice] = (await chat({ tools: [lamp], tool_choice: "required", parallel_tool_calls: false, max_tokens: 200 }))
    .choices;
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.tool_calls.length, 1);
  assert.equal(choice.message.tool_calls[0].function.name, "switch_light");
  checkArguments(choice.message.tool_calls[0].function.arguments);
});

test("a tool in a stream", needs("tools"), async () => {
  const stream = client.chat.completions.stream({
    model, messages, max_tokens: 200, tools: [lamp], tool_choice: "required", parallel_tool_calls: false,
  });
  checkArguments((await stream.finalFunctionToolCall()).arguments);
});

test("an answer by a schema", needs("response_format"), async () => {
  const schema = lamp.function.parameters;
  const answer = await chat({
    max_tokens: 200,
    response_format: { type: "json_schema", json_schema: { name: "light", schema, strict: true } },
  });
  checkArguments(answer.choices[0].message.content);
});

test("logprobs", async () => {
  const [choice] = (await chat({ logprobs: true, top_logprobs: 2 })).choices;
  assert.equal(choice.logprobs.content.length, 40);
  const bytes = choice.logprobs.content.flatMap((entry) => entry.bytes);
  assert.equal(Buffer.from(bytes).toString(), choice.message.content);
  for (const { token, top_logprobs } of choice.logprobs.content) {
    assert.equal(top_logprobs.length, 2);
    assert.equal(top_logprobs[0].token, token);
  }
});

test("completions", async () => {
  const answer = await client.completions.create({ model, prompt: ["Once", "The owl"], max_tokens: 5, temperature: 0 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  assert.equal(answer.usage.completion_tokens, 10);
});

test("embeddings", needs("/v1/embeddings"), async () => {
  // The client asks for base64 by itself, and decodes it.
  const { data } = await client.embeddings.create({ model, input: ["a fox", "an owl"] });
  const plain = await client.embeddings.create({ model, input: "a fox", encoding_format: "float" });
  assert.equal(data.length, 2);
  assert.equal(data[0].embedding.length, plain.data[0].embedding.length);
  data[0].embedding.forEach((value, i) => assert.ok(Math.abs(value - plain.data[0].embedding[i]) < 1e-6));
});

test("errors", async () => {
  await assert.rejects(chat({ model: "gpt-9" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await assert.rejects(chat({ temperature: -1 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
  const long = [{ role: "user", content: "Once upon a time. ".repeat(5000) }];
  await assert.rejects(chat({ messages: long }), (e) => e.status === 400 && e.code === "context_length_exceeded");
  await assert.rejects(client.post("/nothing", { body: {} }), OpenAI.NotFoundError);
});

test("an aborted stream", async () => {
  const stream = await chat({ stream: true, max_tokens: 900, n: 4, temperature: 1, ignore_eos: true });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
  assert.ok(chunks < 4 * 900, `${chunks} chunks came`);
  for (let tries = 0; !(await idle()); tries++) {
    assert.ok(tries < 200, "it is still running");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

/** Whether no text is being written, by the server's own count. */
async function idle() {
  const page = await (await fetch(`${url}/metrics`)).text();
  const [, running] = page.match(/^ingot_running_sequences (\S+)$/m);
  return Number(running) === 0;
}
