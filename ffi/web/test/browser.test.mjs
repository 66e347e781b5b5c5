// The tests of `page/` in Chromium, if it is there: a page runs them, and posts what came of each.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { folder } from "./helper.mjs";
import { serve } from "./server.mjs";

const browser = process.env.CHROMIUM ?? "chromium";
const isThere = spawnSync(browser, ["--version"]).status === 0;
// Who asks for the tests of the modules asks for this one too.
const skip = !isThere && !process.env.OLLM_WEB && "chromium is not there";
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "ollm-chromium-"));
after(() => fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }));
const web = fileURLToPath(new URL("..", import.meta.url));
const site = path.join(scratch, "explorer");
if (isThere) assert.equal(spawnSync(path.join(web, "explorer/build.sh"), [site], { stdio: "inherit" }).status, 0);

/** What a page posts, test by test, until it says that it is done. */
async function results(page) {
  const found = [];
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const heard = (where, body) => (where === "/done" ? finish() : found.push(JSON.parse(body)));
  const folders = { "/fixtures/": folder, "/explorer-site/": site, "/": web };
  const server = await serve(folders, { heard });
  // In a container the browser has no sandbox of its own to be had.
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", `--user-data-dir=${path.join(scratch, "profile")}`];
  const child = spawn(browser, [...flags, `http://127.0.0.1:${server.address().port}${page}`], { stdio: "ignore" });
  const late = setTimeout(finish, 240_000);
  await done;
  clearTimeout(late);
  child.kill();
  await new Promise((resolve) => child.once("exit", resolve));
  server.closeAllConnections();
  server.close();
  return found;
}

for (const page of ["/test/page/index.html", "/plain/test/page/plain.html"]) {
  test(`chromium: ${page}`, { skip }, async (t) => {
    const found = await results(page);
    for (const { name, error } of found) {
      await t.test(name, () => {
        if (error) throw new Error(error);
      });
    }
    assert.equal(found.at(-1)?.name, "the end", "the page has not come to its end");
  });
}
