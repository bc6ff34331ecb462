//! `--mount` of RUN: defaults filled in, targets made absolute, sources resolved.

use super::args::BuilderArgs;
use super::graph::{RunMount, SourceRef};
use super::planner::Planner;
use super::stages::{Command, Origin};
use super::state::State;
use super::{path, words};
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Mount, MountKind, Run, Word};
use crate::dockerfile::mount::{MountError, culprit};
use std::ops::Range;

/// Where secrets are files by default.
const SECRET_DIRECTORY: &str = "/run/secrets";

/// Mode of a secret's file.
const SECRET_MODE: u32 = 0o400;

/// Mode of a socket to an ssh agent.
const SOCKET_MODE: u32 = 0o600;

/// Where a mount of a RUN is being lowered.
struct Spot<'s> {
    stage: usize,
    span: Span,
    cwd: &'s str,
    origin: &'s Origin,
    no_cache: bool,
}

/// Returns the value of `from` in a `--mount`: the last one, as everywhere.
///
/// The stage graph needs it before there are variables to expand the other fields with.
pub(super) fn from_of(text: &str) -> Option<String> {
    let field = |field: &str| {
        let (key, value) = field.trim_matches('"').split_once('=')?;
        key.eq_ignore_ascii_case("from").then(|| value.to_owned())
    };
    text.split(',').filter_map(field).next_back()
}

