/** The threads of a library that is in shared memory, and the pool that its sessions share. */

import { spawnWorker } from "./threads.js";
import { allocateVariables } from "./wasm.js";

/** Bytes of the stack of a thread: as many as the first one has. */
const STACK = 1 << 20;

/** The handle of a pool of so many threads, this one included; and the way to end them. */
export async function startPool(library, module, memory, threads) {
  const workers = await Promise.all(Array.from({ length: threads - 1 }, () => startThread(library, module, memory)));
  const waiting = workers.slice();
  // The thread is there, and only waits to be told: this one computes meanwhile, and takes no
  // messages.
  const start = library.callback("ollm_start_fn", (worker) => void waiting.pop().post({ worker }));
  const pool = library.with((arena) =>
    library.handle("ollm_thread_pool_new", arena.struct("ollm_thread_pool_options", { threads }, { start })),
  );
  return { pool, end: () => workers.forEach((worker) => worker.end()) };
}

async function startThread(library, module, memory) {
  const [stack, variables] = [library.allocate(STACK), allocateVariables(library.functions)];
  let worker;
  await new Promise((resolve, reject) => {
    spawnWorker("thread", reject).then((spawned) => {
      worker = spawned;
      worker.listen(({ listening }) => {
        if (listening) worker.post({ module, memory, stack: stack + STACK, variables });
        else resolve();
      });
    }, reject);
  });
  worker.hold(false);
  return worker;
}
