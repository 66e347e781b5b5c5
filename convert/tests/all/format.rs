//! `FORMAT.md` describes exactly the keys and tensors that the code knows.

use std::collections::BTreeSet;

use ollm_convert::{checksum, merge};
use ollm_runtime::gguf::{
    LAYOUT_KEY, LAYOUT_VERSION, LAYOUT_VERSION_KEY, Layout, PANEL_ALIGNMENT, PANEL_ID, PANEL_ROWS, PLAIN_ALIGNMENT_KEY,
    TensorType,
};
use ollm_runtime::ops::Matrix;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::{self, Backbone, DecoderKind, PluginConfig, TRAINING_PREFIX, keys};

const PAGE: &str = include_str!("../../FORMAT.md");

/// The names in backticks that begin with `ollm.` in the first column of a table.
fn names_on_page() -> BTreeSet<String> {
    let first_cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    first_cells.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("ollm.")).collect()
}

fn names_in_code() -> BTreeSet<String> {
    let kinds = [DecoderKind::SwiGlu { width: 1 }, DecoderKind::LowRank { width: 1, rank: 1 }];
    let tensors = kinds.iter().flat_map(|&decoder| schema::tensors(&spec(decoder)));
    let packed = [LAYOUT_KEY, LAYOUT_VERSION_KEY, PLAIN_ALIGNMENT_KEY, checksum::KEY].map(str::to_owned);
    let free = [TRAINING_PREFIX, merge::KEPT_PREFIX].map(|prefix| format!("{prefix}*"));
    let keys = keys::ALL.iter().map(|key| key.name.to_owned());
    keys.chain(tensors.map(|(name, _)| name.to_owned())).chain(free).chain(packed).collect()
}

fn spec(decoder: DecoderKind) -> PluginConfig {
    let backbone = Backbone { architecture: String::new(), hidden: 5, vocab: 1, fingerprint: String::new() };
    PluginConfig {
        options: 2,
        norm_epsilon: 1.0,
        decoder,
        encoder_width: 3,
        policy_width: 7,
        value_width: Some(17),
        hold: Hold::Token,
        backbone,
    }
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
        "v" => 17,
        number => number.parse().unwrap(),
    };
    cell.split(',').map(|product| product.split_whitespace().map(size).product()).collect()
}

#[test]
fn the_page_names_the_version() {
    assert!(PAGE.contains(&format!("| {} | this page |", schema::VERSION)));
}

#[test]
fn the_page_has_the_numbers_of_packed_files() {
    // However its lines are broken.
    let text = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("how matrices in panels lie: `{}`", Layout::Panels.name())));
    assert!(text.contains(&format!("the version of that layout: {LAYOUT_VERSION} ")));
    assert!(text.contains(&format!("`general.alignment`, which is {PANEL_ALIGNMENT} at least")));
    assert!(text.contains(&format!("plus {PANEL_ID} ({PANEL_ID:#x}, `OL`)")));
}

/// Packs by what the page says, and compares with what the code does.
#[test]
fn the_page_says_how_panels_lie() {
    for &dtype in TensorType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
        let (rows, cols) = (PANEL_ROWS + 3, 2 * dtype.block_len());
        let size = Layout::Rows.size(dtype, rows, cols).unwrap();
        let bytes: Vec<u8> = (0..size).map(|i| (i * 37 % 251) as u8).collect();
        let mut packed = Vec::new();
        Matrix::new(dtype, rows, cols, &bytes).unwrap().repack(&mut packed).unwrap();
        assert_eq!(packed, packed_by_the_page(dtype, bytes), "{dtype}");
    }
}

fn packed_by_the_page(dtype: TensorType, mut rows: Vec<u8>) -> Vec<u8> {
    let line = PAGE.lines().find(|line| line.starts_with(&format!("| {dtype} |"))).unwrap();
    let cell = |i: usize| line.split('|').nth(i).unwrap().split(',').filter_map(|n| n.trim().parse::<usize>().ok());
    let narrow = if dtype == TensorType::Mxfp4 { 1 } else { 2 };
    let [words, count] = [3, 4].map(|i| cell(i).next().unwrap());
    let fields: Vec<(usize, usize)> =
        cell(2).map(|at| (at, narrow)).chain((0..count).map(|i| (words + 4 * i, 4))).collect();
    let block = dtype.block_bytes();
    assert_eq!(fields.iter().map(|(_, size)| size).sum::<usize>(), block, "{dtype}");
    rows.resize(rows.len().next_multiple_of(PANEL_ROWS * 2 * block), 0);
    let (changed, bits) = match dtype {
        TensorType::Q5_0 | TensorType::Q5_1 => (1, 1),
        TensorType::Q1_0 => (4, 1),
        TensorType::Q2_0 => (4, 2),
        _ => (0, 1),
    };
    for block in rows.chunks_exact_mut(block) {
        block[words..words + 4 * changed].chunks_exact_mut(4).for_each(|field| spread(field, bits));
    }
    let mut out = Vec::new();
    for panel in rows.chunks_exact(PANEL_ROWS * 2 * block) {
        for place in [0, block] {
            for (at, size) in &fields {
                panel.chunks_exact(2 * block).for_each(|row| out.extend(&row[place + at..][..*size]));
            }
        }
    }
    out
}

/// Item 4 i + b, of so many bits, to item i of byte b.
fn spread(field: &mut [u8], bits: u32) {
    let packed = u32::from_le_bytes(field.try_into().unwrap());
    let item = |from: u32| packed >> (from * bits) & ((1 << bits) - 1);
    let spread = (0..32 / bits).map(|from| item(from) << (8 * (from % 4) + from / 4 * bits)).sum::<u32>();
    field.copy_from_slice(&spread.to_le_bytes());
}
