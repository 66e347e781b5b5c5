//! Models of the Hugging Face Hub (`hf:OWNER/NAME[:FILE]`), from a server that this file is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};

use ollm_tests::c_programs::{build, scratch};
use ollm_tests::golden;

/// What the server has, and how it behaves.
#[derive(Default)]
struct State {
    /// Files by `OWNER/NAME/FILE`.
    files: BTreeMap<String, Vec<u8>>,
    /// Names that lists have beside those of files.
    listed: Vec<String>,
    /// The tag of each file, where it is not made of its name.
    etag: Option<String>,
    /// Whoever asks has to show this.
    token: Option<String>,
    /// Files end in the middle of what was asked for.
    cuts: bool,
    /// Files are sent from their beginning, whatever was asked for.
    ignores_range: bool,
    /// What was asked for: the path, and the first byte.
    asked: Vec<(String, u64)>,
}

/// A server on a port of its own, until the test ends.
struct Server {
    state: Arc<Mutex<State>>,
    endpoint: String,
    cache: PathBuf,
}

impl Server {
    /// With these files, and an empty cache for its client.
    fn start(name: &str, files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().unwrap().files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let (shared, url) = (Arc::clone(&state), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, url) = (Arc::clone(&shared), url.clone());
                // A client that goes away is fine.
                std::thread::spawn(move || answer(&stream.unwrap(), &shared, &url));
            }
        });
        let cache = scratch(&format!("cache-{name}"));
        let _ = fs::remove_dir_all(&cache);
        Self { state, endpoint, cache }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(build().join(program));
        command.args(args).env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", &self.cache).env_remove("HF_TOKEN");
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    /// `ollm-run info` on a model.
    fn info(&self, model: &str) -> Output {
        self.command("ollm-run", &["info", "-m", model, "--json"]).output().unwrap()
    }

    /// Parts of files in the cache.
    fn parts(&self) -> usize {
        let blobs = fs::read_dir(self.cache.join("hub/models--acme--tiny/blobs"));
        blobs.map_or(0, |files| files.filter(|file| file.as_ref().unwrap().path().ends_with_part()).count())
    }
}

trait EndsWithPart {
    fn ends_with_part(&self) -> bool;
}

impl EndsWithPart for PathBuf {
    fn ends_with_part(&self) -> bool {
        self.extension().is_some_and(|end| end == "part")
    }
}

