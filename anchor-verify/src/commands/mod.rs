//! One file a command: parse, call the library, print.

pub mod fetch;
pub mod import;
pub mod lint;
