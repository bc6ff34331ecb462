//! The same image on every way of isolating RUN, and what the lower ones do without.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Image, Outcome, Who, need, tar_of};
use cooper::image::Digest;
use cooper::layer::{Entry, Kind};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Of everything that has a trace of its own in a layer.
///
/// What is made and what is found of owners, devices, capabilities and links must not depend on how RUN is isolated.
const DOCKERFILE: &str = r#"FROM base AS one
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
COPY --chown=33:44 src /opt/src/
ADD capable.tar /
WORKDIR /work/deep
RUN echo hi > f && ln f g && mkdir -p /var/lib/new/x && chmod 4755 f && ln -s nowhere dangling
RUN rm -rf /opt/src/sub && mkdir /opt/src/sub && echo n > /opt/src/sub/n && touch -d @1000 /etc/passwd
RUN rm -rf /opt && echo file > /opt && echo x >> /etc/hosts && mkfifo /pipe && chown 5:6 /pipe
RUN echo one:x:1234:1234::/home/one:/bin/sh >> /etc/passwd && echo many:x:77:one >> /etc/group && \
    mkdir -p -m 750 /home/one && chown one:1234 /home/one && mkdir -p /srv/a/b && \
    touch /srv/a/b/1 /srv/a/b/2 && ln /srv/a/b/1 /srv/a/3 && ln -s b /srv/a/l && chown -R one:many /srv && \
    chown -h 8:9 /srv/a/l && chmod 2775 /srv/a && chmod 1777 /srv && stat -c '%u:%g %a %n' /srv /srv/a /srv/a/l /srv/a/3 > /seen
