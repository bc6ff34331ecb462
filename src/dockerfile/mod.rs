//! The Dockerfile language: bytes to AST, and the expansion of the words in it.
//!
//! Two stages: [`parse`] makes logical lines of the physical ones (directives, continuations, comments, here documents)
//! and typed instructions of those.  Nothing is expanded while parsing; the planner, which knows the variables, calls
//! [`expand`] and [`mount`] for the words that have expansion.

pub mod ast;
pub mod expand;
pub mod lint;
pub mod mount;
mod parse;

pub use parse::{MAX_DOCKERFILE_BYTES, MAX_INSTRUCTIONS, Parsed, parse, parse_checked, parse_trigger};
