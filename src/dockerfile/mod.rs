//! The Dockerfile language: bytes to AST.

pub mod ast;
