import { Runtime } from "../src/index.js";

const asked = new URLSearchParams(location.search);
const [threads, rounds] = ["threads", "rounds"].map((name) => Number(asked.get(name)));
const say = (text) => fetch("/say", { method: "POST", body: text });
const [PROMPT, ANSWER] = [512, 64];

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

async function ours(file) {
  const runtime = await Runtime.start({ threads });
  const model = await runtime.model(file);
  const session = await model.session({ context: 1024 });
  const tokens = Array.from({ length: PROMPT }, (_, i) => 300 + ((i * 7919) % 20000));
  return async () => {
    await session.rewind(0);
    let start = performance.now();
    await session.feed(tokens);
    const prefill = (1000 * PROMPT) / (performance.now() - start);
    await session.step();
    start = performance.now();
    for (let i = 0; i < ANSWER; i++) await session.step();
    return [prefill, (1000 * ANSWER) / (performance.now() - start)];
  };
}

async function wllama(file) {
  const { Wllama } = await import("/wllama/index.js");
  const there = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
  there.setCompat(null);
  await there.loadModel([file], { n_threads: threads, n_ctx: 1024, n_batch: PROMPT, n_ubatch: PROMPT, n_gpu_layers: 0 });
  let round = 0;
  return async () => {
    // Another beginning each time: nothing of the prompt is kept from before.
    round += 1;
    const prompt = Array.from({ length: PROMPT }, (_, i) => ` ${"abcdefghij"[(i * 7 + round) % 10]}`).join("");
    const answer = await there.createCompletion({ prompt, max_tokens: ANSWER, temperature: 0, cache_prompt: false, ignore_eos: true });
    const { prompt_per_second: prefill, predicted_per_second: decode, prompt_n: count, predicted_n: predicted } = answer.timings;
    if (count < PROMPT / 2 || predicted < ANSWER / 2) throw new Error(`wllama: ${count} and ${predicted} tokens`);
    return [prefill, decode];
  };
}

try {
  const file = new File([await (await fetch(`/model/${asked.get("model")}`)).arrayBuffer()], "model.gguf");
  const all = { "ollm-web": await ours(file), wllama: await wllama(file) };
  const found = Object.fromEntries(Object.keys(all).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(all)) {
      const speeds = await run();
      await say(`${name}: ${speeds.map((value) => value.toFixed(1)).join(" and ")} tok/s`);
      found[name].push(speeds);
    }
  }
  const [a, b] = [found["ollm-web"], found.wllama].map((speeds) => [0, 1].map((i) => median(speeds.map((one) => one[i]))));
  await say(`threads: ${threads}; prefill ${a[0].toFixed(1)} beside ${b[0].toFixed(1)}: ${(a[0] / b[0]).toFixed(2)}; ` +
    `decode ${a[1].toFixed(1)} beside ${b[1].toFixed(1)}: ${(a[1] / b[1]).toFixed(2)}`);
} catch (error) {
  await say(`failed: ${error.stack}`);
}
await fetch("/done", { method: "POST", body: "" });
