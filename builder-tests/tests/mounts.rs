//! `RUN --mount` of every type.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Who, need};
use rstest::rstest;
use std::os::unix::net::UnixListener;

const SENTINEL: &str = "s3cr3t-sentinel-of-the-test";

fn bench(who: Who, dockerfile: &str) -> Option<Bench> {
    (need(["busybox"]) && who.is_here()).then(|| Bench::new().base().by(who).file("Dockerfile", dockerfile))
}

#[rstest]
fn a_bind_mount_shows_the_context_and_writes_are_dropped(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN --mount=target=/ctx cat /ctx/a > /out && ! touch /ctx/new\n\
                      RUN --mount=source=a,target=/w/a,rw echo more >> /w/a && cat /w/a > /out2\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let bench = bench.file("a", "hi\n");
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    assert_eq!((image.text("out"), image.text("out2")), ("hi\n".into(), "hi\nmore\n".into()));
    assert_eq!(std::fs::read_to_string(bench.context().join("a")).unwrap(), "hi\n");
}

#[rstest]
fn a_bind_mount_shows_another_stage(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base AS one\nRUN echo made > /made\nFROM base\n\
                      RUN --mount=from=one,source=/made,target=/mnt/made cat /mnt/made > /out\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("out"), "made\n");
    assert!(!image.has("mnt"), "the mount point leaves no trace: {}", image.listing(1));
}

#[rstest]
fn a_cache_mount_outlives_the_build_and_is_not_in_the_image(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/log && cat /c/log > /out\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    for n in ["1", "2"] {
        bench.build(["-t", "app:1", "--build-arg", &format!("N={n}")]).success();
    }
    let image = bench.image("app:1");
    assert_eq!(image.text("out"), "1\n2\n");
    assert!(!image.has("c"));
}

#[rstest]
fn a_tmpfs_mount_is_empty_and_leaves_nothing(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN --mount=type=tmpfs,target=/t grep -q '/t tmpfs' /proc/mounts && touch /t/x /y\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    assert_eq!((image.has("y"), image.has("t"), image.has("t/x")), (true, false, false));
}

#[rstest]
fn a_secret_is_seen_by_its_step_and_written_nowhere(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\n\
        RUN --mount=type=secret,id=token,mode=0440,uid=3 stat -c '%a %u' /run/secrets/token > /seen && \
            wc -c < /run/secrets/token >> /seen\n\
        RUN --mount=type=secret,id=token,env=TOKEN test -n \"$TOKEN\" && echo yes > /env\n\
        RUN ! test -e /run/secrets/token && test -z \"$TOKEN\"\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let bench = bench.env("THE_TOKEN", SENTINEL);
    let outputs = [bench.out("oci.tar"), bench.out("tree.tar")].map(|path| path.display().to_string());
    let oci = format!("type=oci,dest={}", outputs[0]);
    let tar = format!("type=tar,dest={}", outputs[1]);
    let built =
        bench.build(["-t", "app:1", "--secret", "id=token,env=THE_TOKEN", "-o", "type=image", "-o", &oci, "-o", &tar]);
    built.success().silent_about(SENTINEL);
    let image = bench.image("app:1");
    assert_eq!(image.text("seen"), format!("440 3\n{}\n", SENTINEL.len()));
    assert!(!image.has("run/secrets"), "{}", image.listing(1));
    assert_eq!(bench.files_with(SENTINEL), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_search_for_the_secret_would_find_it() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=token cat /run/secrets/token > /leak\n";
    let bench = Bench::new().base().file("Dockerfile", dockerfile).env("THE_TOKEN", SENTINEL);
    bench.build(["-t", "app:1", "--secret", "id=token,env=THE_TOKEN"]).success();
    assert_ne!(bench.files_with(SENTINEL).len(), 0, "the layer holds it, compressed");
}

#[rstest]
fn a_missing_secret_is_an_error_only_if_required(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=t,required=false test ! -e /run/secrets/t\n\
                      RUN --mount=type=secret,id=t,required true\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let failed = bench.build(["-t", "app:1"]);
    assert_ne!(failed.code, 0);
    failed.says("--secret id=t");
}

#[rstest]
fn ssh_agents_are_forwarded(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\nRUN test -z \"$SSH_AUTH_SOCK\"\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let socket = bench.out("agent.sock");
    let agent = UnixListener::bind(&socket).unwrap();
    bench.build(["-t", "app:1", "--ssh", &format!("default={}", socket.display())]).success();
    drop(agent);
}

#[rstest]
fn keys_are_served_from_files(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN --mount=type=ssh,id=deploy,required test -S \"$SSH_AUTH_SOCK\"\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    if !need(["ssh-keygen"]) {
        return;
    }
    let (plain, encrypted) = (bench.out("plain"), bench.out("encrypted"));
    for (path, passphrase) in [(&plain, ""), (&encrypted, "secret")] {
        let mut command = std::process::Command::new("ssh-keygen");
        assert!(command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path).status().unwrap().success());
        // Whoever builds can read it.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    }
    let failed = bench.build(["-t", "app:1", "--ssh", &format!("deploy={}", encrypted.display())]);
    failed.exits(2).says("the key is encrypted with a passphrase").says("ssh-add");
    let twice = format!("deploy={0},{0}", plain.display());
    bench.build(["-t", "app:1", "--ssh", &twice]).success();
    bench.build(["--no-cache", "--ssh", "deploy=/dev/null"]).exits(2).says("neither a file nor the socket of an agent");
}
