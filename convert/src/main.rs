//! The `ollm-convert` command.

fn main() {}