impl Planner<'_> {
    /// Returns the error for a `--mount`, with the part that could not be expanded or the field that it is about.
    fn refused(&self, word: &Word, command: &Command<'_>, error: &MountError, at: Option<Range<usize>>) -> Diagnostic {
        let place = match at {
            Some(at) => words::part(self.source(), command.span_of(word.span), &word.node, at),
            None => command.span_of(culprit(word, error)),
        };
        let mut refused = self.error(place, error.to_string());
        if let MountError::Expand(error) = error {
            refused = refused.label(error.expected());
        }
        match error.hint() {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }

    /// Returns the mounts of a RUN.
    pub(super) fn mounts(
        &mut self,
        stage: usize,
        run: &Run,
        command: &Command<'_>,
        state: &State,
        no_cache: bool,
    ) -> Result<Vec<RunMount>, Diagnostic> {
        let cwd = state.cwd();
        let mut mounts = Vec::with_capacity(run.mounts.len());
        let mut sockets = 0;
        for (index, word) in run.mounts.iter().enumerate() {
            let span = command.span_of(word.span);
            let (mount, unmatched) = self
                .words
                .mount(&word.node, &state.env)
                .map_err(|(error, at)| self.refused(word, command, &error, at))?;
            for unmatched in &unmatched {
                self.lint_undefined(unmatched, word.span, command, state);
            }
            let origin = command.origins.get(index).unwrap_or(&Origin::Main);
            let spot = Spot { stage, span, cwd: &cwd, origin, no_cache };
            let lowered = match &mount.kind {
                MountKind::Bind { source, .. } => self.bind(&mount, source, &spot)?,
                MountKind::Cache { .. } => self.cache(&mount, &spot)?,
                MountKind::Tmpfs { size_bytes } => {
                    // Nothing of it is used, but what it names must be there.
                    self.source_ref(stage, origin, span)?;
                    RunMount::Tmpfs { target: self.mount_target(&mount.target, &spot)?, size_bytes: *size_bytes }
                }
                MountKind::Secret { .. } => {
                    let lowered = self.secret(&mount, &spot)?;
                    if let RunMount::Secret { id, required, .. } = &lowered {
                        self.capture.secret(id, *required, command.span());
                    }
                    lowered
                }
                MountKind::Ssh { .. } => {
                    sockets += 1;
                    let lowered = ssh(&mount, sockets - 1, &spot);
                    if let RunMount::Ssh { id, required, .. } = &lowered {
                        self.capture.ssh(id, *required, command.span());
                    }
                    lowered
                }
            };
            mounts.push(lowered);
        }
        Ok(mounts)
    }

    fn bind(&mut self, mount: &Mount, source: &str, spot: &Spot<'_>) -> Result<RunMount, Diagnostic> {
        Ok(RunMount::Bind {
            from: self.source_ref(spot.stage, spot.origin, spot.span)?,
            source: path::join("/", source),
            target: self.mount_target(&mount.target, spot)?,
            writable: mount.read_only == Some(false),
        })
    }

    fn cache(&mut self, mount: &Mount, spot: &Spot<'_>) -> Result<RunMount, Diagnostic> {
        let MountKind::Cache { id, sharing, source, mode, uid, gid, .. } = &mount.kind else {
            return Err(self.error(spot.span, "not a cache mount"));
        };
        let id = match id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => id.to_owned(),
            None => clean(&mount.target),
        };
        let namespace = BuilderArgs::of(&self.build_args).cache_mount_namespace;
        let from = match spot.origin {
            Origin::Main => None,
            origin => Some(self.source_ref(spot.stage, origin, spot.span)?),
        };
        let source = path::join("/", source.as_deref().unwrap_or("/"));
        // As BuildKit has it: what `source` names keeps its looks, and without one a directory that is given looks is
        // made for that and empty.
        let has_looks = mode.is_some() || uid.is_some() || gid.is_some();
        let (mode, uid, gid) = if source == "/" { (*mode, *uid, *gid) } else { (None, None, None) };
        let from = from.filter(|_| !has_looks || source != "/");
        Ok(RunMount::Cache {
            id: namespace.map_or(id.clone(), |namespace| format!("{namespace}/{id}")),
            target: self.mount_target(&mount.target, spot)?,
            sharing: *sharing,
            from: from.filter(|from| *from != SourceRef::Scratch),
            mode,
            uid,
            gid,
            read_only: mount.read_only == Some(true),
            start_empty: spot.no_cache && source == "/" && has_looks,
            source,
        })
    }

    fn secret(&mut self, mount: &Mount, spot: &Spot<'_>) -> Result<RunMount, Diagnostic> {
        let MountKind::Secret { id, required, mode, uid, gid, env } = &mount.kind else {
            return Err(self.error(spot.span, "not a secret mount"));
        };
        let id = match id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => id.to_owned(),
            None if mount.target.is_empty() => {
                return Err(self.error(spot.span, "a secret mount needs an `id` or a `target`"));
            }
            None => path::base_name(&mount.target).to_owned(),
        };
        let target = match (mount.target.as_str(), env) {
            ("", Some(_)) => None,
            ("", None) => Some(format!("{SECRET_DIRECTORY}/{}", path::base_name(&id))),
            (target, _) => Some(path::join(spot.cwd, target)),
        };
        let variable = env.as_ref().map(|name| if name.is_empty() { id.clone() } else { name.clone() });
        Ok(RunMount::Secret {
            target,
            env: variable,
            required: *required,
            mode: mode.unwrap_or(SECRET_MODE),
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            id,
        })
    }

    fn mount_target(&self, target: &str, spot: &Spot<'_>) -> Result<String, Diagnostic> {
        let target = path::join(spot.cwd, target);
        if target == "/" {
            return Err(self
                .error(spot.span, format!("invalid mount target `{target}`"))
                .hint("say where to mount it with `target=/path`; the root itself cannot be mounted over"));
        }
        Ok(target)
    }
}

fn ssh(mount: &Mount, index: usize, spot: &Spot<'_>) -> RunMount {
    let default = || format!("/run/buildkit/ssh_agent.{index}");
    let (id, required, mode, uid, gid) = match &mount.kind {
        MountKind::Ssh { id, required, mode, uid, gid } => (id.as_deref(), *required, *mode, *uid, *gid),
        _ => (None, false, None, None, None),
    };
    RunMount::Ssh {
        id: id.filter(|id| !id.is_empty()).unwrap_or("default").to_owned(),
        target: if mount.target.is_empty() { default() } else { path::join(spot.cwd, &mount.target) },
        required,
        mode: mode.unwrap_or(SOCKET_MODE),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
    }
}

/// Cleans the target that serves as id, a relative one staying relative: the id must not depend on WORKDIR.
fn clean(target: &str) -> String {
    let cleaned = path::join("/", target);
    if target.starts_with('/') { cleaned } else { cleaned[1..].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("type=bind,from=a,target=/x", Some("a"))]
    #[case("target=/x,FROM=a,from=b", Some("b"))]
    #[case("\"from=a\",target=/x", Some("a"))]
    #[case("type=tmpfs,target=/from=x", None)]
    fn from_is_found(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(from_of(text).as_deref(), expected);
    }
}
