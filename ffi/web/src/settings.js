/** Sampling and selection as structs of C. */

import { Filter } from "./c.js";
import { integer, list } from "./check.js";
import { number } from "./names.js";

/** The address of an `ollm_sampling`; null is greedy. */
export function samplingIn(arena, sampling) {
  if (sampling === null || sampling === undefined) return 0;
  const { dryBreakers, biases, order, ...values } = sampling;
  const addresses = {};
  const set = (name, count, [address, length]) => Object.assign(addresses, { [name]: address, [count]: length });
  if (dryBreakers !== undefined) set("dry_breakers", "dry_breaker_count", arena.texts(dryBreakers, "dryBreakers"));
  if (biases !== undefined) {
    const all = Object.entries(biases).map(([token, bias]) => ({ token: Number(token), bias }));
    set("biases", "bias_count", arena.structs("ollm_logit_bias", all));
  }
  if (order !== undefined) {
    const filters = list(order, "order").map((filter) => number(Filter, filter, "a filter"));
    set("order", "order_count", arena.numbers("i32", filters));
  }
  return arena.struct("ollm_sampling", values, addresses);
}

/** The address of an `ollm_selection`; null is the policy's choice. */
export function selectionIn(arena, selection) {
  if (selection === null || selection === undefined) return 0;
  const { latents = [], ...values } = selection;
  const numbers = list(latents, "latents").map((latent) => integer(latent, "u32", "a latent"));
  const [address, count] = arena.numbers("u32", numbers);
  return arena.struct("ollm_selection", values, { latents: address, latent_count: count });
}
