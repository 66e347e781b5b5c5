// This package beside wllama (llama.cpp for WebAssembly) in one Chromium, by turns, on one model:
//   npm install --no-save @wllama/wllama
//   node bench/beside_wllama.mjs MODEL.gguf [THREADS [ROUNDS [PROMPT [ANSWER]]]]
// Tokens a second for a prompt of PROMPT (512) tokens and for ANSWER (64) generated ones, the
// medians of all rounds: by the clock, and by the processor time of the browser (on Linux), which a
// busy machine changes less. With several threads the latter also has what they wait for each
// other.

import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { serve } from "../test/server.mjs";

const [model, threads = "1", rounds = "9", prompt = "512", answer = "64"] = process.argv.slice(2);
const web = fileURLToPath(new URL("..", import.meta.url));
const wllama = path.resolve(process.env.WLLAMA ?? "node_modules/@wllama/wllama/esm");
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "ollm-bench-"));
const NAMES = ["ollm-web", "wllama"];
const WHATS = ["prefill", "decode"];

/** Seconds that the browser has computed, all its processes together. */
function computed() {
  if (!fs.existsSync("/proc")) return NaN;
  const processes = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const fields = fs.readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1).split(" ");
      return [{ id: Number(name), parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }];
    } catch {
      return []; // It has ended meanwhile.
    }
  });
  const sum = (id) => processes.filter((one) => one.parent === id).reduce((all, one) => all + one.ticks + sum(one.id), 0);
  const own = processes.find((one) => one.id === child.pid)?.ticks ?? 0;
  return (own + sum(child.pid)) / 100;
}

const speeds = Object.fromEntries(NAMES.map((name) => [name, Object.fromEntries(WHATS.map((what) => [what, []]))]));
let finish;
const done = new Promise((resolve) => (finish = resolve));
let start;
function heard(where, body) {
  if (where === "/done") finish(body);
  else if (where === "/begin") start = computed();
  else {
    const { name, what, tokens, seconds } = JSON.parse(body);
    const found = [tokens / seconds, tokens / (computed() - start)];
    speeds[name][what].push(found);
    console.log(`${name}, ${what}: ${found[0].toFixed(1)} tok/s by the clock, ${found[1].toFixed(1)} by processor time`);
  }
}

const server = await serve({ "/model/": path.dirname(model), "/wllama/": wllama, "/": web }, { heard });
const page = `http://127.0.0.1:${server.address().port}/bench/page.html`;
const asked = new URLSearchParams({ model: path.basename(model), threads, rounds, prompt, answer });
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`];
const child = spawn(process.env.CHROMIUM ?? "chromium", [...flags, `${page}?${asked}`], { stdio: "ignore" });
const failure = await done;
child.kill();
await new Promise((resolve) => child.once("exit", resolve));
server.closeAllConnections();
server.close();
fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
for (const what of failure ? [] : WHATS) {
  for (const [i, by] of ["the clock", "processor time"].entries()) {
    const [ours, theirs] = NAMES.map((name) => median(speeds[name][what].map((found) => found[i])));
    console.log(
      `threads: ${threads}; ${what} by ${by}: ${ours.toFixed(1)} beside ${theirs.toFixed(1)} tok/s, ${(ours / theirs).toFixed(2)} times`,
    );
  }
}
if (failure) throw new Error(failure);
