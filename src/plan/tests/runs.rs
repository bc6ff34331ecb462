use super::super::graph::{ContextId, RunMount, Script, SourceRef};
use super::*;
use rstest::rstest;

/// Plans one RUN below /w and returns it.
fn run(text: &str) -> RunOp {
    plan_of(&format!("FROM busybox AS a\nWORKDIR /w\nARG V=val\n{text}\n")).runs()[0].clone()
}

fn mount(value: &str) -> RunMount {
    run(&format!("RUN --mount={value} true")).mounts[0].clone()
}

#[rstest]
#[case("RUN echo $V \\\n  b", &["/bin/sh", "-c", "echo $V   b"])]
#[case("RUN [\"a\", \"$V\"]", &["a", "$V"])]
#[case("RUN ['a']", &["/bin/sh", "-c", "['a']"])]
#[case("RUN <<EOF\na\nb $V\nEOF", &["/bin/sh", "-c", "a\nb $V\n"])]
#[case("RUN <<-EOF\n\ta\n\tEOF", &["/bin/sh", "-c", "a\n"])]
#[case("RUN cat <<A > x; cat <<B\na\nA\nb\nB", &["/bin/sh", "-c", "cat <<A > x; cat <<B\na\nA\nb\nB"])]
#[case("RUN <<A 3<<B awk\na\nA\nb\nB", &["/bin/sh", "-c", "<<A 3<<B awk\na\nA\nb\nB"])]
fn what_runs(#[case] text: &str, #[case] expected: &[&str]) {
    assert_eq!(run(text).argv, expected);
}

