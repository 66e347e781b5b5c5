/**
 * A thread of the library: an instance of the module in the memory of the first one. It is told
 * `{ module, memory, stack, variables }` once, then the worker that it runs, which ends with the
 * thread.
 */

import { parent } from "./threads.js";
import { instantiate } from "./wasm.js";

const port = await parent();
let library;

port.listen(async (message) => {
  if ("worker" in message) {
    library.ollm_worker_run(message.worker);
    return;
  }
  library = await instantiate(message.module, message.memory);
  // A stack grows downwards.
  library.__stack_pointer.value = message.stack;
  library.__wasm_init_tls(message.variables);
  port.post({ ready: true });
});
port.post({ listening: true });