/// Answers one request, as the Hub does: a list, a redirection to where a large file is, the file.
fn answer(mut stream: &TcpStream, state: &Mutex<State>, url: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap()?;
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let named =
            |line: &String| line.split_once(": ").as_ref().is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        headers.iter().find(|line| named(line)).map(|line| line.split_once(": ").unwrap().1.to_owned())
    };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut state = state.lock().unwrap();
    let allowed =
        state.token.is_none() || header("authorization") == state.token.as_ref().map(|t| format!("Bearer {t}"));
    if !allowed {
        return write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if let Some(repository) = path.strip_prefix("/api/models/").and_then(|rest| rest.strip_suffix("/revision/main")) {
        let own = state.files.keys().filter_map(|name| name.strip_prefix(&format!("{repository}/")));
        let names =
            own.chain(state.listed.iter().map(String::as_str)).map(|name| serde_json::json!({ "rfilename": name }));
        let list = serde_json::json!({ "sha": "c0ffee", "siblings": names.collect::<Vec<_>>() }).to_string();
        let length = list.len();
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{list}");
    }
    let (name, is_moved) = (path.replace("/resolve/main/", "/").replacen("/cdn/", "/", 1), !path.starts_with("/cdn/"));
    let Some(file) = state.files.get(name.trim_start_matches('/')).cloned() else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let etag = state.etag.clone().unwrap_or_else(|| name.replace(['/', '.'], "-"));
    let about =
        format!("X-Repo-Commit: c0ffee\r\nX-Linked-Etag: \"{etag}\"\r\nETag: \"{etag}\"\r\nConnection: close\r\n");
    if is_moved {
        return write!(stream, "HTTP/1.1 302 Found\r\n{about}Location: {url}/cdn{name}\r\nContent-Length: 0\r\n\r\n");
    }
    let range = header("range").unwrap_or_default();
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let (start, is_probe) = (start.parse::<usize>().unwrap(), !end.is_empty());
    if !is_probe {
        state.asked.push((name, start as u64));
    }
    let start = if state.ignores_range && !is_probe { 0 } else { start };
    let end = if is_probe { end.parse::<usize>().unwrap() + 1 } else { file.len() };
    if start >= file.len() {
        return write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let (body, total) = (&file[start..end], file.len());
    let sent = if state.cuts && !is_probe { &body[..body.len() / 2] } else { body };
    drop(state);
    let place = format!("Content-Range: bytes {start}-{}/{total}\r\nContent-Length: {}", end - 1, body.len());
    write!(stream, "HTTP/1.1 206 Partial Content\r\n{about}{place}\r\n\r\n")?;
    stream.write_all(sent)
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn fails(output: &Output, with: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(with) && !said.contains("panicked"), "{said}");
}

fn tiny() -> Vec<u8> {
    fs::read(golden("tiny/llama.gguf")).unwrap()
}

#[test]
fn a_model_is_downloaded_once() {
    let model = tiny();
    let server = Server::start("once", &[("acme/tiny/tiny-F32.gguf", &model), ("acme/tiny/README.md", b"#")]);
    for name in ["hf:acme/tiny", "hf:acme/tiny:f32", "hf:acme/tiny:tiny-F32.gguf"] {
        let facts: serde_json::Value = serde_json::from_str(&succeeds(&server.info(name))).unwrap();
        assert_eq!(facts["bytes"], model.len());
        let path = PathBuf::from(facts["file"].as_str().unwrap());
        assert!(path.starts_with(&server.cache) && fs::read(&path).unwrap() == model, "{}", path.display());
    }
    assert_eq!(server.state().asked, [("/acme/tiny/tiny-F32.gguf".to_owned(), 0)]);
    // Without the server too.
    let offline = |name: &str| {
        server.command("ollm-run", &["info", "-m", name]).env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap()
    };
    succeeds(&offline("hf:acme/tiny:tiny-F32.gguf"));
    succeeds(&offline("hf:acme/tiny"));
    fails(&offline("hf:acme/other"), "acme/other cannot be downloaded: ");
}

#[test]
fn a_download_that_was_cut_goes_on() {
    let model = tiny();
    let server = Server::start("cut", &[("acme/tiny/tiny.gguf", &model)]);
    server.state().cuts = true;
    fails(&server.info("hf:acme/tiny"), "tiny.gguf cannot be downloaded: ");
    assert_eq!(server.parts(), 1);
    let begun = server.state().asked.len();
    assert!(begun > 1, "it is tried again");
    server.state().cuts = false;
    succeeds(&server.info("hf:acme/tiny"));
    let starts: Vec<u64> = server.state().asked.iter().map(|(_, start)| *start).collect();
    assert!(starts.is_sorted() && starts[1] > 0 && starts[begun] > model.len() as u64 / 2, "{starts:?}");
    assert_eq!(server.parts(), 0);
    assert_eq!(fs::read(server.cache.join("hub/models--acme--tiny/snapshots/c0ffee/tiny.gguf")).unwrap(), model);
}

/// Bytes that were put behind those of an earlier try, and do not belong there, are not used.
#[test]
fn what_is_too_long_is_removed() {
    let model = tiny();
    let server = Server::start("long", &[("acme/tiny/tiny.gguf", &model)]);
    server.state().cuts = true;
    fails(&server.info("hf:acme/tiny"), "cannot be downloaded");
    (server.state().cuts, server.state().ignores_range) = (false, true);
    fails(&server.info("hf:acme/tiny"), "and were removed: try again");
    assert!(!server.cache.join("hub/models--acme--tiny/snapshots/c0ffee/tiny.gguf").exists());
    succeeds(&server.info("hf:acme/tiny"));
}

#[test]
fn what_cannot_be_had_is_named() {
    let model = tiny();
    let files: [(&str, &[u8]); 3] =
        [("acme/tiny/a-Q4_0.gguf", &model), ("acme/tiny/b-Q8_0.gguf", &model), ("acme/none/config.json", b"{}")];
    let server = Server::start("named", &files);
    fails(&server.info("hf:acme/tiny"), "name one, hf:OWNER/NAME:FILE: a-Q4_0.gguf, b-Q8_0.gguf");
    fails(&server.info("hf:acme/tiny:q6"), "acme/tiny has no such file");
    fails(&server.info("hf:acme/none"), "acme/none has no such file");
    fails(&server.info("hf:acme/tiny:c.gguf"), "acme/tiny: c.gguf is not there: check the names (HTTP 404)");
    fails(&server.info("hf:acme"), "\"hf:acme\" is not hf:OWNER/NAME");
    fails(&server.info("hf:acme/tiny:../x.gguf"), "is not hf:OWNER/NAME");
    server.state().token = Some("secret".to_owned());
    fails(&server.info("hf:acme/tiny:q4_0"), "set HF_TOKEN");
    let with_token =
        server.command("ollm-run", &["info", "-m", "hf:acme/tiny:q4_0"]).env("HF_TOKEN", "secret").output();
    succeeds(&with_token.unwrap());
}

/// A server does not write outside of the cache.
#[test]
fn hostile_names_are_refused() {
    let model = tiny();
    let server = Server::start("hostile", &[("acme/tiny/tiny.gguf", &model)]);
    server.state().etag = Some("../../../escaped".to_owned());
    fails(&server.info("hf:acme/tiny"), "which is no place in a cache");
    let listed = Server::start("listed", &[]);
    for name in ["../../escaped.gguf", "/escaped.gguf", "a/../../escaped.gguf", ".escaped.gguf"] {
        listed.state().listed = vec![name.to_owned()];
        fails(&listed.info("hf:acme/tiny"), "which is no place in a cache");
    }
    assert!(!escaped(&server.cache) && !escaped(&listed.cache));
}

/// Whether something was written beside a folder.
fn escaped(cache: &Path) -> bool {
    let above = cache.ancestors().take(4);
    above
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .any(|file| file.unwrap().file_name().to_string_lossy().contains("escaped"))
}

/// `ollm-convert import` takes the files of a model from the Hub, and no others.
#[test]
fn a_folder_is_downloaded() {
    let files: [(&str, &[u8]); 5] = [
        ("acme/tiny/1_Pooling/config.json", br#"{"pooling_mode_cls_token": true}"#),
        ("acme/tiny/config.json", br#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#),
        ("acme/tiny/tokenizer.json", b"{}"),
        ("acme/tiny/pytorch_model.bin", b"no"),
        ("acme/tiny/onnx/model.json", b"no"),
    ];
    let server = Server::start("folder", &files);
    let output = scratch("imported.gguf");
    let args = ["import", "hf:acme/tiny", "-o", output.to_str().unwrap(), "--type", "F16"];
    fails(&server.command("ollm-convert", &args).output().unwrap(), "hub/models--acme--tiny/snapshots/c0ffee");
    let asked: Vec<String> = server.state().asked.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(asked, ["/acme/tiny/1_Pooling/config.json", "/acme/tiny/config.json", "/acme/tiny/tokenizer.json"]);
    assert!(!output.exists());
}
