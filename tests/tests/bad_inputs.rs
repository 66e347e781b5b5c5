//! The converter on malicious files: each is refused for its reason, whatever is to be done with
//! it, and nothing is written.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::{diff, imatrix, inspect, merge, pack, split, verify};
use ollm_runtime::gguf::{Gguf, GgufError};
use ollm_tests::badfiles::{corpus, good};

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ollm-bad-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that reads `bad`, beside a good file, and what it says.
fn refusals(bad: &Path, good: &Path, out: &Path) -> Vec<(&'static str, Option<String>)> {
    let hidden = ProgressBar::hidden();
    let options = Options { recipe: &RECIPES[2], imatrix: None, tensor_types: &[], force: true };
    let with = Options { imatrix: Some(bad), ..options.clone() };
    let text = |result: Result<(), ollm_convert::ConvertError>| result.err().map(|error| error.to_string());
    vec![
        ("inspect", text(inspect::inspect(bad).map(drop))),
        ("diff", text(diff::diff(bad, good).map(drop))),
        ("diff of", text(diff::diff(good, bad).map(drop))),
        ("quantize", text(quantize(bad, out, &options, &hidden).map(drop))),
        ("quantize with imatrix", text(quantize(good, out, &with, &hidden).map(drop))),
        ("imatrix", text(imatrix::gather(bad, good, out, true, &hidden).map(drop))),
        ("pack", text(pack::pack(bad, out, true).map(drop))),
        ("unpack", text(pack::unpack(bad, out, true).map(drop))),
        ("merge", text(merge::merge(bad, good, out, true).map(drop))),
        ("merge of", text(merge::merge(good, bad, out, true).map(drop))),
        ("split", text(split::split(bad, out, None, true).map(drop))),
    ]
}

#[test]
fn each_bad_file_is_refused_by_every_command_and_nothing_is_written() {
    let folder = Folder::new("corpus");
    let [bad, fine, out] = ["bad.gguf", "good.gguf", "out.gguf"].map(|name| folder.0.join(name));
    fs::write(&fine, good()).unwrap();
    for file in corpus() {
        fs::write(&bad, &file.bytes).unwrap();
        let unknown = |fault: &GgufError| matches!(fault, GgufError::UnknownTensorType { .. });
        for (command, refusal) in refusals(&bad, &fine, &out) {
            // What has a type that cannot be read is shown, with that said.
            if command == "inspect" && Gguf::parse_all(&file.bytes).1.iter().any(unknown) {
                let shown = inspect::inspect(&bad).map(|shown| shown.to_string());
                assert!(shown.is_ok_and(|shown| shown.contains("not read: ")), "{}", file.name);
                continue;
            }
            assert!(refusal.is_some_and(|text| !text.is_empty()), "{}: {command}", file.name);
        }
        let report = verify::verify(&bad).unwrap();
        let faults = Gguf::parse_all(&file.bytes).1;
        assert!(faults.iter().any(file.expect), "{}: {faults:?}", file.name);
        let said = |fault: &str| report.findings.iter().any(|finding| finding.message == fault);
        assert!(faults.iter().all(|fault| said(&fault.to_string())), "{}: {report}", file.name);
    }
    let mut left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["bad.gguf", "good.gguf"]);
}

#[test]
fn a_good_file_passes_where_the_bad_ones_fail() {
    let folder = Folder::new("good");
    let [fine, out] = ["good.gguf", "out.gguf"].map(|name| folder.0.join(name));
    fs::write(&fine, good()).unwrap();
    let passed = |name: &str| {
        let found = refusals(&fine, &fine, &out).into_iter().find(|(command, _)| *command == name).unwrap();
        assert_eq!(found.1, None, "{name}");
    };
    ["inspect", "diff", "quantize", "pack"].into_iter().for_each(passed);
}

/// Whatever bytes are changed: no panic, and what a file is rewritten to holds nothing that was not
/// in it.
#[test]
fn damaged_files_give_findings_or_errors_and_never_bytes_from_elsewhere() {
    let folder = Folder::new("damage");
    let [bad, fine, out] = ["bad.gguf", "good.gguf", "out.gguf"].map(|name| folder.0.join(name));
    let bytes = good();
    fs::write(&fine, &bytes).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0xFF;
        fs::write(&bad, &changed).unwrap();
        verify::verify(&bad).unwrap();
        refusals(&bad, &fine, &out);
        if pack::pack(&bad, &out, true).is_ok() {
            let again = folder.0.join("again.gguf");
            pack::unpack(&out, &again, true).unwrap();
            assert!(diff::diff(&bad, &again).unwrap().is_same(), "byte {at}");
        }
    }
}
