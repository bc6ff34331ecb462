//! The only list of what a step's result depends on.
//!
//! Not in it, because the result must not depend on them: labels and places, values of secrets, contents of cache
//! mounts, proxies, the order of starting (`sharing`), names of images whose layers are in it, times and owners of
//! context files.

use super::{CacheKey, Manifest};
use crate::plan::graph::{CopyOp, CopySource, ImageOp, Network, Op, RunMount, RunOp, Step, WorkdirOp};
use crate::sys::capability::Capabilities;

/// What was found out about the inputs of a step.
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a> {
    /// Key of the base; `None` for an empty one, and for `COPY --link` where the record holds the layer alone.
    pub base: Option<CacheKey>,
    /// Key of each source of the step, in the order of [`sources`](crate::plan::graph::Step::sources) with downloads
    /// (`CopySource::Http`, `CopySource::Git`) in their place.
    pub sources: Vec<SourceKey<'a>>,
}

/// The key of what a step reads.
#[derive(Debug, Clone)]
pub struct SourceKey<'a> {
    /// What it is called in explanations, e.g. `context`, `stage build`.
    pub label: String,
    /// Names the selected content: digest of the files, key or digest of a stage's, commit, checksum.
    pub key: CacheKey,
    /// The files that the key was made of, with a digest each, where the explanation shall name the one that changed.
    pub files: &'a [(String, [u8; 32])],
}

/// Tells `out` everything that the result of a step depends on.
pub fn describe(step: &Step, inputs: &Inputs<'_>, out: &mut impl Manifest) {
    match &step.op {
        Op::Image(image) => describe_image(image, out),
        Op::Tree(_) => text(out, "op", "TREE"),
        Op::Run(run) => {
            text(out, "op", "RUN");
            text(out, "platform", &step.platform.to_string());
            describe_run(run, out);
        }
        Op::Copy(copy) => describe_copy(copy, out),
        Op::Workdir(workdir) => describe_workdir(workdir, out),
    }
    if let Some(base) = inputs.base {
        out.field("base", &base.0);
    }
    for source in &inputs.sources {
        out.field("source", &source.key.0);
        out.source_name(&source.label);
        source.files.iter().for_each(|(path, digest)| out.file(path, digest));
    }
}

/// An image is its layers, whatever its name and however they are compressed.
fn describe_image(image: &ImageOp, out: &mut impl Manifest) {
    text(out, "op", "FROM");
    for diff_id in &image.facts.config.rootfs.diff_ids {
        text(out, "layer", &diff_id.to_string());
    }
}

fn describe_run(run: &RunOp, out: &mut impl Manifest) {
    run.argv.iter().for_each(|argument| text(out, "argument", argument));
    if let Some(script) = &run.script {
        text(out, "script", &script.content);
        text(out, "script path", &script.path);
    }
    run.env.iter().for_each(|(name, value)| text(out, &format!("env {name}"), value));
    text(out, "working directory", &run.cwd);
    text(out, "user", &run.user);
    run.mounts.iter().for_each(|mount| describe_mount(mount, out));
    let network = match run.network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
        Network::Private => "private",
    };
    text(out, "network", network);
    flag(out, "insecure", run.insecure);
    // Left out where it is usual: records of the time before the flags stay valid.
    if run.capabilities != Capabilities::DOCKER {
        text(out, "capabilities", &run.capabilities.to_string());
    }
    run.devices.iter().for_each(|device| text(out, "device", device));
    number(out, "shm size", run.shm_size_bytes);
    for (name, soft, hard) in &run.ulimits {
        text(out, &format!("ulimit {name}"), &format!("{soft}:{hard}"));
    }
    run.extra_hosts.iter().for_each(|(name, address)| text(out, &format!("host {name}"), address));
    optional(out, "host name", run.hostname.as_deref());
}

