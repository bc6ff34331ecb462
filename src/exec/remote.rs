//! What comes from the network besides images: ADD of URLs and repositories, contexts that are neither directory nor archive
//! on this machine.

use super::contexts::{Context, Time, newest_file, temporary_root};
use super::session::{Session, store_failure};
use crate::context::archive::{self, ArchiveError, Stream};
use crate::context::git::{self, GitOptions, GitSource};
use crate::context::http::{self, Revalidated};
use crate::context::local::LocalContext;
use crate::diag::{Diagnostic, Exit};
use crate::image::Digest;
use crate::plan::graph::CopySource;
use crate::sys::Root;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Largest file that ADD and contexts fetch.
const DOWNLOAD_LIMIT_BYTES: u64 = 64 << 30;

/// What a download is, known before it is needed.
#[derive(Clone)]
pub enum Fetched {
    /// A file from the web.
    Http(Arc<Page>),
    /// A commit of a repository.
    Git(Arc<Repository>),
}

impl Fetched {
    /// Returns what stands for its content in cache keys.
    pub fn key(&self) -> [u8; 32] {
        let text = match self {
            Fetched::Http(page) => format!("http {} {:?}", page.seen.digest, page.seen.last_modified),
            Fetched::Git(repository) => format!("git {}", repository.resolved.commit),
        };
        blake3::hash(text.as_bytes()).into()
    }
}

/// A file from the web, as it was when it was last looked at.
pub struct Page {
    url: url::Url,
    seen: Seen,
    file: OnceLock<http::Fetched>,
}

/// What is remembered of a URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    digest: Digest,
    last_modified: Option<i64>,
    etag: Option<String>,
}

impl Page {
    /// Returns the time of its last change, seconds since the epoch.
    pub fn last_modified(&self) -> Option<i64> {
        self.seen.last_modified
    }

    /// Returns the name that it has in a destination directory.
    pub fn file_name(&self) -> OsString {
        super::copy::download_name(self.url.as_str())
    }

    /// Opens the file, fetching it if only its digest was needed so far.
    pub fn open(&self, session: &Session) -> Result<File, Diagnostic> {
        if let Some(fetched) = self.file.get() {
            return reopen(fetched.file.path());
        }
        let fetched = fetch(session, &self.url)?;
        if fetched.digest != self.seen.digest {
            return Err(Diagnostic::error(
                Exit::Network,
                format!("`{}` changed while it was used", crate::transport::redacted(&self.url)),
            ));
        }
        reopen(self.file.get_or_init(|| fetched).file.path())
    }
}

fn reopen(path: &Path) -> Result<File, Diagnostic> {
    File::open(path).map_err(|error| Diagnostic::error(Exit::Step, "cannot open a download").note(error.to_string()))
}

/// A commit of a repository.
pub struct Repository {
    source: GitSource,
    resolved: git::Resolved,
    keep_git_dir: bool,
    options: GitOptions,
}

/// A checkout that lives as long as this.
pub struct Checkout {
    root: Root,
    _directory: tempfile::TempDir,
}

impl Checkout {
    /// Returns the root of what was checked out.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Repository {
    /// Checks the commit out.
    pub fn checkout(&self, session: &Session) -> Result<Checkout, Diagnostic> {
        let (directory, done) = self.check_out(session)?;
        let root = Root::open(&done.root)
            .map_err(|error| Diagnostic::error(Exit::Step, "cannot open a checkout").note(error.to_string()))?;
        Ok(Checkout { root, _directory: directory })
    }

    fn check_out(&self, session: &Session) -> Result<(tempfile::TempDir, git::Checkout), Diagnostic> {
        let (directory, _, path) = temporary_root(session)?;
        let done = git::check_out(&self.source, &self.resolved, self.keep_git_dir, &self.options, &path)
            .map_err(git_failure)?;
        Ok((directory, done))
    }
}

/// Finds out what a source of ADD is, so that a cache key can be made of it.
pub fn identify(session: &Session, source: &CopySource) -> Result<Fetched, Diagnostic> {
    match source {
        CopySource::Http { url, checksum } => {
            identify_page(session, url, checksum.as_ref()).map(|page| Fetched::Http(Arc::new(page)))
        }
        CopySource::Git { url, keep_git_dir, checksum } => {
            let repository = identify_repository(session, url, Some(*keep_git_dir), checksum.as_deref())?;
            Ok(Fetched::Git(Arc::new(repository)))
        }
        CopySource::Paths { .. } | CopySource::Inline { .. } => {
            Err(Diagnostic::error(Exit::Bug, "a local source was taken for a download"))
        }
    }
}

