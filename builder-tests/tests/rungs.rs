//! The same image on every way of isolating RUN, and what the lower ones do without.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Image, need};

/// Of everything that has a trace of its own in a layer.
const DOCKERFILE: &str = "\
FROM base AS one
COPY --chown=33:44 src /opt/src/
WORKDIR /work/deep
RUN echo hi > f && ln f g && mkdir -p /var/lib/new/x && chmod 4755 f && ln -s nowhere dangling
RUN rm -rf /opt/src/sub && mkdir /opt/src/sub && echo n > /opt/src/sub/n && rm /etc/group && touch -d @1000 /etc/passwd
RUN rm -rf /opt && echo file > /opt && echo x >> /etc/hosts && mkfifo /pipe && chown 5:6 /pipe
FROM one
COPY --from=one --link /work /copied
COPY --from=one /var/lib/new /new
RUN --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t --mount=type=cache,target=/var/cache/q \
    --mount=type=secret,id=s,target=/run/s cp -a /ctx/src /ctxcopy && cat /run/s && touch /t/x /var/cache/q/y
USER app
RUN touch /tmp/mine && mkdir /tmp/d
";

fn bench(isolation: &str, dockerfile: &str) -> (Bench, Vec<String>) {
    let bench = Bench::new().base().env("SOURCE_DATE_EPOCH", "1700000000").file("Dockerfile", dockerfile);
    let bench = bench.file("src/a", "a").file("src/sub/b", "b").symlink("src/l", "a");
    let output = format!("type=oci,tar=false,dest={},rewrite-timestamp=true", bench.out("image").display());
    let arguments = ["--isolation", isolation, "-o", &output].map(str::to_owned).to_vec();
    (bench, arguments)
}

fn image(bench: &Bench) -> Image {
    Image::only(&bench.out("image"))
}

#[test]
fn layers_are_the_same_with_namespaces_and_with_chroot() {
    if !need(["root", "busybox"]) {
        return;
    }
    let made = ["root", "chroot"].map(|isolation| {
        let (bench, mut arguments) = bench(isolation, DOCKERFILE);
        bench.write("secret", "hidden");
        arguments.extend(["--secret".into(), format!("id=s,src={}", bench.context().join("secret").display())]);
        bench.build(arguments).success();
        bench.store_is_whole();
        let image = image(&bench);
        let listings: Vec<String> = (0..image.layers.len()).map(|skip| image.listing(skip)).collect();
        (listings, image.manifest.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())
    });
    assert_eq!(made[0].0, made[1].0);
    assert_eq!(made[0].1, made[1].1);
}

#[test]
fn a_chroot_has_proc_and_dev_and_leaves_nothing_behind() {
    if !need(["root", "busybox"]) {
        return;
    }
    let dockerfile = "FROM base\n\
        RUN grep -q '^Name:.grep' /proc/self/status && readlink /proc/self/exe > /exe && cat /proc/cpuinfo > /dev/null\n\
        RUN echo out > /dev/stdout && head -c 3 /dev/zero | wc -c > /three && test ! -e /proc/1/root && (sleep 1000 &)\n";
    let (bench, arguments) = bench("chroot", dockerfile);
    let started = std::time::Instant::now();
    bench.build(arguments).success();
    assert!(started.elapsed().as_secs() < 300, "what a command leaves running is not waited for");
    let image = image(&bench);
    assert_eq!((image.text("exe").as_str(), image.text("three").as_str()), ("/bin/busybox\n", "3\n"));
    assert!(!image.has("dev/null") && !image.has("proc/self") && !image.has("etc/hosts"));
}

#[test]
fn without_isolation_all_but_run_is_built() {
    let dockerfile = "FROM base AS one\nCOPY --chown=7:8 src /a/b/\nFROM one\nWORKDIR /w\nCOPY --from=one /a /c\n";
    let (bench, arguments) = bench("none", dockerfile);
    bench.build(arguments).success();
    let files = image(&bench).files();
    let owner = |path: &str| (files[std::path::Path::new(path)].entry.uid, files[std::path::Path::new(path)].entry.gid);
    assert_eq!([owner("a/b/a"), owner("c/b/l"), owner("w"), owner("a")], [(7, 8), (7, 8), (0, 0), (7, 8)]);
}

#[test]
fn without_isolation_run_fails_before_anything_is_done() {
    let (bench, arguments) = bench("none", "FROM base\nCOPY src /a\nRUN true\n");
    bench.build(arguments).exits(3).says("RUN is not possible here").silent_about("COPY src /a");
}
