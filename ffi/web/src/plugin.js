/** The plugin of a model. */

import { Handle } from "./handle.js";

export class Plugin extends Handle {
  constructor(runtime, number) {
    super(runtime, number, "ollm_plugin_release");
  }

  async info() {
    return JSON.parse(this.library.outputText("ollm_plugin_info", this.c));
  }

  /** K, the number of options. */
  async optionCount() {
    return this.library.output("u32", "ollm_plugin_option_count", this.c);
  }
}