fn identify_page(session: &Session, text: &str, checksum: Option<&Digest>) -> Result<Page, Diagnostic> {
    let url = http::parse_url(text).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    let slot: [u8; 32] = blake3::hash(format!("http {url}").as_bytes()).into();
    let remembered = session.store().description(&slot).and_then(|text| serde_json::from_slice::<Seen>(&text).ok());
    if let Some(seen) = remembered
        && is_current(session, &url, &seen, checksum)?
    {
        return Ok(Page { url, seen, file: OnceLock::new() });
    }
    let fetched = fetch(session, &url)?;
    if let Some(checksum) = checksum
        && fetched.digest != *checksum
    {
        let message = format!(
            "digest mismatch for `{}`: got {}, expected {checksum}",
            crate::transport::redacted(&url),
            fetched.digest
        );
        return Err(Diagnostic::error(Exit::Network, message));
    }
    let seen = Seen { digest: fetched.digest, last_modified: fetched.last_modified, etag: fetched.etag.clone() };
    let description = serde_json::to_vec(&seen).unwrap_or_default();
    session.store().put_description(&slot, &description).map_err(store_failure)?;
    let file = OnceLock::new();
    let _ = file.set(fetched);
    Ok(Page { url, seen, file })
}

/// What was seen is still what is meant: the checksum says so without a request, or the server does.
fn is_current(session: &Session, url: &url::Url, seen: &Seen, checksum: Option<&Digest>) -> Result<bool, Diagnostic> {
    if let Some(checksum) = checksum {
        return Ok(seen.digest == *checksum);
    }
    let Some(etag) = &seen.etag else { return Ok(false) };
    let answer = http::revalidate(session.client()?.transport(), url, etag);
    Ok(matches!(answer.map_err(|error| Diagnostic::from_error(Exit::Network, &error))?, Revalidated::NotModified))
}

fn fetch(session: &Session, url: &url::Url) -> Result<http::Fetched, Diagnostic> {
    let tmp = session.store().root().join("tmp");
    let task = session.reporter().start(format!("[internal] fetch {}", crate::transport::redacted(url)));
    let fetched = http::fetch(session.client()?.transport(), url, &tmp, DOWNLOAD_LIMIT_BYTES);
    let fetched = fetched.map_err(|error| Diagnostic::from_error(Exit::Network, &error));
    super::base::end_task(task, &fetched);
    fetched
}

fn identify_repository(
    session: &Session,
    url: &str,
    keep_git_dir: Option<bool>,
    checksum: Option<&str>,
) -> Result<Repository, Diagnostic> {
    let mut source = git::parse(url)
        .map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?
        .ok_or_else(|| Diagnostic::error(Exit::Usage, "this is no Git URL"))?;
    if let Some(checksum) = checksum {
        source.checksum = Some(checksum.to_owned());
    }
    let options = GitOptions {
        user_config: true,
        ssh_auth_sock: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        ..GitOptions::default()
    };
    let (_scratch, _, path) = temporary_root(session)?;
    let resolved = git::resolve(&source, &options, &path).map_err(git_failure)?;
    let keep_git_dir = keep_git_dir.unwrap_or(false);
    Ok(Repository { source, resolved, keep_git_dir, options })
}

fn git_failure(error: git::GitError) -> Diagnostic {
    Diagnostic::from_error(Exit::Network, &error)
}

/// Opens what `--build-context name=` gives: a directory, a repository or one file from the web.
pub fn open_named(session: &Session, location: &str) -> Result<Context, Diagnostic> {
    if is_git(location)? {
        return open_repository(session, location, false, None);
    }
    if !is_web(location) {
        let path = Path::new(location);
        return Ok(Context::local(session, LocalContext::open(path, None)?));
    }
    // One file by the name `context`, never unpacked: what BuildKit's named contexts do.
    let url = http::parse_url(location).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    let fetched = fetch(session, &url)?;
    let (directory, root, path) = temporary_root(session)?;
    let target = path.join("context");
    let moved = std::fs::copy(fetched.file.path(), &target).and_then(|_| {
        let modified = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(fetched.last_modified.unwrap_or(0).max(0).unsigned_abs());
        File::options().write(true).open(&target)?.set_modified(modified)?;
        std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o600))
    });
    moved.map_err(|error| Diagnostic::error(Exit::Step, "cannot keep a download").note(error.to_string()))?;
    Ok(Context::temporary(directory, root, None, false))
}

