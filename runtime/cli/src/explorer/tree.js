// Branches: each has the tokens of its own, and those of its parent before the place where it
// forks.

/** All branches of a prompt. */
export class Tree {
  constructor(given, prompt) {
    /** What the model was given: the text that is shown, and its tokens. */
    this.given = given;
    this.prompt = prompt;
    this.branches = [];
  }

  /** A branch of `parent`, from its place `at` on; the first one has no parent. */
  add(parent, at, why) {
    const branch = { id: this.branches.length, parent, at, why, own: [] };
    this.branches.push(branch);
    return branch;
  }

  /** The steps of a branch, from the end of the prompt on. */
  steps(branch) {
    const before = branch.parent === null ? [] : this.steps(this.branches[branch.parent]).slice(0, branch.at);
    return before.concat(branch.own);
  }

  /** The tokens before the place `at` of a branch. */
  tokens(branch, at) {
    return this.prompt.concat(this.steps(branch).slice(0, at).map((step) => step.token));
  }

  depth(branch) {
    return branch.parent === null ? 0 : 1 + this.depth(this.branches[branch.parent]);
  }
}
