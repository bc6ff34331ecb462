#![allow(clippy::unwrap_used, clippy::type_complexity)]

use super::*;
use crate::diag::{Place, Source, Span};
use crate::dockerfile::ast::Sharing;
use crate::image::{Descriptor, Digest, ImageConfig, Platform};
use crate::plan::graph::{
    ContextId, CopyOp, CopySource, ImageFacts, ImageOp, Network, Op, RunMount, RunOp, Script, SourceRef, Step, StepId,
    WorkdirOp,
};
use std::sync::Arc;

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn step(op: Op) -> Step {
    Step {
        id: StepId(0),
        label: "label".into(),
        stage: "stage".into(),
        place: None,
        op,
        no_cache: false,
        platform: platform("linux/amd64"),
    }
}

fn key_with(step: &Step, inputs: &Inputs<'_>) -> CacheKey {
    let mut hasher = Hasher::new();
    describe(step, inputs, &mut hasher);
    hasher.finish()
}

fn key(step: &Step) -> CacheKey {
    key_with(step, &Inputs::default())
}

fn explain(step: &Step, inputs: &Inputs<'_>) -> Explanation {
    let mut explainer = Explainer::new();
    describe(step, inputs, &mut explainer);
    explainer.finish()
}

fn mounts() -> Vec<RunMount> {
    let context = SourceRef::Context(ContextId(0));
    vec![
        RunMount::Bind { from: context, source: "/".into(), target: "/b".into(), writable: false },
        RunMount::Cache {
            id: "id".into(),
            target: "/c".into(),
            sharing: Sharing::Shared,
            from: None,
            source: "/".into(),
            mode: None,
            uid: None,
            gid: None,
            read_only: false,
            start_empty: false,
        },
        RunMount::Tmpfs { target: "/t".into(), size_bytes: None },
        RunMount::Secret {
            id: "s".into(),
            target: Some("/s".into()),
            env: None,
            required: false,
            mode: 0o400,
            uid: 0,
            gid: 0,
        },
        RunMount::Ssh { id: "a".into(), target: "/a".into(), required: false, mode: 0o600, uid: 0, gid: 0 },
    ]
}

fn run() -> RunOp {
    RunOp {
        base: None,
        argv: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        script: Some(Script { content: "#!/x".into(), path: "/dev/pipes/E".into() }),
        env: Arc::new(vec![("A".into(), "1".into()), ("B".into(), "2".into())]),
        unkeyed_env: vec![],
        cwd: "/".into(),
        user: "u".into(),
        mounts: mounts(),
        network: Network::Default,
        insecure: false,
        devices: vec![],
        shm_size_bytes: None,
        ulimits: vec![("nofile".into(), 1, 2)],
        capabilities: crate::sys::capability::Capabilities::DOCKER,
        extra_hosts: vec![("h".into(), "1.1.1.1".into())],
        hostname: None,
    }
}

fn env(run: &mut RunOp) -> &mut Vec<(String, String)> {
    Arc::make_mut(&mut run.env)
}

