//! What the commands have in common at the terminal: progress of long work, and files that are
//! named by `hf:OWNER/NAME`.

pub mod hub;
pub mod progress;
