//! The option explorer: a page without a framework, whose files are in the binary. The server shows
//! it, and a trace is one file of it.

use serde_json::Value;

/// A file of the page.
pub(crate) struct File {
    pub(crate) path: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) text: &'static str,
}

macro_rules! file {
    ($path:literal, $name:literal, $kind:literal) => {
        File { path: $path, kind: concat!($kind, "; charset=utf-8"), text: include_str!(concat!("explorer/", $name)) }
    };
}

/// All files; scripts before those that import them.
pub(crate) static FILES: [File; 6] = [
    file!("/", "index.html", "text/html"),
    file!("/explorer.css", "explorer.css", "text/css"),
    file!("/api.js", "api.js", "text/javascript"),
    file!("/tree.js", "tree.js", "text/javascript"),
    file!("/view.js", "view.js", "text/javascript"),
    file!("/explorer.js", "explorer.js", "text/javascript"),
];

/// What a trace may load: nothing. Its own script and style are told apart from what may be in its
/// data by a name that the data cannot bring into the document.
const POLICY: &str = "default-src 'none'; script-src 'nonce-explorer'; style-src 'nonce-explorer'; img-src data:; \
                      base-uri 'none'; form-action 'none'";

const STYLE_LINK: &str = "<link rel=\"stylesheet\" href=\"explorer.css\">";
const SCRIPT_LINK: &str = "<script type=\"module\" src=\"explorer.js\"></script>";

/// The page as one file, with what it shows.
pub(crate) fn trace(shown: &Value) -> String {
    let text = |path: &str| FILES.iter().find(|file| file.path == path).map_or("", |file| file.text);
    let scripts = FILES.iter().filter(|file| file.kind.starts_with("text/javascript")).map(|file| joined(file.text));
    let policy = format!("<meta http-equiv=\"content-security-policy\" content=\"{POLICY}\">");
    let style = format!("{policy}\n<style nonce=\"explorer\">\n{}</style>", text("/explorer.css"));
    // No text can end the element that it is in.
    let data = shown.to_string().replace('<', "\\u003c");
    let script = format!(
        "<script type=\"application/json\" id=\"trace\">{data}</script>\n<script type=\"module\" nonce=\"explorer\">\n{}</script>",
        scripts.collect::<String>()
    );
    text("/").replace(STYLE_LINK, &style).replace(SCRIPT_LINK, &script)
}

/// A module without its imports and exports, to stand behind those that it imports.
fn joined(script: &str) -> String {
    let lines = script.lines().filter(|line| !line.starts_with("import "));
    lines.map(|line| line.strip_prefix("export ").unwrap_or(line).to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trace_is_one_file_that_loads_nothing() {
        let page = trace(&json!({ "prompt": "</script><script>alert(1)</script>", "steps": [] }));
        assert!(page.contains("\\u003c/script>\\u003cscript>alert(1)"));
        assert_eq!(page.matches("</script>").count(), 2);
        for loads in ["src=", "rel=\"stylesheet\"", "\nimport ", "\nexport ", "http://", "https://"] {
            assert!(!page.contains(loads), "{loads}");
        }
        for kept in ["id=\"trace\"", "class TextView", "class Tree", "function stream", ".token {"] {
            assert!(page.contains(kept), "{kept}");
        }
    }

    #[test]
    fn text_never_becomes_markup() {
        for file in &FILES {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick=\""]
            {
                assert!(!file.text.contains(way), "{}: {way}", file.path);
            }
        }
    }
}
