// The option explorer in a real browser: typing, branching, voting, cancelling, reload, an error of
// the server, a narrow screen, the keyboard, a trace. Writes screenshots.
//
//     node test.mjs OLLM_RUN MODEL PLUGIN CHROMIUM FOLDER
//
// Needs the package playwright-core, and a Chromium.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [ollmRun, model, plugin, executablePath, folder] = process.argv.slice(2);
const files = ["-m", model, "--plugin", plugin];
const PROMPT = "Ann has 3 apples and buys 4 more. How many apples has she?";

async function serve(...args) {
  const server = spawn(ollmRun, ["serve", ...files, "--port", "0", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(server.stdout, "data");
  return { server, url: String(line).trim().split(" ").pop() };
}

const { server, url } = await serve();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const errors = [];

async function open(viewport, more = {}) {
  const page = await browser.newPage({ viewport, ...more });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("status of 4")) errors.push(message.text());
  });
  return page;
}

const status = (page, text) => page.locator("#status").filter({ hasText: text }).waitFor({ timeout: 120_000 });
const tokens = (page) => page.locator("#text .token");

async function generate(page, limit) {
  await page.getByText("Settings").click();
  await page.locator("#limit").fill(String(limit));
  await page.getByText("Settings").click();
  await page.locator("#prompt").fill(PROMPT);
  await page.locator("#run").click();
  await status(page, / tokens\./);
}

try {
  const page = await open({ width: 1200, height: 800 });
  await page.goto(url);
  await page.locator("#model").filter({ hasText: "options" }).waitFor();

  // Typing.
  await generate(page, 24);
  const first = await tokens(page).count();
  assert.ok(first > 3, `${first} tokens`);

  // The keyboard alone: from the first token to the fourth, whose options are shown.
  await tokens(page).first().focus();
  for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => [...document.querySelectorAll(".token")].indexOf(document.activeElement)), 3);
  assert.equal(await page.locator('#text [tabindex="0"]').count(), 1);
  await page.keyboard.press("Enter");
  await status(page, "options of token 3");
  const options = page.locator("#options li");
  assert.ok((await options.count()) > 1);
  assert.ok((await options.first().locator(".said").textContent()).length > 0);
  await page.screenshot({ path: join(folder, "explorer.png") });

  // Branching: another option opens a branch, whose text is that of the first up to the place.
  await options.last().getByRole("button").click();
  await status(page, / tokens\./);
  assert.equal(await page.locator("#branches li").count(), 2);
  assert.equal(await page.locator('#branches [aria-current="true"]').count(), 1);
  await page.locator("#branches button").first().click();
  assert.equal(await tokens(page).count(), first);

  // Voting.
  await page.locator("#vote").click();
  await status(page, "of the weight");
  assert.ok(await page.locator("#votes li").count());
  await page.screenshot({ path: join(folder, "explorer-vote.png") });

  // Cancelling.
  await page.locator("#prompt").fill("Tell a very long story.");
  await page.getByText("Settings").click();
  await page.locator("#limit").fill("1500");
  await page.locator("#run").click();
  await tokens(page).nth(2).waitFor();
  await page.locator("#cancel").click();
  await status(page, "Cancelled");

  // An error of the server.
  await page.locator("#mode").fill("nonsense");
  await page.locator("#run").click();
  await status(page, "no way to select a latent");
  assert.ok(await page.locator("#status.error").count());
  await page.locator("#mode").fill("policy");

  // Reload: what was typed is there.
  await page.locator("#prompt").fill("kept");
  await page.locator("#prompt").blur();
  await page.reload();
  assert.equal(await page.locator("#prompt").inputValue(), "kept");

  // A narrow screen, and dark: nothing is wider than the screen.
  const phone = await open({ width: 360, height: 740 }, { colorScheme: "dark" });
  await phone.goto(url);
  await phone.locator("#model").filter({ hasText: "options" }).waitFor();
  await generate(phone, 24);
  await tokens(phone).nth(2).click();
  await status(phone, "options of token 2");
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await phone.screenshot({ path: join(folder, "explorer-phone.png") });

  // 2,000 tokens: the last ones take no longer than the first ones.
  const [begin, end] = await phone.evaluate(async () => {
    const { TextView } = await import("/view.js");
    const view = new TextView(document.getElementById("text"), () => {});
    view.clear("");
    const times = [0, 500, 1000, 1500].map((from) => {
      const start = performance.now();
      for (let i = from; i < from + 500; i++) view.append({ text: "word ", latent: i % 12, token: i });
      return performance.now() - start;
    });
    return [Math.min(...times.slice(0, 2)), Math.min(...times.slice(2))];
  });
  assert.ok(end < 5 * begin + 50, `500 tokens took ${begin} ms, and ${end} ms at the end`);

  // A trace, without a server.
  const trace = join(folder, "trace.html");
  const made = spawnSync(ollmRun, [...files, "--chat", "-p", PROMPT, "-n", "16", "--trace", trace]);
  assert.equal(made.status, 0, String(made.stderr));
  const still = await open({ width: 1200, height: 800 });
  await still.goto(pathToFileURL(trace).href);
  assert.ok((await tokens(still).count()) > 3);
  await tokens(still).nth(2).click();
  assert.ok((await still.locator("#options li").count()) > 1);

  assert.deepEqual(errors, []);
  console.log("explorer: all well");
} finally {
  await browser.close();
  server.kill();
}
