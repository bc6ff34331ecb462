//! RUN where nothing is granted: paths answered by the builder, programs executed by tracing.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Image, need};

fn bench(dockerfile: &str) -> (Bench, Vec<String>) {
    let bench = Bench::new().base().file("Dockerfile", format!("FROM base\nENV PATH=/bin\n{dockerfile}"));
    let output = format!("type=oci,tar=false,dest={}", bench.out("image").display());
    (bench, ["--isolation", "trace", "-o", &output].map(str::to_owned).to_vec())
}

fn built(dockerfile: &str) -> Image {
    let (bench, arguments) = bench(dockerfile);
    bench.build(arguments).success();
    bench.store_is_whole();
    Image::only(&bench.out("image"))
}

#[test]
fn a_traced_step_finds_what_every_step_finds() {
    if !need(["busybox"]) {
        return;
    }
    let image = built(
        "RUN echo hi > /x && cd /bin/../etc && pwd > /pwd && ln -s /etc/../x /l && cat /l > /linked\n\
         RUN readlink /proc/self/exe > /exe && head -c 3 /dev/zero | wc -c > /three && echo out > /dev/stdout\n\
         RUN grep -q '^Name:.grep' /proc/self/status && cat /proc/self/fd/0 /dev/fd/0 && test ! -e /proc/1/status\n\
         RUN mkfifo /p && (echo through > /p &) && cat /p > /got && rm /p\n\
         RUN printf '#!/bin/echo of a script\\n' > /s && chmod 755 /s && /s a b > /script\n\
         RUN (sleep 1000 &) && cd /proc/self/cwd && pwd -P > /cwd\n",
    );
    let found = ["pwd", "linked", "exe", "three", "got", "script", "cwd"].map(|name| image.text(name));
    assert_eq!(found, ["/etc\n", "hi\n", "/bin/busybox\n", "3\n", "through\n", "of a script /s a b\n", "/\n"]);
    assert!(!image.has("dev/null") && !image.has("proc/self") && !image.has("etc/hosts"));
}

#[test]
fn root_of_a_traced_step_may_do_what_root_may() {
    if !need(["busybox"]) {
        return;
    }
    let image = built(
        "RUN umask 027 && touch /private && echo one > /closed && chmod 0 /closed && echo two >> /closed && cat /closed > /both\n\
         RUN mkdir -m 555 /ro && touch /ro/f && chmod 444 /ro/f && chown 5:6 /ro/f && stat -c '%a %u:%g' /ro/f > /seen\n\
         RUN mkdir /gone && cd /gone && touch a && chmod 0 . && rm a && cd / && rmdir /gone && chroot /ro true || echo no > /chroot\n\
         USER 7:8\n\
         RUN id -u > /tmp/id && touch /tmp/mine && test -O /tmp/mine && ! chown 1 /tmp/mine\n",
    );
    assert_eq!(
        ["both", "seen", "tmp/id", "chroot"].map(|name| image.text(name)),
        ["one\ntwo\n", "444 5:6\n", "7\n", "no\n"]
    );
    let files = image.files();
    let entry = |path: &str| &files[std::path::Path::new(path)].entry;
    assert_eq!([entry("private").mode, entry("closed").mode, entry("ro").mode], [0o640, 0, 0o555]);
    assert_eq!((entry("ro/f").uid, entry("ro/f").gid, entry("tmp/mine").uid), (5, 6, 7));
}