/// Opens a main context given as URL; `dockerfile` is the path of the Dockerfile in it.
pub fn open_main(session: &Session, url: &str, dockerfile: &Path, keep_git_dir: bool) -> Result<Context, Diagnostic> {
    if is_git(url)? {
        return open_repository(session, url, keep_git_dir, Some(dockerfile));
    }
    let parsed = http::parse_url(url).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    let fetched = fetch(session, &parsed)?;
    let context = open_stream(session, reopen(fetched.file.path())?, dockerfile)?;
    Ok(match fetched.last_modified {
        Some(seconds) => context.changed(Time::At(seconds)),
        // A lone Dockerfile has no files that came with a time.
        None if is_archive(fetched.file.path()) => context.changed(Time::NewestFile),
        None => context,
    })
}

fn is_archive(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(archive::identify(file), Ok(Stream::Archive(_))))
}

/// Returns when what `--build-context name=` gives was last changed, if it has a time of its own.
pub fn time_of_named(session: &Session, location: &str) -> Result<Option<i64>, Diagnostic> {
    if is_git(location)? {
        let (_directory, done) = identify_repository(session, location, Some(false), None)?.check_out(session)?;
        return Ok(Some(done.committed_at));
    }
    if is_web(location) { time_of_page(session, &identify_page(session, location, None)?) } else { Ok(None) }
}

/// Returns when a source of ADD was last changed, if it has a time of its own.
pub fn time_of_source(session: &Session, source: &CopySource) -> Result<Option<i64>, Diagnostic> {
    match identify(session, source)? {
        Fetched::Http(page) => time_of_page(session, &page),
        Fetched::Git(repository) => repository.check_out(session).map(|(_, done)| Some(done.committed_at)),
    }
}

/// A server that does not say may have sent an archive, whose files have times.
fn time_of_page(session: &Session, page: &Page) -> Result<Option<i64>, Diagnostic> {
    if page.last_modified().is_some() {
        return Ok(page.last_modified());
    }
    let Ok(Stream::Archive(stream)) = archive::identify(page.open(session)?) else { return Ok(None) };
    let unpacked = archive::unpack(stream, &session.store().root().join("tmp"));
    // One that cannot be unpacked has no time; where it is needed for more, that fails.
    Ok(unpacked.ok().and_then(|unpacked| newest_file(unpacked.path())))
}

/// Opens a main context that is a stream: an archive, or a lone Dockerfile.
pub fn open_stream(
    session: &Session,
    stream: impl std::io::Read + Send,
    dockerfile: &Path,
) -> Result<Context, Diagnostic> {
    let failed = |error: &ArchiveError| Diagnostic::from_error(Exit::Usage, error);
    match archive::identify(stream).map_err(|error| failed(&error))? {
        Stream::Archive(stream) => {
            let tmp = session.store().root().join("tmp");
            let unpacked = archive::unpack(stream, &tmp).map_err(|error| failed(&error))?;
            let local = LocalContext::unpacked(unpacked.path(), Some(dockerfile), unpacked.keep_owner)?;
            Ok(Context::unpacked(unpacked.into_directory(), local))
        }
        Stream::Dockerfile(text) => {
            // A name from the command line may lead anywhere, and what came may be a stranger's.
            if dockerfile != Path::new(super::source::DEFAULT_NAME) {
                let message = "ambiguous Dockerfile source: the context is a Dockerfile itself, and `-f` names another";
                return Err(Diagnostic::error(Exit::Usage, message).hint("leave out `-f`"));
            }
            let (directory, _, path) = temporary_root(session)?;
            std::fs::write(path.join(dockerfile), text)
                .map_err(|error| Diagnostic::error(Exit::Step, "cannot keep the Dockerfile").note(error.to_string()))?;
            Ok(Context::unpacked(directory, LocalContext::unpacked(&path, Some(dockerfile), false)?))
        }
    }
}

fn open_repository(
    session: &Session,
    url: &str,
    keep_git_dir: bool,
    dockerfile: Option<&Path>,
) -> Result<Context, Diagnostic> {
    let repository = identify_repository(session, url, Some(keep_git_dir), None)?;
    let task = session.reporter().start(format!("[internal] load git source {}", repository.source.display()));
    let checkout = repository.check_out(session);
    super::base::end_task(task, &checkout);
    let (directory, done) = checkout?;
    let local = LocalContext::unpacked(&done.root, dockerfile, false)?;
    Ok(Context::unpacked(directory, local).changed(Time::At(done.committed_at)))
}

fn is_git(location: &str) -> Result<bool, Diagnostic> {
    git::parse(location).map(|source| source.is_some()).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))
}

fn is_web(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://")
}