fn describe_mount(mount: &RunMount, out: &mut impl Manifest) {
    match mount {
        RunMount::Bind { from: _, source, target, writable } => {
            text(out, "mount", "bind");
            text(out, "mount source", source);
            text(out, "mount target", target);
            flag(out, "mount writable", *writable);
        }
        // The key of `from` is among the inputs; that there is one tells apart which mount it belongs to.
        RunMount::Cache { id, target, sharing: _, from, source, mode, uid, gid, read_only, start_empty: _ } => {
            text(out, "mount", "cache");
            text(out, "mount id", id);
            text(out, "mount target", target);
            flag(out, "mount seeded", from.is_some());
            text(out, "mount source", source);
            number(out, "mount mode", mode.map(u64::from));
            number(out, "mount uid", uid.map(u64::from));
            number(out, "mount gid", gid.map(u64::from));
            flag(out, "mount read-only", *read_only);
        }
        RunMount::Tmpfs { target, size_bytes } => {
            text(out, "mount", "tmpfs");
            text(out, "mount target", target);
            number(out, "mount size", *size_bytes);
        }
        RunMount::Secret { id, target, env, required, mode, uid, gid } => {
            text(out, "mount", "secret");
            text(out, "mount id", id);
            optional(out, "mount target", target.as_deref());
            optional(out, "mount variable", env.as_deref());
            flag(out, "mount required", *required);
            owner(out, *mode, *uid, *gid);
        }
        RunMount::Ssh { id, target, required, mode, uid, gid } => {
            text(out, "mount", "ssh");
            text(out, "mount id", id);
            text(out, "mount target", target);
            flag(out, "mount required", *required);
            owner(out, *mode, *uid, *gid);
        }
    }
}

fn describe_copy(copy: &CopyOp, out: &mut impl Manifest) {
    text(out, "op", if copy.is_add { "ADD" } else { "COPY" });
    for source in &copy.sources {
        match source {
            CopySource::Paths { from: _, pattern, place: _ } => text(out, "path", pattern),
            CopySource::Inline { name, content } => {
                text(out, "inline", name);
                text(out, "inline content", content);
            }
            CopySource::Http { url, checksum } => {
                text(out, "url", url);
                optional(out, "checksum", checksum.map(|digest| digest.to_string()).as_deref());
            }
            CopySource::Git { url, keep_git_dir, checksum } => {
                text(out, "repository", url);
                flag(out, "keep .git", *keep_git_dir);
                optional(out, "checksum", checksum.as_deref());
            }
        }
    }
    text(out, "destination", &copy.destination);
    optional(out, "chown", copy.chown.as_deref());
    optional(out, "chmod", copy.chmod.as_deref());
    flag(out, "link", copy.link);
    flag(out, "parents", copy.parents);
    copy.exclude.iter().for_each(|pattern| text(out, "exclude", pattern));
    optional(out, "unpack", copy.unpack.map(|unpack| if unpack { "true" } else { "false" }));
    epoch(out, copy.epoch);
}

fn describe_workdir(workdir: &WorkdirOp, out: &mut impl Manifest) {
    text(out, "op", "WORKDIR");
    text(out, "path", &workdir.path);
    text(out, "user", &workdir.user);
    epoch(out, workdir.epoch);
}

fn text(out: &mut impl Manifest, name: &str, value: &str) {
    out.field(name, value.as_bytes());
}

/// A field that is not there is told from an empty one by its name not being there.
fn optional(out: &mut impl Manifest, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn flag(out: &mut impl Manifest, name: &str, value: bool) {
    if value {
        text(out, name, "true");
    }
}

fn number(out: &mut impl Manifest, name: &str, value: Option<u64>) {
    optional(out, name, value.map(|value| value.to_string()).as_deref());
}

fn owner(out: &mut impl Manifest, mode: u32, uid: u32, gid: u32) {
    text(out, "mount mode", &format!("{mode:o}"));
    text(out, "mount owner", &format!("{uid}:{gid}"));
}

fn epoch(out: &mut impl Manifest, seconds: Option<i64>) {
    optional(out, "epoch", seconds.map(|seconds| seconds.to_string()).as_deref());
}
