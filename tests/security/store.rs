//! The store: who may read it, and what is left of builds that were killed.

use super::bench::Bench;
use super::rungs::{EVERY, WITH_RUN, any_account, on};
use cooper::sandbox::Rung;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Returns what others may do to, outside of unpacked layers and caches, whose modes are those of the image.
fn open_to_others(path: &Path, found: &mut Vec<String>) {
    // What stands for the root of a file system of no image is open as one.
    if path.ends_with("store/empty") {
        return;
    }
    let metadata = path.symlink_metadata().unwrap();
    if !metadata.is_symlink() && metadata.permissions().mode() & 0o077 != 0 {
        found.push(format!("{:o} {}", metadata.permissions().mode(), path.display()));
    }
    let is_image = ["layers", "mounts", "tmp"].iter().any(|name| path.ends_with(Path::new("store").join(name)));
    if metadata.is_dir() && !is_image {
        fs::read_dir(path).unwrap().for_each(|entry| open_to_others(&entry.unwrap().path(), found));
    }
}

#[test]
fn a_store_is_its_users_alone_whatever_the_umask() {
    on(WITH_RUN, |bench| {
        for umask in [0o000, 0o022, 0o077] {
            let store = bench.path(&format!("home/{umask:o}/store"));
            bench.write("f", "x");
            bench.write(
                "Dockerfile",
                "FROM base\nCOPY f /f\nRUN --mount=type=cache,target=/c echo x > /c/f && echo told\n",
            );
            let context = bench.text("context");
            bench
                .run(&["--progress=plain", "-t", "a/b:c", &context], |command| {
                    command.env("COOPER_ROOT", &store);
                    let set = move || {
                        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
                        Ok(())
                    };
                    set_before(command, set);
                })
                .succeeded();
            let mut found = Vec::new();
            open_to_others(&store, &mut found);
            assert!(found.is_empty(), "umask {umask:o}: {found:#?}");
        }
    });
}

/// Has something done in the child before the program starts.
#[allow(unsafe_code)]
fn set_before(command: &mut Command, set: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) {
    // SAFETY: umask(2) alone is called, which is safe after a fork.
    unsafe { command.pre_exec(set) };
}

#[test]
fn a_store_that_others_can_write_to_or_own_is_refused() {
    let bench = Bench::new(any_account());
    fs::create_dir(bench.path("store")).unwrap();
    fs::set_permissions(bench.path("store"), fs::Permissions::from_mode(0o777)).unwrap();
    bench.build("FROM scratch\nWORKDIR /x\n", &[]).refused("others may write");
    fs::set_permissions(bench.path("store"), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(bench.path("store"), Some(65_533), None).unwrap();
        bench.build("FROM scratch\nWORKDIR /x\n", &[]).refused("belongs to user 65533");
    }
}

#[test]
fn temporary_files_are_not_made_where_others_wait_for_them() {
    on(WITH_RUN, |bench| {
        symlink(bench.outside(""), bench.path("home/tmp")).unwrap();
        bench.write("f", "x");
        bench.write("Dockerfile", "FROM base\nCOPY f /f\nRUN true\n");
        let (context, dest) = (bench.text("context"), bench.text("out.tar"));
        bench
            .run(&["--progress=plain", &format!("-otype=oci,dest={dest}"), &context], |command| {
                command.env("TMPDIR", bench.path("home/tmp"));
            })
            .succeeded();
    });
}

#[test]
fn a_build_that_is_killed_leaves_a_sound_store() {
    on(EVERY, |bench| {
        (0..200).for_each(|n| bench.write(&format!("d/f{n}"), "x".repeat(n * 50)));
        let runs = "RUN --mount=type=cache,target=/c echo x > /c/f; cp -r /d /e\nCOPY d /g\nRUN rm -r /g\n";
        let can_run = bench.account.rung != Rung::None;
        let text = format!("FROM base\nCOPY d /d\n{}", if can_run { runs } else { "COPY d /g\n" });
        // The times are those at which builds of one to some hundred milliseconds are at different work.
        for n in 0..12u64 {
            let last = if can_run { format!("RUN echo {n} > /n\n") } else { format!("COPY <<E /n\n{n}\nE\n") };
            bench.write("Dockerfile", format!("{text}{last}"));
            let context = bench.text("context");
            bench.prepare();
            let mut command = bench.command(&["--progress=plain", "-t", "a/b:c", &context]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(30 * n + n * n % 7));
            child.kill().unwrap();
            child.wait().unwrap();
            if bench.path("store/oci/oci-layout").exists() {
                let output = bench.program().args(["store", "check"]).output().unwrap();
                assert!(output.status.success(), "killed {n}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        bench.build(&text, &[]).succeeded();
        bench.assert_outside_is_untouched();
    });
}

#[test]
fn two_builds_at_once_do_not_disturb_one_another() {
    on(WITH_RUN, |bench| {
        bench.write("f", "x");
        bench.write("Dockerfile", "FROM base\nCOPY f /f\nRUN --mount=type=cache,target=/c,sharing=locked echo x >> /c/f; sleep 0; echo x > /g\n");
        bench.prepare();
        let context = bench.text("context");
        let mut children: Vec<_> = (0..4)
            .map(|n| {
                let mut command = bench.command(&["--quiet", "-t", &format!("a/b:{n}"), &context]);
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children.drain(..) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        bench.assert_outside_is_untouched();
    });
}

#[test]
fn a_full_disk_is_told_and_leaves_no_mount() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a small disk needs root");
        return;
    }
    let bench = Bench::new(any_account());
    bench.write("big", vec![7; 24 << 20]);
    bench.write("Dockerfile", "FROM base\nCOPY big /big\n");
    fs::create_dir(bench.path("store")).unwrap();
    let context = bench.text("context");
    let inner = bench.command(&["--progress=plain", &context]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=12m,mode=700 none \"$COOPER_ROOT\" && exec \"$0\" \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(inner.get_program()).args(inner.get_args());
    command.env("COOPER_ROOT", bench.path("store")).current_dir(bench.path("elsewhere"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("No space left"), "{text}");
    bench.assert_outside_is_untouched();
}
