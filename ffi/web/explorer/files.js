// Where the model and its plugin are chosen: files of this device, or addresses.
import { element } from "./view.js";

/** Shows the form before the page's own; `load(files, options)` is called with what is chosen. */
export function chooseFiles(load) {
  const status = element("p", { role: "status", "aria-live": "polite", class: "hint", id: "load-status" });
  const choice = (id, label) => [
    element("label", { for: `${id}-file` }, `${label}: a GGUF file`),
    element("input", { id: `${id}-file`, type: "file", accept: ".gguf" }),
    element("label", { for: `${id}-url` }, "or its address"),
    element("input", { id: `${id}-url`, type: "url", autocomplete: "off" }),
  ];
  const button = element("button", { type: "submit", id: "load" }, "Load");
  const form = element("form", { id: "files" },
    element("div", { class: "grid" }, ...choice("model", "Model"), ...choice("plugin", "Plugin")),
    element("p", { class: "row" }, button),
    status);
  const chosen = (id) => document.getElementById(`${id}-file`).files[0] ?? (document.getElementById(`${id}-url`).value || undefined);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [model, plugin] = [chosen("model"), chosen("plugin")];
    if (!model) {
      status.textContent = "Choose a model.";
      return;
    }
    button.disabled = true;
    const progress = (done, total) => {
      status.textContent = total ? `Loading: ${Math.round((100 * done) / total)} %` : `Loading: ${done >> 20} MiB`;
    };
    try {
      await load({ model, plugin }, { progress });
      status.textContent = "Loaded.";
    } catch (error) {
      status.textContent = error.message;
    }
    button.disabled = false;
    document.dispatchEvent(new Event("model"));
  });
  document.getElementById("ask").before(form);
  // There is no server that could have a key.
  for (const part of document.querySelectorAll('#key, [for="key"]')) part.hidden = true;
}
