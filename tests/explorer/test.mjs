// The option explorer in a real browser: typing, branching, voting, cancelling, reload, an error of
// the server, a narrow screen, the keyboard, a trace. Writes screenshots.
//
//     node test.mjs OLLM_RUN MODEL PLUGIN CHROMIUM FOLDER [FLAGS OF OLLM_RUN..]
//
// Needs the package playwright-core, and a Chromium.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [ollmRun, model, plugin, executablePath, folder, ...flags] = process.argv.slice(2);
const files = ["-m", model, "--plugin", plugin, ...flags];
const PROMPT = "What is 57 + 340?";

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

/** Generates with another option in each line, so that there are several. */
async function generate(page, limit) {
  await page.getByText("Settings").click();
  await page.locator("#mode").fill("sample:2");
  await page.locator("#hold").selectOption("line");
  await page.locator("#seed").fill("4");
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
  assert.ok(first > 9, `${first} tokens`);

  // The keyboard alone: from the first token to the tenth, whose options are shown.
  await tokens(page).first().focus();
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => [...document.querySelectorAll(".token")].indexOf(document.activeElement)), 9);
  assert.equal(await page.locator('#text [tabindex="0"]').count(), 1);
  await page.keyboard.press("Enter");
  await status(page, "options of token 9");
  const options = page.locator("#options li");
  assert.ok((await options.count()) > 1);
  assert.ok((await options.first().locator(".said").textContent()).length > 0);
  await page.screenshot({ path: join(folder, "explorer.png") });

  // Branching: another option opens a branch, whose text is that of the first up to the place.
  await options.last().getByRole("button").click();
  await status(page, / tokens\./);
  assert.equal(await page.locator("#branches li").count(), 2);
  assert.equal(await page.locator('#branches [aria-current="true"]').count(), 1);
  await page.locator("#branches button").first().press("Enter");
  assert.equal(await tokens(page).count(), first);
  assert.ok(await page.evaluate(() => document.activeElement.matches("#branches li:first-child button")), "the focus is lost");

  // Voting.
  await page.locator("#vote").click();
  await status(page, "of the weight");
  assert.ok(await page.locator("#votes li").count());
  await page.screenshot({ path: join(folder, "explorer-vote.png"), fullPage: true });

  // What a screen reader is told.
  const tree = await page.locator("body").ariaSnapshot();
  for (const part of [
    /heading "Option explorer"/, /textbox "What the model is given"/, /radio "as a message of a chat" \[checked\]/,
    /button "Generate"/, /status: /, /group "Text"/, /button ".*, latent \d+"/, /button "Take option \d+"/,
    /img "policy [\d.]+ %"/, /region "Branches"/, /region "Vote"/, /img "weight \d+ %"/,
  ]) {
    assert.match(tree, part);
  }
  const nameless = await page.locator("button, input, select, textarea, summary").evaluateAll((all) =>
    all.filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label"))).map((one) => one.id));
  assert.deepEqual(nameless, []);

  // The keyboard alone, from the address to an answer: each stop can be seen.
  const typist = await open({ width: 1200, height: 800 });
  await typist.goto(url);
  await typist.locator("#model").filter({ hasText: "options" }).waitFor();
  const stops = [];
  for (let i = 0; i < 12 && stops.at(-1) !== "run"; i++) {
    await typist.keyboard.press("Tab");
    const [id, outline] = await typist.evaluate(() => {
      const { id, tagName } = document.activeElement;
      return [id || tagName, getComputedStyle(document.activeElement).outlineStyle];
    });
    assert.notEqual(outline, "none", `the focus on ${id} cannot be seen`);
    stops.push(id);
    if (id === "prompt") await typist.keyboard.type(PROMPT);
  }
  assert.deepEqual([stops[0], stops.at(-1)], ["prompt", "run"]);
  await typist.keyboard.press("Enter");
  await status(typist, / tokens\./);
  await typist.close();

  // Cancelling, which the server is told.
  const cancelled = async () => Number(/^ollm_cancelled_total (\d+)/m.exec(await (await fetch(`${url}/metrics`)).text())[1]);
  const before = await cancelled();
  // At this temperature it does not end by itself.
  await page.locator("#prompt").fill("Tell a very long story.");
  await page.getByText("Settings").click();
  await page.locator("#limit").fill("1500");
  await page.locator("#mode").fill("mixture");
  await page.locator("#temperature").fill("2");
  await page.locator("#run").click();
  await tokens(page).nth(2).waitFor();
  await page.locator("#cancel").click();
  await status(page, "Cancelled");
  assert.ok(!(await page.locator("#branches button").last().textContent()).includes("∅"));
  while ((await cancelled()) === before) await new Promise((again) => setTimeout(again, 50));

  // A setting that cannot be is shown, also where the settings are folded.
  await page.getByText("Settings").click();
  for (const [id, value] of [["temperature", "2.5"], ["limit", "0"]]) {
    await page.locator(`#${id}`).evaluate((field, value) => { field.value = value; }, value);
    await page.locator("#run").click();
    assert.equal(await page.evaluate(() => document.activeElement.id), id);
    await page.locator(`#${id}`).fill(id === "limit" ? "24" : "0.75");
    await page.getByText("Settings").click();
  }
  await page.getByText("Settings").click();

  // The same seed, the same vote.
  const vote = async () => {
    await page.locator("#votes").evaluate((list) => list.replaceChildren());
    await page.locator("#vote").click();
    await page.locator("#votes li").first().waitFor({ timeout: 120_000 });
    return page.locator("#votes").textContent();
  };
  assert.equal(await vote(), await vote());

  // What ends the text cannot be taken, and all who were merged are told.
  const [takes, who] = await page.evaluate(async () => {
    const { showOptions, showVote } = await import("/view.js");
    const list = document.createElement("ol");
    const option = (latent, end) => ({ latent, policy: 0.5, top: [{ token: 1, text: "x", p: 1, end }] });
    showOptions(list, [option(0, undefined), option(1, true)], 0, () => {});
    const takes = list.querySelectorAll("button").length;
    const branch = (id, end, answer, into) => ({ id, latents: [id], text: "4", answer, weight: 1, end, merged_into: into });
    const branches = [branch(0, "merged", null, 1), branch(1, "merged", null, 2), branch(2, "end", "4")];
    showVote(list, { answer: "4", branches });
    return [takes, list.querySelector(".words").textContent];
  });
  assert.deepEqual([takes, who], [1, "wins · z0, z1, z2"]);

  // An error of the server.
  await page.locator("#mode").fill("nonsense");
  await page.locator("#run").click();
  await status(page, "no way to select a latent");
  assert.ok(await page.locator("#status.error").count());
  await page.locator("#mode").fill("policy");

  // Reload: what was typed is there.
  await page.locator("#prompt").fill("kept");
  await page.locator('[name="kind"][value="text"]').check();
  await page.reload();
  assert.equal(await page.locator("#prompt").inputValue(), "kept");
  assert.ok(await page.locator('[name="kind"][value="text"]').isChecked());

  // A narrow screen, and dark: nothing is wider than the screen.
  const phone = await open({ width: 360, height: 740 }, { colorScheme: "dark" });
  await phone.goto(url);
  await phone.locator("#model").filter({ hasText: "options" }).waitFor();
  await generate(phone, 24);
  await tokens(phone).first().click();
  await status(phone, "options of token 0");
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await phone.screenshot({ path: join(folder, "explorer-phone.png") });

  // 2,000 tokens: each of the last ones is laid out within a frame, 16 ms, also where all of the
  // text is one line; the end stays in sight. The fastest tenth counts: others use the machine too.
  for (const lineLength of [20, Infinity]) {
    const [first100, last100, isAtEnd] = await phone.evaluate(async (lineLength) => {
      const { TextView } = await import("/view.js");
      const box = document.getElementById("text");
      const view = new TextView(box, () => {});
      view.clear("");
      const times = Array.from({ length: 2000 }, (_, i) => {
        const start = performance.now();
        view.append({ text: (i + 1) % lineLength ? " word" : "\n", latent: (i >> 3) % 12, token: i });
        view.follow();
        // The layout, as a frame has it.
        box.getBoundingClientRect();
        document.documentElement.scrollHeight;
        return performance.now() - start;
      });
      await new Promise(requestAnimationFrame);
      const fast = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 10)];
      const isAtEnd = box.scrollTop > 0 && box.scrollTop + box.clientHeight > box.scrollHeight - 16;
      return [fast(times.slice(0, 100)), fast(times.slice(-100)), isAtEnd];
    }, lineLength);
    console.log(`lines of ${lineLength}: a token takes ${first100.toFixed(2)} ms at first, ${last100.toFixed(2)} after 2,000`);
    assert.ok(last100 < 16, `a token takes ${last100} ms after 2,000`);
    assert.ok(isAtEnd, "the end is out of sight");
  }

  // A trace, without a server.
  const trace = join(tmpdir(), `explorer-${process.pid}.html`);
  const made = spawnSync(ollmRun, [...files, "--chat", "-p", PROMPT, "-n", "16", "--trace", trace]);
  assert.equal(made.status, 0, String(made.stderr));
  const still = await open({ width: 1200, height: 800 });
  await still.goto(pathToFileURL(trace).href);
  assert.ok((await tokens(still).count()) > 3);
  await tokens(still).nth(2).click();
  assert.ok((await still.locator("#options li").count()) > 1);
  rmSync(trace);

  assert.deepEqual(errors, []);
  console.log("explorer: all well");
} finally {
  await browser.close();
  server.kill();
}
