//! Finds the commit of a reference and checks it out.

use super::command::Git;
use super::url::is_commit;
use super::{GitError, GitOptions, GitSource};
use crate::sys::Root;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Deepest directory of a checkout that is looked at.
const MAX_DEPTH: usize = 2048;

/// The commit that a source stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit, whole; the key of everything made from it.
    pub commit: String,
    /// The full reference it was found at, `None` for a source that names a commit.
    pub reference: Option<String>,
}

/// A commit on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The directory that stands for the source: the checkout or its subdirectory.
    pub root: PathBuf,
    /// The commit.
    pub commit: String,
    /// When it was committed, seconds since the epoch.
    pub committed_at: i64,
}

/// Asks the repository for the commit of the source's reference, and checks it against the source's checksum.
///
/// A source that names a whole commit needs no question.  `scratch` is any directory of our own.
pub fn resolve(source: &GitSource, options: &GitOptions, scratch: &Path) -> Result<Resolved, GitError> {
    if let (true, Some(commit)) = (source.fetch_by_commit, &source.checksum)
        && is_commit(commit)
    {
        return Ok(Resolved { commit: commit.clone(), reference: None });
    }
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    if is_commit(reference) {
        let resolved = Resolved { commit: reference.to_owned(), reference: None };
        check_commit(source, &[reference])?;
        return Ok(resolved);
    }
    let git = Git { options, source, directory: scratch };
    let peeled = format!("{reference}^{{}}");
    let listing = git.run("list the references of", &["ls-remote", "--", &source.remote, reference, &peeled])?;
    let (full_name, commit, tag) = find_reference(&listing, reference)
        .ok_or_else(|| GitError::NoSuchRef { remote: source.remote.clone(), reference: reference.to_owned() })?;
    check_commit(source, &[commit.as_str(), tag.as_str()])?;
    Ok(Resolved { commit, reference: Some(full_name) })
}

/// Returns full name, commit and (for an annotated tag) tag object; branches go before tags.
fn find_reference(listing: &str, reference: &str) -> Option<(String, String, String)> {
    let find = |name: &str| {
        let mut lines = listing.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(id, found)| *found == name && is_commit(id)).map(|(id, _)| id.to_owned())
    };
    let as_is = [reference.to_owned(), format!("refs/{}", reference.trim_start_matches("refs/"))];
    let branch = format!("refs/heads/{}", reference.trim_start_matches("refs/heads/"));
    let tag = format!("refs/tags/{}", reference.trim_start_matches("refs/tags/"));
    for name in as_is.into_iter().chain([branch, tag]) {
        if let Some(id) = find(&name) {
            let commit = find(&format!("{name}^{{}}")).unwrap_or_else(|| id.clone());
            return Some((name, commit, id));
        }
    }
    None
}

fn check_commit(source: &GitSource, found: &[&str]) -> Result<(), GitError> {
    match &source.checksum {
        Some(expected) if !found.iter().any(|id| id.starts_with(expected.as_str())) => {
            Err(GitError::Checksum { expected: expected.clone(), actual: found[0].to_owned() })
        }
        _ => Ok(()),
    }
}

/// Checks a commit out into `directory`, which exists and is empty.
///
/// Modes are what git tracks, whatever the umask.  `.git` is dropped unless `keep_git_dir`; with a subdirectory always.
pub fn check_out(
    source: &GitSource,
    resolved: &Resolved,
    keep_git_dir: bool,
    options: &GitOptions,
    directory: &Path,
) -> Result<Checkout, GitError> {
    let git = Git { options, source, directory };
    let commit = resolved.commit.as_str();
    let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.run("make a copy of", &["init", "--quiet", format])?;
    git.run("make a copy of", &["remote", "add", "--", "origin", &source.remote])?;
    fetch(&git, resolved)?;
    git.run("check out", &["checkout", "--quiet", "--force", "--detach", commit])?;
    if source.submodules && directory.join(".gitmodules").symlink_metadata().is_ok() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        git.run("update the submodules of", &update)?;
    }
    let time = commit_time(&git, commit)?;
    let times = source.commit_time.then_some(Timestamps { last_access: time, last_modification: time });
    let keeps = keep_git_dir && source.subdir.is_none();
    if keeps {
        tidy_git_dir(&git)?;
    } else {
        let path = directory.join(".git");
        std::fs::remove_dir_all(&path).map_err(|source| GitError::Prepare { path, source })?;
    }
    normalise(directory, times.as_ref(), keeps, 0)?;
    Ok(Checkout { root: subdirectory(source, directory)?, commit: commit.to_owned(), committed_at: time.tv_sec })
}

