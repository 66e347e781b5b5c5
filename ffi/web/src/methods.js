/** What both sides of the worker know. */

/** The methods of each class that a page calls in the worker. */
export const METHODS = {
  Runtime: ["version", "threads", "model", "forgetFiles"],
  Model: [
    ...["info", "metadata", "tokenize", "detokenize", "tokenBytes", "isEnd", "chatText", "chatTokens"],
    ...["plugin", "session", "close"],
  ],
  Plugin: ["info", "optionCount", "close"],
  Session: [
    ...["fork", "feed", "position", "context", "tokens", "rewind", "setSampling", "setSelection", "step"],
    ...["generate", "optionSet", "policy", "hidden", "logits", "score", "embed", "rank", "encode"],
    ...["suggest", "branches", "adopt", "save", "restore", "memory", "trim", "statistics", "close"],
  ],
  Branches: ["expand", "step", "prune", "count", "get", "all", "run", "vote", "close"],
  Generation: ["next", "return"],
};

/** Stands for the `signal` and the `progress` of a call, which do not go to the worker. */
export const CALLS_OWN = "ollm:own";

/** Why an answer has ended that an error ends: a full context has a reason of its own. */
export const reasonOf = (error) => (error?.status === "context_full" ? "context" : "cancelled");

/** Whether a value is options, which may have objects of the API in them. */
export const isPlain = (value) =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
