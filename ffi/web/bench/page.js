import { Runtime } from "../src/index.js";

const asked = new URLSearchParams(location.search);
const [threads, rounds, PROMPT, ANSWER] = ["threads", "rounds", "prompt", "answer"].map((name) => Number(asked.get(name)));
const post = (where, body = "") => fetch(where, { method: "POST", body });

async function ours(file) {
  const runtime = await Runtime.start({ threads });
  const model = await runtime.model(file);
  const session = await model.session({ context: 1024 });
  const prompt = Array.from({ length: PROMPT }, (_, i) => 300 + ((i * 7919) % 20000));
  return {
    async prefill() {
      await session.rewind(0);
      await session.feed(prompt);
      return PROMPT;
    },
    async decode() {
      for (let i = 0; i < ANSWER; i++) await session.step();
      return ANSWER;
    },
  };
}

async function wllama(file) {
  const { Wllama } = await import("/wllama/index.js");
  const there = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
  there.setCompat(null);
  await there.loadModel([file], { n_threads: threads, n_ctx: 1024, n_batch: PROMPT, n_ubatch: PROMPT, n_gpu_layers: 0 });
  let round = 0;
  let prompt;
  const complete = async (count, cached) => {
    const options = { prompt, max_tokens: count, temperature: 0, cache_prompt: cached, ignore_eos: true };
    return (await there.createCompletion(options)).timings;
  };
  return {
    async prefill() {
      // Another beginning each time: nothing of the prompt is kept from before.
      round += 1;
      prompt = Array.from({ length: PROMPT }, (_, i) => ` ${"abcdefghij"[(i * 7 + round) % 10]}`).join("");
      const { prompt_n: count } = await complete(1, false);
      if (count < PROMPT / 2) throw new Error(`wllama has read ${count} tokens`);
      return count;
    },
    async decode() {
      const { prompt_n: count, predicted_n: predicted } = await complete(ANSWER, true);
      if (count > 8 || predicted < ANSWER / 2) throw new Error(`wllama has read ${count} and written ${predicted} tokens`);
      return count + predicted;
    },
  };
}

let failure = "";
try {
  const file = new File([await (await fetch(`/model/${asked.get("model")}`)).arrayBuffer()], "model.gguf");
  const all = { "ollm-web": await ours(file), wllama: await wllama(file) };
  // The first round is for the compilers of the browser.
  for (let round = 0; round <= rounds; round++) {
    for (const [name, engine] of Object.entries(all)) {
      for (const what of ["prefill", "decode"]) {
        await post("/begin");
        const start = performance.now();
        const tokens = await engine[what]();
        const seconds = (performance.now() - start) / 1000;
        if (round > 0) await post("/measured", JSON.stringify({ name, what, tokens, seconds }));
      }
    }
  }
} catch (error) {
  failure = String(error.stack);
}
await post("/done", failure);
