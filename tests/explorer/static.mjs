// The option explorer without a server, in a real browser: a model from a file and from an address,
// the copy that the browser keeps, options, a branch, a vote, cancelling, a narrow screen. Measures
// the longest task of the page, and writes screenshots.
//
//     node static.mjs SITE MODEL PLUGIN CHROMIUM FOLDER
//
// SITE is what `ffi/web/explorer/build.sh` has made. Needs the package playwright-core, a Chromium,
// and `ffi/web/test/server.mjs` beside this file: see `make web-explorer-test`.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { chromium } from "playwright-core";

import { serve } from "./server.mjs";

const [site, model, plugin, executablePath, folder] = process.argv.slice(2);
const PROMPT = "Ann has 3 apples and buys 4 more. How many apples has she?";
const TOKENS = 16;
// A task of the page that takes longer is felt (RAIL); a busy machine may add to it.
const TASK = 200;

// A static host: every request is noted, and it can be turned off.
const asked = [];
const server = await serve({ "/models/": dirname(model), "/plugins/": dirname(plugin), "/": site }, {
  seen: (method, path) => asked.push(`${method} ${path}`),
});
const origin = `http://127.0.0.1:${server.address().port}`;
const profile = join(tmpdir(), `ollm-explorer-${process.pid}`);
const browser = await chromium.launchPersistentContext(profile, { executablePath, args: ["--no-sandbox"] });
const errors = [];

async function open(viewport) {
  const page = await browser.newPage();
  await page.setViewportSize(viewport);
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.addInitScript(() => {
    globalThis.tasks = [];
    const note = (list) => globalThis.tasks.push(...list.getEntries().map((entry) => entry.duration));
    new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
  });
  await page.goto(`${origin}/index.html`);
  return page;
}

const status = (page, text) => page.locator("#status").filter({ hasText: text }).waitFor({ timeout: 600_000 });
const tokens = (page) => page.locator("#text .token");

async function load(page, choose) {
  const start = performance.now();
  await choose();
  await page.locator("#load").click();
  await page.locator("#load-status").filter({ hasText: "Loaded." }).waitFor({ timeout: 600_000 });
  return performance.now() - start;
}

const fromFiles = (page) => async () => {
  await page.locator("#model-file").setInputFiles(model);
  await page.locator("#plugin-file").setInputFiles(plugin);
};
const fromAddresses = (page) => async () => {
  await page.locator("#model-url").fill(`${origin}/models/${basename(model)}`);
  await page.locator("#plugin-url").fill(`${origin}/plugins/${basename(plugin)}`);
};

async function generate(page) {
  await page.getByText("Settings").click();
  await page.locator("#limit").fill(String(TOKENS));
  await page.locator("#held").fill("4");
  await page.getByText("Settings").click();
  await page.locator("#prompt").fill(PROMPT);
  await page.locator("#run").click();
  await status(page, / tokens\./);
  return page.locator("#text").textContent();
}

const longest = async (page) => Math.max(0, ...(await page.evaluate(() => globalThis.tasks)));
const fetched = () => asked.filter((line) => line.startsWith("GET /models/")).length;

try {
  // Files of the user: nothing of them is asked of the host.
  const page = await open({ width: 1200, height: 800 });
  const ofFile = await load(page, fromFiles(page));
  assert.equal(fetched(), 0);
  const text = await generate(page);
  assert.ok((await tokens(page).count()) > 3, text);

  await tokens(page).nth(2).click();
  await status(page, "options of token 2");
  const options = page.locator("#options li");
  assert.ok((await options.count()) > 1);
  assert.ok((await options.first().locator(".said").textContent()).length > 0);
  await options.last().getByRole("button").click();
  await status(page, / tokens\./);
  assert.equal(await page.locator("#branches li").count(), 2);
  await page.locator("#vote").click();
  await status(page, "of the weight");
  await page.screenshot({ path: join(folder, "static.png"), fullPage: true });

  // Cancelling ends the answer: what is asked next does not wait for the rest of it.
  await page.getByText("Settings").click();
  await page.locator("#limit").fill("1500");
  await page.locator("#prompt").fill("Tell a very long story.");
  await page.locator("#hold").selectOption("token");
  await page.locator("#run").click();
  await tokens(page).nth(2).waitFor({ timeout: 600_000 });
  const start = performance.now();
  await page.locator("#cancel").click();
  await status(page, "Cancelled");
  await page.getByText("Settings").click();
  await page.locator("#hold").evaluate((hold) => (hold.value = ""));
  assert.equal(await generate(page), text);
  const next = performance.now() - start;
  const task = await longest(page);
  await page.close();

  // Addresses: fetched once, then read from the browser's own files, also in another page.
  const first = await open({ width: 1200, height: 800 });
  const ofAddress = await load(first, fromAddresses(first));
  assert.equal(fetched(), 1);
  assert.equal(await generate(first), text);
  await first.close();
  const phone = await open({ width: 360, height: 740 });
  const ofKept = await load(phone, fromAddresses(phone));
  assert.equal(fetched(), 1);
  assert.equal(await generate(phone), text);
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await phone.screenshot({ path: join(folder, "static-phone.png"), fullPage: true });

  // A page that is not cross-origin isolated, as of most static hosts: one thread, the same text.
  await phone.goto(`${origin}/plain/index.html`);
  assert.equal(await phone.evaluate(() => crossOriginIsolated), false);
  await load(phone, fromFiles(phone));
  assert.equal(await generate(phone), text);
  const taskOfPhone = await longest(phone);
  // A page that is blocked is seen to be.
  await phone.evaluate(() => {
    for (const end = performance.now() + 2 * 200; performance.now() < end;);
  });
  await phone.waitForFunction((task) => globalThis.tasks.some((one) => one > task), TASK);

  assert.deepEqual(errors, []);
  const ms = (time) => `${Math.round(time)} ms`;
  console.log(`loaded from a file in ${ms(ofFile)}, from an address in ${ms(ofAddress)}, as kept in ${ms(ofKept)}`);
  console.log(`cancelled, and another answer, in ${ms(next)}`);
  // Tasks of less than 50 ms are not told.
  console.log(`the longest task of the page: ${ms(Math.max(50, task, taskOfPhone))} at most`);
  assert.ok(Math.max(task, taskOfPhone) < TASK);
  console.log("the explorer without a server: all well");
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