#[test]
fn a_script_with_a_shebang_is_a_file() {
    let run = run("RUN <<EOF\n#!/bin/awk -f\nBEGIN {}\nEOF");
    assert_eq!(run.argv, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    let script = Script { content: "#!/bin/awk -f\nBEGIN {}\n".into(), path: "/dev/pipes/EOF".into() };
    assert_eq!(run.script, Some(script));
}

#[test]
fn progress_shows_the_first_line_of_a_script() {
    let planned = plan_of("FROM busybox\nRUN <<EOF\nfirst\nsecond\nEOF\n");
    assert_eq!(planned.labels()[1], "[2/2] RUN <<EOF (first...)");
}

#[test]
fn user_and_directory_are_those_in_force() {
    let run = run("USER u:g\nRUN true");
    assert_eq!((run.user.as_str(), run.cwd.as_str(), run.network), ("u:g", "/w", Network::Default));
    assert_eq!(env(&run, "V"), Some("val"));
}

#[test]
fn options_of_the_command_line_arrive() {
    let mut bench = Bench::new();
    bench.options.shm_size_bytes = Some(1);
    bench.options.ulimits = vec![("nofile".into(), 1, 2)];
    bench.options.extra_hosts = vec![("h".into(), "1.2.3.4".into())];
    bench.options.network = Network::None;
    let planned = bench.plan("FROM busybox\nRUN true\nRUN --network=default true\n");
    assert!(planned.runs().iter().all(|run| run.network == Network::None));
    let run = planned.runs()[0];
    assert_eq!((run.shm_size_bytes, run.ulimits.len(), run.extra_hosts.len()), (Some(1), 1, 1));
}

#[rstest]
#[case("--network=host", "network.host")]
#[case("--security=insecure", "security.insecure")]
fn entitlements_are_asked_for_before_anything_is_built(#[case] flag: &str, #[case] name: &str) {
    let text = format!("FROM busybox\nRUN {flag} true\n");
    let mut bench = Bench::new();
    let error = bench.try_plan(&text).map(|_| ()).unwrap_err();
    assert!(error.message.contains(name) && error.hints[0].contains(&format!("--allow {name}")), "{error}");
    bench.options.allow = vec![name.to_owned()];
    let planned = bench.plan(&text);
    let run = planned.runs()[0];
    assert!(run.network == Network::Host || run.insecure);
}

#[rstest]
#[case(&["device"], "--device=v.c/gpu=0", &["v.c/gpu=0"])]
#[case(&["device=v.c/gpu=0"], "--device=name=v.c/gpu=0,required", &["v.c/gpu=0"])]
#[case(&["device=v.c/gpu=*"], "--device=v.c/gpu=1 --device=v.c/gpu=0 --device=v.c/gpu=1", &["v.c/gpu=1", "v.c/gpu=0"])]
#[case(&["device=v.c/gpu=1,alias=mine"], "--device=mine,required=1", &["v.c/gpu=1"])]
#[case(&[], "--device=v.c/free=0", &["v.c/free=0"])]
#[case(&[], "--device=v.c/none=0,required=false", &[])]
fn devices_that_are_granted_are_found(#[case] allow: &[&str], #[case] flags: &str, #[case] expected: &[&str]) {
    let mut bench = Bench::new();
    bench.world.devices = Some(vec!["v.c/free=0", "v.c/gpu=0", "v.c/gpu=1"]);
    bench.options.allow = allow.iter().map(|text| (*text).to_owned()).collect();
    let planned = bench.plan(&format!("FROM busybox\nRUN {flags} true\n"));
    assert_eq!(planned.runs()[0].devices, expected);
    assert_eq!(planned.warnings.len(), usize::from(expected.is_empty()), "{:?}", planned.warnings);
}

#[rstest]
#[case(&[], "--device=v.c/gpu=0", "device `v.c/gpu=0` is requested by the build but not allowed")]
#[case(&["device=v.c/gpu=0"], "--device=v.c/gpu=*", "device `v.c/gpu=1` is requested by the build but not allowed")]
#[case(&["device=v.c/tpu"], "--device=v.c/gpu=0", "`--allow device=v.c/tpu` names no device of this machine")]
#[case(&["device"], "--device=v.c/none=0,required", "required device `v.c/none=0` is not registered on this machine")]
#[case(&[], "--device=required,name=v.c/none", "required device `v.c/none` is not registered on this machine")]
fn devices_that_are_not_granted_or_not_there_are_refused(
    #[case] allow: &[&str],
    #[case] flags: &str,
    #[case] expected: &str,
) {
    let mut bench = Bench::new();
    bench.world.devices = Some(vec!["v.c/free=0", "v.c/gpu=0", "v.c/gpu=1"]);
    bench.options.allow = allow.iter().map(|text| (*text).to_owned()).collect();
    let error = bench.try_plan(&format!("FROM busybox\nRUN {flags} true\n")).map(|_| ()).unwrap_err();
    assert_eq!(error.message, expected);
}

#[test]
fn where_no_devices_are_known_they_stay_as_written() {
    assert_eq!(plan_of("FROM busybox\nRUN --device=v.c/gpu=0,required true\n").runs()[0].devices, ["v.c/gpu=0"]);
}

#[test]
fn a_stage_that_is_not_needed_needs_no_entitlement() {
    plan_of("FROM busybox AS a\nRUN --network=host true\nFROM busybox\nRUN --network=none true\n");
}

#[rstest]
#[case("target=/x", "/", "/x", false)]
#[case("type=bind,source=a/b,target=x,rw", "/a/b", "/w/x", true)]
#[case("type=bind,source=$V,target=/t/$V", "/val", "/t/val", false)]
fn bind_mounts(#[case] value: &str, #[case] path: &str, #[case] at: &str, #[case] rw: bool) {
    let RunMount::Bind { from, source, target, writable } = mount(value) else { panic!("no bind mount") };
    assert_eq!((from, source.as_str(), target.as_str(), writable), (SourceRef::Context(ContextId(0)), path, at, rw));
}

#[rstest]
#[case("type=cache,target=/c", "/c", "/c")]
#[case("type=cache,target=./c/", "c", "/w/c")]
#[case("type=cache,id=i-$V,target=/c", "i-val", "/c")]
fn cache_mounts(#[case] value: &str, #[case] wanted: &str, #[case] at: &str) {
    let RunMount::Cache { id, target, from, source, read_only, start_empty, .. } = mount(value) else {
        panic!("no cache mount")
    };
    assert_eq!((id.as_str(), target.as_str(), from, source.as_str()), (wanted, at, None, "/"));
    assert!(!read_only && !start_empty);
}

#[test]
fn a_cache_mount_may_start_from_a_stage_and_must_start_anew_without_cache() {
    let mut bench = Bench::new();
    bench.options.no_cache = true;
    let planned = bench.plan(
        "FROM busybox AS seed\nRUN 1\nFROM busybox\nRUN --mount=type=cache,from=seed,source=/s,target=/c,uid=5 a\nRUN --mount=type=cache,target=/c,uid=5 b\n",
    );
    let RunMount::Cache { from, source, uid, start_empty, .. } = &planned.runs()[1].mounts[0] else {
        panic!("no cache")
    };
    assert!(matches!(from, Some(SourceRef::Step(_))));
    assert_eq!((source.as_str(), *uid, *start_empty), ("/s", Some(5), false));
    assert!(matches!(planned.runs()[2].mounts[0], RunMount::Cache { start_empty: true, .. }));
}

#[rstest]
#[case("type=secret,id=s", "s", Some("/run/secrets/s"), None, 0o400)]
#[case("type=secret,target=/a/s", "s", Some("/a/s"), None, 0o400)]
#[case("type=secret,id=s,env=E", "s", None, Some("E"), 0o400)]
#[case("type=secret,id=s,env=E,target=t,mode=440", "s", Some("/w/t"), Some("E"), 0o440)]
fn secret_mounts(
    #[case] value: &str,
    #[case] wanted: &str,
    #[case] at: Option<&str>,
    #[case] variable: Option<&str>,
    #[case] bits: u32,
) {
    let RunMount::Secret { id, target, env, required, mode, uid, gid } = mount(value) else { panic!("no secret") };
    assert_eq!((id.as_str(), target.as_deref(), env.as_deref(), mode), (wanted, at, variable, bits));
    assert_eq!((required, uid, gid), (false, 0, 0));
}

#[test]
fn ssh_mounts_are_numbered_and_the_first_is_the_agent() {
    let run = run("RUN --mount=type=ssh --mount=type=ssh,id=b,required,uid=7 true");
    let found: Vec<_> = run
        .mounts
        .iter()
        .map(|mount| match mount {
            RunMount::Ssh { id, target, required, mode, uid, .. } => {
                (id.as_str(), target.as_str(), *required, *mode, *uid)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let path = "/run/buildkit/ssh_agent.";
    let (first, second) = (format!("{path}0"), format!("{path}1"));
    assert_eq!(found, [("default", &*first, false, 0o600, 0), ("b", &*second, true, 0o600, 7)]);
    assert_eq!(env(&run, "SSH_AUTH_SOCK"), Some("/run/buildkit/ssh_agent.0"));
}

#[test]
fn a_tmpfs_has_a_size() {
    assert!(matches!(mount("type=tmpfs,target=/t,size=1k"), RunMount::Tmpfs { size_bytes: Some(1024), .. }));
}

#[test]
fn nothing_is_mounted_over_the_root() {
    let error = Bench::new().error("FROM busybox\nRUN --mount=type=tmpfs,target=/a/.. true\n");
    assert!(error.contains("invalid mount target `/`"), "{error}");
}
