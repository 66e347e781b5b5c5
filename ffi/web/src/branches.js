/** Several continuations of one session, decoded in one batch, and the search among them. */

import { integer } from "./check.js";
import { OllmError } from "./error.js";
import { Handle, TURN, latent } from "./handle.js";
import { breathe } from "./threads.js";

export class Branches extends Handle {
  constructor(runtime, number) {
    super(runtime, number, "ollm_branches_free");
  }

  /** Makes several branches of one, which is open: of all latents, if nothing else is said. */
  async expand(branch = 0, expansion = {}) {
    this.library.with((arena) => {
      const into = arena.struct("ollm_expansion", expansion);
      this.library.call("ollm_branches_expand", this.c, integer(branch, "size", "branch"), into);
    });
  }

  /** Advances all open branches by a token each; gives how many there were. */
  async step() {
    return this.library.output("u32", "ollm_branches_step", this.c);
  }

  async prune(branch) {
    this.library.call("ollm_branches_prune", this.c, integer(branch, "size", "branch"));
  }

  async count() {
    return this.library.output("u32", "ollm_branches_count", this.c);
  }

  async get(branch) {
    return this.library.with((arena) => {
      const place = arena.struct("ollm_branch");
      this.library.call("ollm_branches_get", this.c, integer(branch, "size", "branch"), place);
      return branchAt(this.library, place);
    });
  }

  async all() {
    const count = await this.count();
    return Promise.all(Array.from({ length: count }, (_, branch) => this.get(branch)));
  }

  /**
   * Searches: expands, generates, and finds the answer. `progress(branches)` sees them now and
   * then. When `signal` aborts, the branches are where the last step left them.
   */
  async run({ expansion = {}, tally = {}, strategy = "vote", width = 0, progress, signal } = {}) {
    const each = this.runtime.eachStep();
    return this.alone(async (branches) => {
      for (;;) {
        signal?.throwIfAborted();
        const found = this.library.with((arena) => {
          const options = arena.struct("ollm_search_options", { strategy, width }, {
            expansion: arena.struct("ollm_expansion", expansion),
            tally: tallyIn(arena, tally),
            each,
          });
          return this.#turn(branches, arena, options);
        });
        if (found) return found;
        progress?.(this.#shown(branches));
        await breathe();
      }
    });
  }

  /** Searches for a while; gives what was found, if it was. */
  #turn(branches, arena, options) {
    const [found, end] = [arena.struct("ollm_found"), performance.now() + TURN];
    // The call is cancelled between two steps, and the next one goes on from there.
    let paused = false;
    this.runtime.onStep = () => {
      if (paused || performance.now() < end) return;
      paused = true;
      this.library.call("ollm_branches_cancel", branches);
    };
    try {
      this.library.call("ollm_branches_run", branches, options, found);
    } catch (error) {
      if (paused && error instanceof OllmError && error.status === "cancelled") return undefined;
      throw error;
    } finally {
      this.runtime.onStep = undefined;
    }
    // A cancellation that came with the last step has no call to end.
    if (paused) this.library.call("ollm_branches_withdraw_cancel", branches);
    return foundAt(this.library, found);
  }

  #shown(branches) {
    return this.library.with((arena) => {
      const [count, place] = [this.library.output("u32", "ollm_branches_count", branches), arena.struct("ollm_branch")];
      return Array.from({ length: count }, (_, branch) => {
        this.library.call("ollm_branches_get", branches, branch, place);
        return branchAt(this.library, place);
      });
    });
  }

  /** The vote of the branches that are there, without generating. */
  async vote(tally = {}) {
    return this.library.with((arena) => {
      const found = arena.struct("ollm_found");
      this.library.call("ollm_branches_vote", this.c, tallyIn(arena, tally), found);
      return foundAt(this.library, found);
    });
  }
}

function tallyIn(arena, { rule = "", ...values }) {
  const [address, length] = arena.text(rule, "rule");
  return arena.struct("ollm_tally", values, { rule: address, rule_length: length });
}

function branchAt(library, at) {
  const { parent, mergedInto, atBoundary, error, ...values } = library.values("ollm_branch", at);
  const [tokens, latents, count] = ["tokens", "latents", "token_count"].map((name) => library.field("ollm_branch", at, name));
  return {
    ...values,
    tokens: Array.from(library.array("u32", tokens, count)),
    latents: Array.from(library.array("i32", latents, count), latent),
    text: library.textField("ollm_branch", at, "text"),
    parent: latent(parent),
    mergedInto: latent(mergedInto),
    atBoundary: atBoundary === 1,
    error: error === "ok" ? null : error,
  };
}

function foundAt(library, at) {
  const answer = library.field("ollm_found", at, "answer");
  return {
    ...library.values("ollm_found", at),
    answer: answer === 0 ? null : library.textField("ollm_found", at, "answer"),
  };
}
