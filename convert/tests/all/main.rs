//! Tests of the converter on tiny files: the library, the command, and the page that describes the
//! format.

mod command;
mod common;
mod conversions;
mod differences;
mod format;
mod import;
mod packed;
mod parts;
mod quantize;
mod split;
mod verify;