fn copy() -> CopyOp {
    let context = SourceRef::Context(ContextId(0));
    CopyOp {
        base: None,
        sources: vec![
            CopySource::Paths { from: context, pattern: "a".into(), place: None },
            CopySource::Inline { name: "E".into(), content: "x".into() },
            CopySource::Http { url: "http://h/a".into(), checksum: None },
            CopySource::Git { url: "https://h/a.git".into(), keep_git_dir: false, checksum: None },
        ],
        destination: "/d/".into(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: vec!["x".into()],
        is_add: false,
        unpack: None,
        epoch: None,
    }
}

/// Applies one change to one field at a time and returns the names of those after which the key is still the same.
fn unchanged<T: Clone>(base: &T, wrap: impl Fn(T) -> Op, changes: &[(&'static str, fn(&mut T))]) -> Vec<&'static str> {
    let before = key(&step(wrap(base.clone())));
    let same = |change: &fn(&mut T)| {
        let mut changed = base.clone();
        change(&mut changed);
        key(&step(wrap(changed))) == before
    };
    changes.iter().filter(|(_, change)| same(change)).map(|(name, _)| *name).collect()
}

macro_rules! mount {
    ($run:expr, $kind:ident, $field:ident = $value:expr) => {
        for mount in &mut $run.mounts {
            if let RunMount::$kind { $field, .. } = mount {
                *$field = $value;
            }
        }
    };
}

macro_rules! source {
    ($copy:expr, $kind:ident, $field:ident = $value:expr) => {
        for source in &mut $copy.sources {
            if let CopySource::$kind { $field, .. } = source {
                *$field = $value;
            }
        }
    };
}

#[test]
fn every_field_of_run_is_in_the_key() {
    let changes: &[(&str, fn(&mut RunOp))] = &[
        ("argv", |run| run.argv[2] = "make all".into()),
        ("argv split", |run| run.argv = vec!["/bin/sh".into(), "-cmake".into()]),
        ("script", |run| run.script = None),
        ("script content", |run| run.script.as_mut().unwrap().content.push('x')),
        ("script path", |run| run.script.as_mut().unwrap().path.push('x')),
        ("env value", |run| env(run)[0].1 = "2".into()),
        ("env name", |run| env(run)[0].0 = "C".into()),
        ("env order", |run| env(run).reverse()),
        ("cwd", |run| run.cwd = "/w".into()),
        ("user", |run| run.user = String::new()),
        ("no mounts", |run| run.mounts.clear()),
        ("bind source", |run| mount!(run, Bind, source = "/x".into())),
        ("bind target", |run| mount!(run, Bind, target = "/x".into())),
        ("bind writable", |run| mount!(run, Bind, writable = true)),
        ("cache id", |run| mount!(run, Cache, id = "x".into())),
        ("cache target", |run| mount!(run, Cache, target = "/x".into())),
        ("cache from", |run| mount!(run, Cache, from = Some(SourceRef::Scratch))),
        ("cache source", |run| mount!(run, Cache, source = "/x".into())),
        ("cache mode", |run| mount!(run, Cache, mode = Some(0))),
        ("cache uid", |run| mount!(run, Cache, uid = Some(0))),
        ("cache gid", |run| mount!(run, Cache, gid = Some(0))),
        ("cache read-only", |run| mount!(run, Cache, read_only = true)),
        ("tmpfs target", |run| mount!(run, Tmpfs, target = "/x".into())),
        ("tmpfs size", |run| mount!(run, Tmpfs, size_bytes = Some(1))),
        ("secret id", |run| mount!(run, Secret, id = "x".into())),
        ("secret target", |run| mount!(run, Secret, target = None)),
        ("secret env", |run| mount!(run, Secret, env = Some("E".into()))),
        ("secret required", |run| mount!(run, Secret, required = true)),
        ("secret mode", |run| mount!(run, Secret, mode = 0)),
        ("secret uid", |run| mount!(run, Secret, uid = 1)),
        ("secret gid", |run| mount!(run, Secret, gid = 1)),
        ("ssh id", |run| mount!(run, Ssh, id = "x".into())),
        ("ssh target", |run| mount!(run, Ssh, target = "/x".into())),
        ("ssh required", |run| mount!(run, Ssh, required = true)),
        ("ssh mode", |run| mount!(run, Ssh, mode = 0)),
        ("ssh uid", |run| mount!(run, Ssh, uid = 1)),
        ("ssh gid", |run| mount!(run, Ssh, gid = 1)),
        ("network none", |run| run.network = Network::None),
        ("network host", |run| run.network = Network::Host),
        ("insecure", |run| run.insecure = true),
        ("devices", |run| run.devices.push("d".into())),
        ("shm size", |run| run.shm_size_bytes = Some(1)),
        ("ulimits", |run| run.ulimits[0].2 = 3),
        ("capabilities", |run| run.capabilities.0 |= 1 << 12),
        ("extra hosts", |run| run.extra_hosts[0].1 = "2.2.2.2".into()),
        ("hostname", |run| run.hostname = Some("h".into())),
        // From here on: what must not be in the key.
        ("= proxies", |run| run.unkeyed_env.push(("HTTP_PROXY".into(), "p".into()))),
        ("= sharing", |run| mount!(run, Cache, sharing = Sharing::Locked)),
        ("= start empty", |run| mount!(run, Cache, start_empty = true)),
        ("= which input", |run| mount!(run, Bind, from = SourceRef::Scratch)),
        ("= base id", |run| run.base = Some(StepId(7))),
    ];
    let same = unchanged(&run(), |run| Op::Run(Box::new(run)), changes);
    assert_eq!(same, ["= proxies", "= sharing", "= start empty", "= which input", "= base id"]);
}

#[test]
fn every_field_of_copy_is_in_the_key() {
    let changes: &[(&str, fn(&mut CopyOp))] = &[
        ("sources", |copy| drop(copy.sources.pop())),
        ("order", |copy| copy.sources.reverse()),
        ("pattern", |copy| source!(copy, Paths, pattern = "b".into())),
        ("inline name", |copy| source!(copy, Inline, name = "F".into())),
        ("inline content", |copy| source!(copy, Inline, content = String::new())),
        ("url", |copy| source!(copy, Http, url = "http://h/b".into())),
        ("http checksum", |copy| source!(copy, Http, checksum = Some(Digest::of(b"")))),
        ("repository", |copy| source!(copy, Git, url = "https://h/b.git".into())),
        ("keep git dir", |copy| source!(copy, Git, keep_git_dir = true)),
        ("git checksum", |copy| source!(copy, Git, checksum = Some("c".into()))),
        ("destination", |copy| copy.destination = "/d".into()),
        ("chown", |copy| copy.chown = Some(String::new())),
        ("chmod", |copy| copy.chmod = Some("0".into())),
        ("link", |copy| copy.link = true),
        ("parents", |copy| copy.parents = true),
        ("exclude", |copy| copy.exclude.clear()),
        ("add", |copy| copy.is_add = true),
        ("unpack", |copy| copy.unpack = Some(false)),
        ("epoch", |copy| copy.epoch = Some(0)),
        ("= place", |copy| {
            source!(copy, Paths, place = Some(Place { source: Source::new("f", "t"), span: Span::new(0, 1) }))
        }),
        ("= which input", |copy| source!(copy, Paths, from = SourceRef::Scratch)),
        ("= base id", |copy| copy.base = Some(StepId(7))),
    ];
    let same = unchanged(&copy(), |copy| Op::Copy(Box::new(copy)), changes);
    assert_eq!(same, ["= place", "= which input", "= base id"]);
}

#[test]
fn every_field_of_workdir_is_in_the_key() {
    let workdir = WorkdirOp { base: None, path: "/w".into(), user: "u".into(), epoch: None };
    let changes: &[(&str, fn(&mut WorkdirOp))] = &[
        ("path", |workdir| workdir.path.push('x')),
        ("user", |workdir| workdir.user.clear()),
        ("epoch", |workdir| workdir.epoch = Some(0)),
        ("= base id", |workdir| workdir.base = Some(StepId(7))),
    ];
    assert_eq!(unchanged(&workdir, Op::Workdir, changes), ["= base id"]);
}

fn image(name: &str, layers: &[&str]) -> ImageFacts {
    let mut config = ImageConfig::default();
    config.rootfs.diff_ids = layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
    ImageFacts { origin: name.into(), manifest: Descriptor::of("m", name.as_bytes()), layers: vec![], config }
}

#[test]
fn an_image_is_its_layers() {
    let key_of = |name: &str, layers: &[&str]| {
        key(&step(Op::Image(ImageOp { name: name.into(), facts: Arc::new(image(name, layers)) })))
    };
    assert_eq!(key_of("a", &["1", "2"]), key_of("b", &["1", "2"]));
    assert_ne!(key_of("a", &["1", "2"]), key_of("a", &["2", "1"]));
    assert_ne!(key_of("a", &["1"]), key_of("a", &[]));
}

#[test]
fn only_run_depends_on_the_platform_and_nothing_on_labels() {
    let change = |op: Op| {
        let mut other = step(op);
        other.platform = platform("linux/arm64");
        other
    };
    let (run, copy) = (Op::Run(Box::new(run())), Op::Copy(Box::new(copy())));
    assert_ne!(key(&step(run.clone())), key(&change(run.clone())));
    assert_eq!(key(&step(copy.clone())), key(&change(copy)));
    let mut other = step(run.clone());
    (other.label, other.stage, other.no_cache, other.id) = ("x".into(), "y".into(), true, StepId(9));
    assert_eq!(key(&step(run)), key(&other));
}

fn source(label: &str, byte: u8, files: &'static [(String, [u8; 32])]) -> SourceKey<'static> {
    SourceKey { label: label.into(), key: CacheKey([byte; 32]), files }
}

#[test]
fn the_inputs_are_in_the_key() {
    let step = step(Op::Copy(Box::new(copy())));
    let inputs = |base: Option<u8>, sources: &[u8]| Inputs {
        base: base.map(|byte| CacheKey([byte; 32])),
        sources: sources.iter().map(|byte| source("context", *byte, &[])).collect(),
    };
    let variants = [
        inputs(None, &[]),
        inputs(Some(1), &[]),
        inputs(Some(2), &[]),
        inputs(None, &[1]),
        inputs(Some(1), &[1]),
        inputs(Some(1), &[1, 2]),
        inputs(Some(1), &[2, 1]),
    ];
    let mut keys: Vec<CacheKey> = variants.iter().map(|inputs| key_with(&step, inputs)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), variants.len());
}

#[test]
fn what_explains_a_source_is_not_in_the_key() {
    let step = step(Op::Copy(Box::new(copy())));
    let files: &'static [(String, [u8; 32])] = vec![("a".to_owned(), [1; 32])].leak();
    let plain = Inputs { base: None, sources: vec![source("context", 1, &[])] };
    let told = Inputs { base: None, sources: vec![source("other", 1, files)] };
    assert_eq!(key_with(&step, &plain), key_with(&step, &told));
}

#[test]
fn fields_cannot_run_into_each_other() {
    let key_of = |fields: &[(&str, &str)]| {
        let mut hasher = Hasher::new();
        fields.iter().for_each(|(name, value)| hasher.field(name, value.as_bytes()));
        hasher.finish()
    };
    assert_ne!(key_of(&[("ab", "c")]), key_of(&[("a", "bc")]));
    assert_ne!(key_of(&[("a", "b"), ("c", "d")]), key_of(&[("a", "bcd")]));
    assert_ne!(key_of(&[]), key_of(&[("", "")]));
}

#[test]
fn a_key_is_read_back_from_its_text() {
    let key = key(&step(Op::Tree(ContextId(1))));
    assert_eq!(key.to_string().parse(), Ok(key));
    assert_eq!("xyz".parse::<CacheKey>(), Err(CacheKeyError));
}

/// Returns the reason for a miss after a change of the step.
fn reason(change: fn(&mut RunOp)) -> Option<String> {
    let mut changed = run();
    change(&mut changed);
    let of = |run: RunOp| explain(&step(Op::Run(Box::new(run))), &Inputs::default());
    difference(&of(run()), &of(changed))
}

#[test]
fn reasons_of_a_run() {
    let table: &[(fn(&mut RunOp), Option<&str>)] = &[
        (|_| {}, None),
        (|run| run.argv[2] = "make all".into(), Some("instruction changed")),
        (|run| env(run)[0].1 = "2".into(), Some("`A` changed from `1` to `2`")),
        (|run| env(run).push(("C".into(), "3".into())), Some("`C` is new")),
        (|run| drop(env(run).pop()), Some("`B` is gone")),
        (|run| run.user = "v".into(), Some("user changed from `u` to `v`")),
        (|run| run.network = Network::None, Some("network changed from `default` to `none`")),
        (|run| run.hostname = Some("h".into()), Some("host name is now `h`")),
    ];
    for (change, expected) in table {
        assert_eq!(reason(*change).as_deref(), *expected);
    }
}

#[test]
fn values_of_secret_names_are_neither_kept_nor_told() {
    let with = |value: &str| {
        let mut run = run();
        env(&mut run).push(("API_TOKEN".into(), value.into()));
        explain(&step(Op::Run(Box::new(run))), &Inputs::default())
    };
    let (old, new) = (with("hunter2"), with("hunter3"));
    assert!(!serde_json::to_string(&old).unwrap().contains("hunter"));
    assert_eq!(difference(&old, &new).unwrap(), "`API_TOKEN` changed");
}

#[test]
fn a_changed_file_is_named() {
    let inputs = |files: &[(&str, u8)]| {
        let files: Vec<(String, [u8; 32])> =
            files.iter().map(|(path, byte)| ((*path).to_owned(), [*byte; 32])).collect();
        let sources =
            vec![SourceKey { label: "context".into(), key: CacheKey([files.len() as u8; 32]), files: &files }];
        explain(&step(Op::Copy(Box::new(copy()))), &Inputs { base: Some(CacheKey([0; 32])), sources })
    };
    let old = inputs(&[("src/a.c", 1), ("src/b.c", 1)]);
    assert_eq!(
        difference(&old, &inputs(&[("src/a.c", 2), ("src/b.c", 1)])).unwrap(),
        "changed: src/a.c (1 of 2 files)"
    );
    assert_eq!(
        difference(&old, &inputs(&[("src/a.c", 1), ("src/b.c", 1), ("src/c.c", 1)])).unwrap(),
        "new: src/c.c (1 of 3 files)"
    );
    assert_eq!(difference(&old, &inputs(&[("src/a.c", 1)])).unwrap(), "removed: src/b.c (1 of 1 file)");
}

#[test]
fn a_changed_base_stage_or_image_is_named() {
    let step_of = step(Op::Copy(Box::new(copy())));
    let of = |base: u8, stage: u8| {
        let sources = vec![source("stage build", stage, &[])];
        explain(&step_of, &Inputs { base: Some(CacheKey([base; 32])), sources })
    };
    assert_eq!(difference(&of(1, 1), &of(2, 1)).unwrap(), "the step before it changed");
    assert_eq!(difference(&of(1, 1), &of(1, 2)).unwrap(), "changed: stage build");
    let image = |layers: &[&str]| {
        let facts = Arc::new(image("a", layers));
        explain(&step(Op::Image(ImageOp { name: "a".into(), facts })), &Inputs::default())
    };
    assert_eq!(difference(&image(&["1"]), &image(&["2"])).unwrap(), "base image changed");
}
