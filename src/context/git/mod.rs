//! Git repositories as contexts and as sources of ADD.
//!
//! The `git` program does the transport: it knows every server's protocol and how its users sign in.  It gets an
//! environment of its own, no configuration but ours, no hooks, a list of allowed protocols, and never a password in
//! its arguments.  What it is given to resolve and to check out was parsed and checked in [`url`] before.

mod checkout;
mod command;
#[cfg(test)]
mod tests;
pub mod url;

pub use checkout::{Checkout, Resolved, check_out, resolve};
pub use url::{Credentials, GitSource, GitUrlError, parse};

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// How git is run.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// The program.
    pub program: OsString,
    /// Whether the configuration of the user who builds counts: credential helpers, `insteadOf`, certificates.
    pub user_config: bool,
    /// Socket of an ssh agent.
    pub ssh_auth_sock: Option<PathBuf>,
    /// Whether repositories of this machine may be read (`file://`): never for what a Dockerfile names.
    pub allow_file: bool,
}

impl Default for GitOptions {
    fn default() -> GitOptions {
        GitOptions { program: "git".into(), user_config: false, ssh_auth_sock: None, allow_file: false }
    }
}

/// Why a repository could not be had; no text here holds a password.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git on this machine.
    #[error("`{program}` is needed for Git repositories and is not installed")]
    NotInstalled {
        /// The program looked for.
        program: String,
    },
    /// git failed.
    #[error("git could not {action} `{remote}`: {detail}")]
    Command {
        /// What it was to do.
        action: &'static str,
        /// The repository, without credentials.
        remote: String,
        /// The end of what git wrote.
        detail: String,
    },
    /// The repository does not have the reference.
    #[error("repository `{remote}` does not contain ref `{reference}`")]
    NoSuchRef {
        /// The repository, without credentials.
        remote: String,
        /// Branch, tag or full reference.
        reference: String,
    },
    /// The commit is not the one that was asked for.
    #[error("expected checksum to match {expected}, got {actual}")]
    Checksum {
        /// The commit or its beginning, as written.
        expected: String,
        /// The commit found.
        actual: String,
    },
    /// The reference moved between its resolution and the fetch, and its old commit is not there any more.
    #[error("`{remote}` does not have commit {commit} any more")]
    CommitGone {
        /// The repository, without credentials.
        remote: String,
        /// The commit.
        commit: String,
    },
    /// The subdirectory is not one of the checkout.
    #[error("`{subdir}` is not a directory of repository `{remote}`")]
    Subdirectory {
        /// The repository, without credentials.
        remote: String,
        /// The subdirectory.
        subdir: String,
    },
    /// A file of the checkout could not be changed.
    #[error("cannot prepare the checkout at `{path}`")]
    Prepare {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git could not be run.
    #[error("cannot run git")]
    Run(#[source] io::Error),
}
