// The explorer without a server, used as a person would.

import { assert, test } from "./report.js";

async function until(what, found) {
  for (let i = 0; i < 600; i++) {
    const value = found();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} has not come`);
}

export function testExplorer() {
  test("the explorer generates, shows options, opens a branch and votes, without a server", async () => {
    const frame = document.createElement("iframe");
    frame.src = "/explorer-site/index.html";
    frame.width = 360;
    document.body.append(frame);
    const $ = (id) => frame.contentDocument?.getElementById(id);
    await until("the form", () => $("load"));
    $("model-url").value = new URL("/fixtures/text.gguf", location.href).href;
    $("plugin-url").value = new URL("/fixtures/text-plugin.gguf", location.href).href;
    $("load").click();
    await until("the model", () => /text\.gguf · 10 options/.test($("model").textContent));
    $("prompt").value = "The option of a latent";
    frame.contentDocument.querySelector('[name="kind"][value="text"]').checked = true;
    $("limit").value = 12;
    $("run").click();
    const tokens = () => $("text").querySelectorAll(".token");
    await until("the answer", () => $("cancel").disabled && tokens().length > 0);
    tokens()[0].click();
    await until("the options", () => $("options").querySelectorAll("button").length === 10);
    assert($("options").querySelectorAll(".said").length === 10, "what an option says when it is held");
    $("options").querySelectorAll("button")[7].click();
    await until("the branch", () => $("branches").children.length === 2 && $("cancel").disabled);
    $("vote").click();
    await until("the vote", () => !$("votes-pane").hidden && $("votes").querySelector("strong"));
    assert(frame.contentDocument.documentElement.scrollWidth <= 360, "wider than a phone");
    frame.remove();
  });
}
