/**
 * One server for a file of tests: `ingot serve` with the model in the program, or the one that runs at INGOT_URL.
 */
import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const START_LIMIT = 60_000; // milliseconds

/** The program under test: what the variable INGOT names, or else what cargo built last. */
function program() {
  if (process.env.INGOT) return process.env.INGOT;
  const built = ["release", "debug"].map((profile) => `${ROOT}target/${profile}/ingot`).filter(existsSync);
  if (!built.length) throw new Error("no program: run `cargo build --release`, or set INGOT");
  return built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

/** Starts a server. Returns its URL, the official client for it, the model's name, a way to stop
 * it, and whether its description of itself has a path or a field. */
export async function start() {
  let url = process.env.INGOT_URL;
  let stop = async () => {};
  if (!url) {
    const child = spawn(program(), ["serve", "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    stop = () => (child.kill(), ended);
    url = await listening(child, ended).catch((e) => (child.kill("SIGKILL"), Promise.reject(e)));
  }
  // It does not try again: a test would not see what failed.
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 60_000 });
  const model = (await client.models.list()).data[0].id;
  const description = JSON.stringify(await (await fetch(`${url}/openapi.json`)).json());
  const has = (name) => description.includes(`"${name}":`);
  return { url, client, model, stop, has };
}

/** The address it prints, once it says there that it is well: it may listen before its model is there. */
async function listening(child, ended) {
  const log = [];
  let url;
  createInterface({ input: child.stderr }).on("line", (line) => {
    log.push(line);
    url ??= line.match(/listening on (http:\S+:\d+)/)?.[1];
  });
  let running = true;
  ended.then(() => (running = false));
  for (const end = Date.now() + START_LIMIT; running && Date.now() < end; ) {
    if (url && (await fetch(`${url}/health`).catch(() => undefined))?.ok) return url;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`did not start:\n${log.join("\n")}`);
}
