//! The `ollm-train` command.

fn main() {}
