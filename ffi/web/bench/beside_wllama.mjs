// This package beside wllama (llama.cpp for WebAssembly) in one Chromium, by turns, on one model:
//   npm install --no-save @wllama/wllama
//   node bench/beside_wllama.mjs MODEL.gguf [THREADS [ROUNDS]]
// Tokens a second for a prompt of 512 tokens and for 64 generated ones, the medians of all rounds.

import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { serve } from "../test/server.mjs";

const [model, threads = "1", rounds = "9"] = process.argv.slice(2);
const web = fileURLToPath(new URL("..", import.meta.url));
const wllama = path.resolve(process.env.WLLAMA ?? "node_modules/@wllama/wllama/esm");
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "ollm-bench-"));
const done = Promise.withResolvers?.() ?? {};
done.promise ??= new Promise((resolve) => (done.resolve = resolve));
const folders = { "/model/": path.dirname(model), "/wllama/": wllama, "/": web };
const server = await serve(folders, {
  heard: (where, body) => (where === "/done" ? done.resolve() : console.log(body)),
});
const page = `http://127.0.0.1:${server.address().port}/bench/page.html`;
const asked = new URLSearchParams({ model: path.basename(model), threads, rounds });
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`];
const child = spawn(process.env.CHROMIUM ?? "chromium", [...flags, `${page}?${asked}`], { stdio: "ignore" });
await done.promise;
child.kill();
await new Promise((resolve) => child.once("exit", resolve));
server.closeAllConnections();
server.close();
fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