#[test]
fn no_path_of_a_traced_step_leads_out() {
    if !need(["busybox"]) {
        return;
    }
    let (bench, arguments) = bench("");
    let bench = bench.env("CANARY_OF_THE_BUILDER", "canary");
    let outside = bench.path("outside");
    std::fs::write(&outside, "canary").unwrap();
    let tool = bench.path("tool");
    std::fs::copy("/bin/busybox", &tool).unwrap();
    let (outside, tool) = (outside.display(), tool.display());
    let attempts = [
        format!("cat {outside}"),
        format!("cat ../../../../../..{outside}"),
        format!("cat /proc/1/root{outside}"),
        format!("cat /proc/self/root/../..{outside}"),
        format!("cat /proc/self/cwd/../..{outside}"),
        format!("cat /proc/self/task/self/root{outside}"),
        format!("cat /proc/self/fd/3/..{outside} 3< /"),
        format!("ln -s {outside} /link; cat /link"),
        format!("ln {outside} /hard"),
        format!("cp {outside} /copy"),
        format!("mv {outside} /moved"),
        format!("rm {outside}"),
        format!("echo changed > {outside}"),
        format!("{tool} true"),
        format!("ln -sf {tool} /tool; /tool true"),
        format!("cd {}", bench.path("").display()),
        "cat /proc/$PPID/environ".to_owned(),
        "ls /proc/$PPID/cwd/".to_owned(),
        "kill -9 $PPID".to_owned(),
        "grep -l canary /proc/[0-9]*/environ".to_owned(),
        "mount -t tmpfs t /mnt".to_owned(),
        "unshare -U true".to_owned(),
    ];
    let runs: String = attempts.iter().map(|attempt| format!("RUN ! ({attempt})\n")).collect();
    let dockerfile = format!("FROM base\nENV PATH=/bin\n{runs}RUN kill -9 -1 || true; echo still here > /end\n");
    bench.write("Dockerfile", dockerfile);
    bench.build(arguments).success();
    let image = Image::only(&bench.out("image"));
    assert_eq!(image.text("end"), "still here\n");
    assert!(!image.has("hard") && !image.has("copy") && !image.has("moved"));
    assert_eq!(std::fs::read_to_string(bench.path("outside")).unwrap(), "canary");
}

#[test]
fn mounts_of_a_traced_step_are_where_they_belong_and_keep_what_they_refuse() {
    if !need(["busybox"]) {
        return;
    }
    let (bench, mut arguments) = bench("");
    bench.write("secret", "hidden").write("file", "of the context");
    arguments.extend(["--secret".into(), format!("id=s,src={}", bench.context().join("secret").display())]);
    bench.write(
        "Dockerfile",
        "FROM base AS one\nENV PATH=/bin\nRUN mkdir /d && echo kept > /d/f && chmod 644 /d/f\n\
         FROM base\nENV PATH=/bin\n\
         RUN --mount=from=one,source=/d,target=/o ! echo x > /o/f && ! touch /o/new && ! chmod 600 /o/f && ! ln /o/f /mine && \
         ! rm /o/f && ! mv /o/f /moved && ! chown 3 /o/f && ! (exec 3< /o/f; chmod 600 /proc/self/fd/3) && ! rmdir /o && cp /o/f /copy\n\
         RUN --mount=type=bind,target=/ctx,rw --mount=type=tmpfs,target=/t --mount=type=cache,target=/c \
         --mount=type=secret,id=s,target=/run/s echo changed > /ctx/file && cat /run/s > /t/s && mv /t/s /c/s && ls / > /list\n\
         RUN --mount=type=cache,target=/c,readonly ! touch /c/x && cat /c/s > /cached && test ! -e /c/../ctx\n",
    );
    bench.build(arguments).success();
    bench.store_is_whole();
    let image = Image::only(&bench.out("image"));
    assert_eq!(["copy", "cached"].map(|name| image.text(name)), ["kept\n", "hidden"]);
    assert!(["\nc\n", "\nctx\n", "\nt\n"].iter().all(|name| image.text("list").contains(name)));
    assert!(["o", "c", "ctx", "t", "run/s", "mine"].iter().all(|name| !image.has(name)));
    assert_eq!(std::fs::read_to_string(bench.context().join("file")).unwrap(), "of the context");
}

#[test]
fn a_traced_step_without_network_has_local_sockets_only() {
    if !need(["busybox"]) {
        return;
    }
    let (bench, arguments) =
        bench("RUN --network=none wget -q -O - http://127.0.0.1:5000 2>&1 | tee /said\nRUN --network=none true\n");
    bench.build(arguments).says("Address family not supported");
    let (bench, arguments) = crate::bench("RUN true\n");
    bench
        .build([arguments, vec!["--network=private".to_owned()]].concat())
        .exits(3)
        .says("isolation `trace` has no namespaces");
}
