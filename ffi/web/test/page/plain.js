// In a page that is not cross-origin isolated: one thread.

import { Runtime } from "../../src/index.js";
import { assert, equal, failure, runAll, test } from "./report.js";

test("the page is not isolated", () => assert(!crossOriginIsolated));

test("a runtime has one thread", async () => {
  const runtime = await Runtime.start();
  equal(await runtime.threads(), 1);
  await runtime.close();
});

test("threads are refused, and the error says what they need", async () => {
  const error = await failure(Runtime.start({ threads: 2 }));
  equal(error.status, "unsupported");
  assert(/cross-origin/.test(error.message), error.message);
});

runAll();