/// Fetches the commit alone: by its reference while that still stands for it, then by its id, then with everything.
fn fetch(git: &Git<'_>, resolved: &Resolved) -> Result<(), GitError> {
    let commit = resolved.commit.as_str();
    let has_commit = || git.run("find a commit of", &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok();
    let fetch = |depth: &[&str], refspecs: &[&str]| {
        let options = ["fetch", "--quiet", "--no-tags", "--update-head-ok"];
        let arguments = [&options, depth, &["--", "origin"], refspecs].concat();
        git.run("fetch", &arguments)
    };
    if let Some(reference) = &resolved.reference {
        let refspec = if reference == "HEAD" { "HEAD".to_owned() } else { format!("+{reference}:{reference}") };
        // Old and simple servers know no shallow clones.
        fetch(&["--depth=1"], &[&refspec]).or_else(|_| fetch(&[], &[&refspec]))?;
        if has_commit() {
            return Ok(());
        }
    }
    let by_id = fetch(&["--depth=1"], &[commit]);
    if by_id.is_ok() && has_commit() {
        return Ok(());
    }
    // A server that does not give commits by their id, or gives no history of the one asked for.
    let unshallow: &[&str] = if git.directory.join(".git/shallow").exists() { &["--unshallow"] } else { &[] };
    fetch(unshallow, &["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])?;
    if has_commit() {
        return Ok(());
    }
    Err(GitError::CommitGone { remote: git.source.remote.clone(), commit: commit.to_owned() })
}

fn commit_time(git: &Git<'_>, commit: &str) -> Result<Timespec, GitError> {
    let text = git.run("read a commit of", &["show", "--no-patch", "--format=%ct", commit])?;
    let invalid = || GitError::Run(io::Error::new(io::ErrorKind::InvalidData, "the commit has no time"));
    Ok(Timespec { tv_sec: text.trim().parse().map_err(|_| invalid())?, tv_nsec: 0 })
}

/// Takes out of a kept `.git` what belongs to this fetch and not to the repository.
fn tidy_git_dir(git: &Git<'_>) -> Result<(), GitError> {
    git.run("tidy the copy of", &["reflog", "expire", "--all", "--expire=now"])?;
    let path = git.directory.join(".git/FETCH_HEAD");
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(GitError::Prepare { path, source }),
        _ => Ok(()),
    }
}

/// Gives files the modes that git tracks and, if wanted, one time; drops the `.git` files of submodules.
fn normalise(directory: &Path, times: Option<&Timestamps>, keeps: bool, depth: usize) -> Result<(), GitError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| GitError::Prepare { path, source }
    };
    if depth > MAX_DEPTH {
        return Err(failed(directory)(io::Error::from(io::ErrorKind::InvalidFilename)));
    }
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let entry = entry.map_err(failed(directory))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed(&path))?;
        if entry.file_name() == ".git" {
            if !keeps && kind.is_file() {
                std::fs::remove_file(&path).map_err(failed(&path))?;
            }
            continue;
        }
        if kind.is_dir() {
            normalise(&path, times, keeps, depth + 1)?;
            continue;
        }
        if kind.is_file() {
            let mode = entry.metadata().map_err(failed(&path))?.permissions().mode();
            set_mode(&path, mode, if mode & 0o100 != 0 { 0o755 } else { 0o644 }).map_err(failed(&path))?;
        }
        set_times(&path, times).map_err(failed(&path))?;
    }
    let mode = std::fs::symlink_metadata(directory).map_err(failed(directory))?.permissions().mode();
    if depth > 0 {
        set_mode(directory, mode, 0o755).map_err(failed(directory))?;
    }
    set_times(directory, times).map_err(failed(directory))
}

fn set_mode(path: &Path, old: u32, new: u32) -> io::Result<()> {
    if old & 0o7777 == new {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(new))
}

fn set_times(path: &Path, times: Option<&Timestamps>) -> io::Result<()> {
    if let Some(times) = times {
        rustix::fs::utimensat(CWD, path, times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Returns the path of the subdirectory; a link on the way is refused, for it could lead out of the checkout.
fn subdirectory(source: &GitSource, directory: &Path) -> Result<PathBuf, GitError> {
    let Some(subdir) = &source.subdir else { return Ok(directory.to_owned()) };
    let refused = || GitError::Subdirectory { remote: source.remote.clone(), subdir: subdir.clone() };
    let root = Root::open(directory).map_err(|source| GitError::Prepare { path: directory.to_owned(), source })?;
    let canonical = root.canonical(Path::new(subdir)).map_err(|_| refused())?;
    if canonical != Path::new("/").join(subdir) {
        return Err(refused());
    }
    root.open_at(&canonical, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(|_| refused())?;
    Ok(directory.join(subdir))
}
