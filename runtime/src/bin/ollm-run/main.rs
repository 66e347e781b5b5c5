//! The `ollm-run` command.

fn main() {}
