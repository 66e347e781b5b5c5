// The tests of a page: each is posted to the server that the page is from.

const tests = [];

export const test = (name, run) => tests.push({ name, run });

export function assert(condition, message) {
  if (!condition) throw new Error(message ?? "an assertion has failed");
}

export function equal(found, expected, message = "") {
  const [a, b] = [found, expected].map((value) => JSON.stringify(value));
  assert(a === b, `${message} ${a?.slice(0, 500)} is not ${b?.slice(0, 500)}`);
}

/** What it throws. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it has not failed");
}

const post = (path, value) => fetch(path, { method: "POST", body: JSON.stringify(value) });

/** Runs all tests, one after the other. */
export async function runAll() {
  for (const { name, run } of tests) {
    try {
      await run();
      await post("/result", { name });
    } catch (error) {
      await post("/result", { name, error: `${error?.stack ?? error}` });
    }
  }
  await post("/result", { name: "the end" });
  await post("/done", {});
}

addEventListener("error", (event) => post("/result", { name: "the page", error: event.message }));
addEventListener("unhandledrejection", ({ reason }) => post("/result", { name: "the page", error: `${reason?.stack ?? reason}` }));
