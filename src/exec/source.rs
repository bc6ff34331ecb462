//! The main context and the Dockerfile, wherever they are.

use super::contexts::Context;
use super::remote;
use super::request::{BuildRequest, ContextSource, DockerfileSource};
use super::session::Session;
use crate::context::local::LocalContext;
use crate::diag::{Diagnostic, Exit};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest Dockerfile that is read.
const DOCKERFILE_LIMIT_BYTES: u64 = 16 << 20;
/// The name of a Dockerfile when none is given.
pub(super) const DEFAULT_NAME: &str = "Dockerfile";

/// What is built.
pub struct BuildSource {
    /// The main context.
    pub context: Context,
    /// The Dockerfile's name for messages.
    pub name: String,
    /// The Dockerfile.
    pub text: Vec<u8>,
}

/// Opens the context and reads the Dockerfile.
pub fn open(session: &Session, request: &BuildRequest) -> Result<BuildSource, Diagnostic> {
    match &request.context {
        ContextSource::Directory(path) => open_directory(session, path, &request.dockerfile),
        ContextSource::Stdin => {
            if request.dockerfile == DockerfileSource::Stdin {
                return Err(Diagnostic::error(
                    Exit::Usage,
                    "the context and the Dockerfile cannot both come from standard input",
                ));
            }
            let name = name_inside(&request.dockerfile);
            let context = remote::open_stream(session, std::io::stdin(), &name)?;
            read_inside(context, &name)
        }
        ContextSource::Url(url) => {
            let name = name_inside(&request.dockerfile);
            let keep_git_dir = request.build_args.iter().any(|(key, value)| {
                key == "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
                    && matches!(value.as_deref(), Some("1" | "true" | "t" | "T" | "True" | "TRUE"))
            });
            let context = remote::open_main(session, url, &name, keep_git_dir)?;
            if request.dockerfile == DockerfileSource::Stdin {
                return Ok(BuildSource { context, name: "<stdin>".into(), text: read_stdin()? });
            }
            read_inside(context, &name)
        }
    }
}

fn open_directory(session: &Session, path: &Path, dockerfile: &DockerfileSource) -> Result<BuildSource, Diagnostic> {
    let DockerfileText { file, name, text } = read_dockerfile(path, dockerfile)?;
    let local = LocalContext::open(path, file.as_deref())?;
    Ok(BuildSource { context: Context::local(session, local), name, text })
}

/// A Dockerfile that was read.
#[derive(Debug)]
pub struct DockerfileText {
    /// Where it is, `None` for standard input.
    pub file: Option<PathBuf>,
    /// Its name for messages.
    pub name: String,
    /// What is in it.
    pub text: Vec<u8>,
}

/// Reads the Dockerfile of a context that is a directory.
pub fn read_dockerfile(path: &Path, dockerfile: &DockerfileSource) -> Result<DockerfileText, Diagnostic> {
    let (file, name) = match dockerfile {
        DockerfileSource::Stdin => (None, "<stdin>".to_owned()),
        DockerfileSource::Default => (Some(path.join(DEFAULT_NAME)), DEFAULT_NAME.to_owned()),
        DockerfileSource::Path(file) => (Some(file.clone()), file.display().to_string()),
    };
    let text = match &file {
        None => read_stdin()?,
        Some(file) => read_file(file, path)?,
    };
    Ok(DockerfileText { file, name, text })
}

/// Dockerfiles that are links are followed: they are the user's own, in the user's own directory.
fn read_file(file: &Path, context: &Path) -> Result<Vec<u8>, Diagnostic> {
    let failed = |error: std::io::Error| {
        let diagnostic = Diagnostic::error(Exit::Usage, format!("failed to read dockerfile `{}`", file.display()))
            .note(match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            });
        match similar_names(context) {
            names if names.is_empty() => diagnostic.hint("name it with `-f`"),
            names => diagnostic.hint(format!("name it with `-f`; the context has {names}")),
        }
    };
    // A FIFO would wait for a writer that never comes.
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    read_limited(std::fs::File::open(file).map_err(failed)?, &file.display().to_string())
}

fn similar_names(context: &Path) -> String {
    let entries = std::fs::read_dir(context).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.to_lowercase().contains("dockerfile") || name.to_lowercase().contains("containerfile"))
        .map(|name| format!("`{name}`"))
        .take(5)
        .collect();
    names.sort();
    names.join(", ")
}

fn read_stdin() -> Result<Vec<u8>, Diagnostic> {
    read_limited(std::io::stdin(), "standard input")
}

fn read_limited(reader: impl Read, name: &str) -> Result<Vec<u8>, Diagnostic> {
    let mut text = Vec::new();
    let read = reader.take(DOCKERFILE_LIMIT_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| Diagnostic::error(Exit::Usage, format!("cannot read {name}")).note(error.to_string()))?;
    if text.len() as u64 > DOCKERFILE_LIMIT_BYTES {
        return Err(Diagnostic::error(
            Exit::Usage,
            format!("the Dockerfile {name} is larger than {DOCKERFILE_LIMIT_BYTES} bytes"),
        ));
    }
    Ok(text)
}

fn name_inside(dockerfile: &DockerfileSource) -> PathBuf {
    match dockerfile {
        DockerfileSource::Path(path) => path.clone(),
        DockerfileSource::Default | DockerfileSource::Stdin => DEFAULT_NAME.into(),
    }
}

/// Reads a Dockerfile that is part of a fetched context, in-root.
fn read_inside(context: Context, path: &Path) -> Result<BuildSource, Diagnostic> {
    let name = path.display().to_string();
    let missing = |reason: String| {
        Diagnostic::error(Exit::Usage, format!("failed to read dockerfile `{name}` in the context")).note(reason)
    };
    let text = context.root().read_limited(path, DOCKERFILE_LIMIT_BYTES).map_err(|error| missing(error.to_string()))?;
    let text = text.ok_or_else(|| missing("no such file or directory".into()))?;
    Ok(BuildSource { context, name, text })
}