RUN chmod 6755 /srv/a/b/2 && chown 0:77 /srv/a/b/2 && touch /srv/a/new && chown :many /capable/kept && \
    touch /capable/touched && mv /capable/moved /capable/there && cp /capable/touched /capable/copied && \
    stat -c '%u:%g %a %n' /srv/a/* /srv/a/b/* >> /seen
RUN busybox su one -c 'cd /home/one && touch mine && mkdir -p d/e && ln -s x l && mkfifo p && id' >> /seen && \
    cp -a /home/one /home/two && rm -r /home/one/d && mv /home/one/l /home/one/moved && \
    tar -cf - -C /srv . | (mkdir /untarred && tar -xpf - -C /untarred)
FROM one AS two
COPY --from=one --link /work /copied
COPY --from=one /var/lib/new /new
COPY --from=one /home /srv /moved/
COPY --from=one --chown=11 /home/one /given
RUN --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t --mount=type=cache,target=/var/cache/q,uid=3 \
    --mount=type=secret,id=s,target=/run/s cp -a /ctx/src /ctxcopy && cat /run/s && touch /t/x /var/cache/q/y && \
    stat -c %u:%g /var/cache/q > /cache-owner && chown 1:2 /var/cache/q/y && rm /etc/group /srv/a/b/2
USER 1234:77
WORKDIR /home/three
RUN touch /tmp/mine && mkdir /tmp/d && id > /tmp/id && touch /srv/mine && test ! -O /etc && test -O /srv/a/b && stat -c %u /home/three > /tmp/dir
FROM two
USER root
RUN rm -rf /srv/a && mkdir -p /srv/a/b && touch /srv/a/b/only && stat -c %u:%g /srv /srv/a /given/mine /moved/two/l >> /seen
"#;

/// Makes devices too, which the kernel refuses to everybody but root, and moves them.
const DEVICES: &str = r#"FROM base AS one
RUN mkdir /d && mknod -m 640 /d/null c 1 3 && mknod /d/block b 7 9 && chown 4:5 /d/block && mknod /d/fifo p
FROM one
COPY --from=one /d /e
RUN mv /d/null /moved && rm /d/block && mknod /d/block c 1 5
"#;

/// A tar with files that have capabilities.
fn capable() -> Vec<u8> {
    // Version 2, effective: CAP_NET_BIND_SERVICE (capabilities(7), "File capability extended attribute versioning").
    let value = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let files = ["left", "kept", "touched", "moved"].map(|name| {
        let mut entry = Entry::new(format!("capable/{name}"), Kind::File { size_bytes: 1 }, 0o755);
        entry.xattrs.insert(b"security.capability".to_vec(), value.clone());
        (entry, b"x".to_vec())
    });
    tar_of(&files)
}

fn bench(isolation: &str, dockerfile: &str) -> (Bench, Vec<String>) {
    let bench = Bench::new().base().env("SOURCE_DATE_EPOCH", "1700000000").file("Dockerfile", dockerfile);
    let bench = bench.file("src/a", "a").file("src/sub/b", "b").symlink("src/l", "a").file("capable.tar", capable());
    let output = format!("type=oci,tar=false,dest={},rewrite-timestamp=true", bench.out("image").display());
    let arguments = ["--isolation", isolation, "-o", &output].map(str::to_owned).to_vec();
    (bench, arguments)
}

fn image(bench: &Bench) -> Image {
    Image::only(&bench.out("image"))
}

/// What must be the same: the entries, which tell a difference best, then the digests of layers and configuration.
#[derive(Debug, PartialEq)]
struct Made {
    listing: Vec<String>,
    layers: Vec<Digest>,
    config: Digest,
}

impl Made {
    /// Asserts that two are the same, and shows the lines that are not.
    fn equals(&self, other: &Made, whose: &str) {
        let only = |one: &Made, other: &Made| -> String {
            let lines = one.listing.iter().filter(|line| !other.listing.contains(line));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let (here, there) = (only(self, other), only(other, self));
        assert!(here.is_empty() && there.is_empty(), "{whose}\nonly the first:\n{here}only the second:\n{there}");
        assert_eq!(self, other, "{whose}");
    }
}

/// Builds with an isolation as a user; `store` prepares where its store lies.
fn made(isolation: &str, who: Who, dockerfile: &str, store: impl FnOnce(Bench) -> Bench) -> Made {
    let (bench, mut arguments) = bench(isolation, dockerfile);
    let bench = store(bench.by(who));
    bench.write("secret", "hidden");
    arguments.extend(["--secret".into(), format!("id=s,src={}", bench.context().join("secret").display())]);
    bench.build(arguments).success();
    let image = image(&bench);
    Made {
        // The lowest layer is the base's, with the bytes of busybox.
        listing: image.listing(1).lines().map(str::to_owned).collect(),
        layers: image.manifest.layers.iter().map(|layer| layer.digest).collect(),
        config: image.manifest.config.digest,
    }
}

/// The ways of isolating RUN, and who is to build with them.
const RUNGS: [(&str, Who); 8] = [
    ("root", Who::Caller),
    ("chroot", Who::Caller),
    ("rootless", Who::Caller),
    ("single-id", Who::Caller),
    ("rootless", Who::Ordinary),
    ("single-id", Who::Ordinary),
    ("trace", Who::Caller),
    ("trace", Who::Ordinary),
];

#[test]
fn an_image_is_the_same_however_run_is_isolated() {
    if !need(["root", "busybox"]) {
        return;
    }
    let first = made("root", Who::Caller, DOCKERFILE, |bench| bench);
    for (isolation, who) in RUNGS.into_iter().skip(1).filter(|(_, who)| who.is_here()) {
        let other = made(isolation, who, DOCKERFILE, |bench| bench);
        first.equals(&other, &format!("`root` and `{isolation}` by {who:?}"));
    }
}

#[test]
fn devices_are_the_same_however_run_is_isolated() {
    if !need(["root", "busybox"]) {
        return;
    }
    let first = made("root", Who::Caller, DEVICES, |bench| bench);
    assert!(first.listing.iter().any(|line| line == "b 0644 4:5 e/block 7:9"), "{:#?}", first.listing);
    for (isolation, who) in RUNGS.into_iter().skip(1).filter(|(_, who)| who.is_here()) {
        let other = made(isolation, who, DEVICES, |bench| bench);
        first.equals(&other, &format!("`root` and `{isolation}` by {who:?}"));
    }
}

/// An overlay that is mounted on a directory, as `/` of a container is one.
struct MountedOverlay(tempfile::TempDir);

impl MountedOverlay {
    fn new() -> MountedOverlay {
        let directory = tempfile::Builder::new().prefix("cooper-overlay-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let path = directory.path().display();
        let options = format!("lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work");
        let mounted = MountedOverlay(directory);
        let status =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(mounted.path()).status();
        assert!(status.unwrap().success());
        mounted
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("merged")
    }
}

impl Drop for MountedOverlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn an_image_is_the_same_where_overlays_are_refused() {
    if !need(["root", "busybox"]) {
        return;
    }
    let first = made("root", Who::Caller, DOCKERFILE, |bench| bench);
    for (isolation, who) in RUNGS.into_iter().filter(|(isolation, who)| *isolation != "chroot" && who.is_here()) {
        let overlay = MountedOverlay::new();
        let other = made(isolation, who, DOCKERFILE, |bench| bench.store_at(overlay.path().join("store")));
        first.equals(&other, &format!("`root` and `{isolation}` by {who:?} without overlay"));
    }
}

#[test]
fn that_overlays_are_refused_is_found_once_and_its_cost_is_told() {
    if !need(["root", "busybox"]) {
        return;
    }
    let overlay = MountedOverlay::new();
    let (bench, arguments) =
        bench("root", "FROM base AS a\nRUN echo > /x\nFROM base\nRUN echo > /y\nCOPY --from=a /x /\n");
    let bench = bench.store_at(overlay.path().join("store"));
    let built = bench.build(arguments);
    built.success().says("costs time and space for every stage").says("; `/");
    let notices = built.stderr.lines().filter(|line| line.contains("is on an overlay file system")).count();
    assert_eq!(notices, 1, "{}", built.stderr);
}

/// Lets root run a command as in a container that does not give CAP_SYS_ADMIN.
fn without_sys_admin(command: &Command) -> Command {
    let mut contained = Command::new("setpriv");
    contained.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).arg(command.get_program());
    contained.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    contained.current_dir(command.get_current_dir().unwrap());
    contained
}

#[test]
fn root_of_the_machine_goes_on_where_root_of_a_container_has_begun() {
    if !need(["root", "busybox", "setpriv"]) {
        return;
    }
    let begun =
        "FROM base\nRUN mkdir /d && touch /d/a /e && mknod /null c 1 3\nRUN rm -r /d /e && mkdir /d && touch /d/b\n";
    let (bench, arguments) = bench("chroot", begun);
    let contained = without_sys_admin(bench.build_command(&arguments).arg(bench.context()));
    Outcome::of({ contained }.output().unwrap()).success();
    bench.write("Dockerfile", format!("{begun}RUN ls -d /d/* /e /null > /seen 2>/dev/null || mv /null /moved\n"));
    let arguments = arguments.iter().map(|argument| if argument == "chroot" { "root" } else { argument });
    bench.build(arguments).success().cached("RUN rm -r /d /e && mkdir /d && touch /d/b");
    let listing = image(&bench).listing(1);
    let last = listing.rsplit("--\n").next().unwrap();
    assert!(last.contains("seen \"/d/b\\n/null\\n\"") && last.contains("c 0644 0:0 moved 1:3"), "{last}");
}

#[test]
fn a_store_of_the_machines_root_is_refused_where_its_layers_cannot_be_read() {
    if !need(["root", "busybox", "setpriv"]) {
        return;
    }
    let (bench, arguments) = bench("root", "FROM base\nRUN touch /a\n");
    bench.build(&arguments).success();
    let told = "was filled by root of the machine, with attributes that only it can read";
    for isolation in ["chroot", "rootless", "single-id"] {
        let arguments = arguments.iter().map(|argument| if argument == "root" { isolation } else { argument });
        let mut contained = without_sys_admin(bench.build_command(arguments).arg(bench.context()));
        Outcome::of(contained.output().unwrap()).exits(1).says(told).says("COOPER_ROOT");
    }
    bench.build(&arguments).success().cached("RUN touch /a");
}

#[test]
fn a_chroot_has_proc_and_dev_and_leaves_nothing_behind() {
    if !need(["root", "busybox"]) {
        return;
    }
    let dockerfile = "FROM base\n\
        RUN grep -q '^Name:.grep' /proc/self/status && readlink /proc/self/exe > /exe && cat /proc/cpuinfo > /dev/null\n\
        RUN echo out > /dev/stdout && head -c 3 /dev/zero | wc -c > /three && readlink /proc/1/root | grep -qx / && (sleep 1000 &)\n";
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
