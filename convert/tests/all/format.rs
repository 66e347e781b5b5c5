//! `FORMAT.md` describes exactly the keys and tensors that the code knows.

use std::collections::BTreeSet;

use ollm_runtime::options::schema::{self, Backbone, DecoderKind, Spec, TRAINING_PREFIX, keys};

const PAGE: &str = include_str!("../../FORMAT.md");

/// The names in backticks that begin with `ollm.` in the first column of a table.
fn names_on_page() -> BTreeSet<String> {
    let first_cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    first_cells.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("ollm.")).collect()
}

fn names_in_code() -> BTreeSet<String> {
    let kinds = [DecoderKind::SwiGlu { width: 1 }, DecoderKind::LowRank { width: 1, rank: 1 }];
    let tensors = kinds.iter().flat_map(|&decoder| schema::tensors(&spec(decoder)));
    let keys = keys::ALL.iter().map(|key| key.name.to_owned());
    keys.chain(tensors.map(|(name, _)| name.to_owned())).chain([format!("{TRAINING_PREFIX}*")]).collect()
}

fn spec(decoder: DecoderKind) -> Spec {
    let backbone = Backbone { architecture: String::new(), hidden: 5, vocab: 1, fingerprint: String::new() };
    Spec { options: 2, norm_epsilon: 1.0, decoder, encoder_width: 3, policy_width: 7, backbone }
}

#[test]
fn the_page_has_every_name_and_no_other() {
    assert_eq!(names_on_page(), names_in_code());
}

#[test]
fn the_page_has_the_shapes_of_the_code() {
    let (width, rank) = (11, 13);
    for decoder in [DecoderKind::SwiGlu { width }, DecoderKind::LowRank { width, rank }] {
        for (name, shape) in schema::tensors(&spec(decoder)) {
            let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
            assert_eq!(shape, evaluate(row.split('|').nth(2).unwrap()), "{name}");
        }
    }
}

/// The shape in a cell such as `K r, d`, with the sizes of [`spec`].
fn evaluate(cell: &str) -> Vec<usize> {
    let size = |symbol: &str| match symbol {
        "K" => 2,
        "e" => 3,
        "d" => 5,
        "p" => 7,
        "u" => 11,
        "r" => 13,
        number => number.parse().unwrap(),
    };
    cell.split(',').map(|product| product.split_whitespace().map(size).product()).collect()
}

#[test]
fn the_page_names_the_version() {
    assert!(PAGE.contains(&format!("| {} | this page |", schema::VERSION)));
}
