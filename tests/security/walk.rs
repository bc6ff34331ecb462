//! The attacks on paths again, where the kernel refuses to resolve one in a single call.
//!
//! Seccomp profiles of older container runtimes do not know `openat2` and refuse it, some with EPERM and some with
//! ENOSYS.  Paths are then walked name by name, and that walk must lead nowhere either.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::process::Command;

/// Attacks by paths: links, `..` and what is swapped while it is looked at.
const ATTACKS: &[&str] = &[
    "contexts::a_context_that_is_a_hostile_tar_stays_inside",
    "contexts::a_directory_flipped_to_a_link_during_the_build_gives_inside_bytes_or_an_error",
    "contexts::an_ignore_file_is_neither_followed_outside_nor_read_without_end",
    "contexts::pipes_sockets_and_devices_of_a_context_do_not_hang_the_build",
    "contexts::sources_outside_of_the_context_are_not_read",
    "layers::an_image_cannot_reach_the_store_or_the_program",
    "layers::hard_links_to_the_outside_are_refused",
    "layers::honest_layers_with_long_links_unpack",
    "layers::links_planted_in_the_same_layer_lead_nowhere",
    "layers::names_that_climb_stay_inside",
    "outputs::a_directory_is_written_inside_only",
    "runs::a_parent_of_a_mount_point_that_became_a_link_is_not_cleaned_up_through",
    "runs::files_of_an_image_that_the_program_replaces_may_be_links",
    "runs::kernel_directories_of_an_image_that_are_links_lead_nowhere",
    "runs::mount_targets_that_are_links_stay_inside",
    "runs::no_working_directory_leads_out",
    "runs::sources_of_mounts_that_are_links_stay_in_their_image",
    "runs::user_files_of_an_image_may_be_traps",
    "runs::volumes_stay_inside",
];

/// Runs the attacks on some rungs with `openat2` refused to them and to all that they start.
fn attack_with(errno: i32, rungs: &'static str) {
    // A filter holds for the thread that installs it and for its children.
    let status = std::thread::spawn(move || {
        refuse_openat2(errno);
        let direct = openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::empty());
        assert_eq!(direct.unwrap_err().raw_os_error(), errno);
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.env("COOPER_TEST_RUNGS", rungs).args(ATTACKS).args(["--exact", "--nocapture"]);
        let output = tests.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        // A test that was renamed would be left out in silence.
        assert!(text.contains(&format!("{} passed", ATTACKS.len())), "{text}");
    });
    status.join().unwrap();
}

/// Makes `openat2` fail in this thread.
#[allow(unsafe_code)]
fn refuse_openat2(errno: i32) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_openat2 as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // Root needs no promise, and `newuidmap` would lose its power by it.
    let needs_promise = !rustix::process::geteuid().is_root();
    // SAFETY: both calls only read their arguments, and the program outlives them.
    let result = unsafe {
        if needs_promise {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program))
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn attacks_by_paths_fail_where_openat2_is_refused() {
    attack_with(libc::EPERM, "root,none");
}

#[test]
fn attacks_by_paths_fail_where_openat2_is_unknown() {
    attack_with(libc::ENOSYS, "rootless,single-id,chroot");
}
