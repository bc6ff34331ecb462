//! cooper turns a Dockerfile and a build context into an OCI image, without a daemon.
//!
//! Data flows one way: text -> AST -> stage graph -> build graph -> snapshots -> layers -> image -> outputs.
//! The modules, bottom to top; each imports only from rows below its own (`tests/layering.rs` holds them to it):
//!
//! | row | modules |
//! |---|---|
//! | 7 | [`cli`], [`progress`] and the binary |
//! | 6 | [`output`], [`catalog`] |
//! | 5 | [`exec`] |
//! | 4 | [`sandbox`], [`snapshot`], [`registry`], [`context`] |
//! | 3 | [`store`], [`layer`], [`transport`] |
//! | 2 | [`plan`], [`key`] |
//! | 1 | [`dockerfile`], [`image`] |
//! | 0 | [`event`], [`diag`], [`sys`] |

pub mod catalog;
pub mod cli;
pub mod context;
pub mod diag;
pub mod dockerfile;
pub mod event;
pub mod exec;
pub mod image;
pub mod key;
pub mod layer;
pub mod output;
pub mod plan;
pub mod progress;
pub mod registry;
pub mod sandbox;
pub mod snapshot;
pub mod store;
pub mod sys;
pub mod transport;
