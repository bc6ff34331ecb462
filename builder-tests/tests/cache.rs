//! What is cached, what is not, and that the reason is told.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, git, need};

const DOCKERFILE: &str = "FROM base\nCOPY a /a\nCOPY b /b\nRUN cat /b > /c\n";

fn bench() -> Option<Bench> {
    let make = || Bench::new().base().file("Dockerfile", DOCKERFILE).file("a", "one").file("b", "two");
    need(["busybox"]).then(make)
}

fn all_cached() -> Vec<&'static str> {
    vec!["CACHED COPY a /a", "CACHED COPY b /b", "CACHED RUN cat /b > /c"]
}

#[test]
fn an_unchanged_build_runs_nothing_and_gives_the_same_image() {
    let Some(bench) = bench() else { return };
    bench.build(["-t", "app:1"]).success();
    let first = bench.image("app:1").digest;
    assert_eq!(bench.build(["-t", "app:1"]).success().steps(), all_cached());
    assert_eq!(bench.image("app:1").digest, first);
}

#[test]
fn times_do_not_count() {
    let Some(bench) = bench() else { return };
    bench.build(["-t", "app:1"]).success();
    bench.touch_all();
    assert_eq!(bench.build(["-t", "app:1"]).success().steps(), all_cached());
}

#[test]
fn a_fresh_clone_hits() {
    let Some(bench) = bench() else { return };
    if !need(["git"]) {
        return;
    }
    let context = bench.context();
    for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-qm", "x"]] {
        git(&context, arguments);
    }
    bench.build(["-t", "app:1"]).success();
    let clone = bench.path("clone");
    git(&context, &["clone", "-q", ".", clone.to_str().unwrap()]);
    assert_eq!(bench.build_bare([clone]).success().steps(), all_cached());
}

#[test]
fn a_changed_mode_misses() {
    let Some(bench) = bench() else { return };
    bench.chmod("a", 0o644).build(["-t", "app:1"]).success();
    bench.chmod("a", 0o755).build(["-t", "app:1"]).success().ran("COPY a /a");
}

#[test]
fn one_changed_byte_misses_from_there_on_and_the_reason_names_the_file() {
    let Some(bench) = bench() else { return };
    bench.build(["-t", "app:1"]).success();
    bench.write("b", "twO");
    let built = bench.build(["-t", "app:1"]);
    assert_eq!(built.success().steps(), ["CACHED COPY a /a", "RAN COPY b /b", "RAN RUN cat /b > /c"]);
    built.says("not cached: changed: b (1 of 1 file)").says("not cached: the step before it changed");
    assert_eq!(bench.image("app:1").text("c"), "twO");
}

#[test]
fn a_change_of_the_same_size_within_the_same_second_is_seen() {
    let Some(bench) = bench() else { return };
    for content in ["1", "2", "3", "4", "5"] {
        bench.write("a", content).build(["-t", "app:1"]).success();
        assert_eq!(bench.image("app:1").text("a"), content);
    }
}

#[test]
fn an_argument_counts_only_where_it_is_used() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = "FROM base\nARG A=1\nARG UNUSED\nCOPY a /a\nCOPY a /b-$A\n";
    let bench = Bench::new().base().file("Dockerfile", dockerfile).file("a", "x");
    bench.build(["-t", "app:1"]).success();
    let built = bench.build(["-t", "app:1", "--build-arg", "A=2"]);
    assert_eq!(built.success().steps(), ["CACHED COPY a /a", "RAN COPY a /b-2"]);
    let built = bench.build(["-t", "app:1", "--build-arg", "UNUSED=2"]);
    assert_eq!(built.success().steps(), ["CACHED COPY a /a", "CACHED COPY a /b-1"]);
}

#[test]
fn no_cache_runs_everything() {
    let Some(bench) = bench() else { return };
    bench.build(["-t", "app:1"]).success();
    let ran = all_cached().iter().map(|step| step.replace("CACHED", "RAN")).collect::<Vec<_>>();
    assert_eq!(bench.build(["-t", "app:1", "--no-cache"]).success().steps(), ran);
}

#[test]
fn no_cache_filter_runs_the_named_stage() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = "FROM base AS one\nRUN date +%N > /n\nFROM base AS two\nRUN echo two > /t\n\
                      FROM scratch\nCOPY --from=one /n /n\nCOPY --from=two /t /t\n";
    let bench = Bench::new().base().file("Dockerfile", dockerfile);
    bench.build(["-t", "app:1"]).success();
    let built = bench.build(["-t", "app:1", "--no-cache-filter", "two"]);
    built.success().cached("RUN date +%N > /n").ran("RUN echo two > /t");
}

#[test]
fn a_stage_rebuilt_to_the_same_bytes_does_not_invalidate_what_copies_from_it() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = "FROM base AS make\nCOPY source /source\nRUN wc -w < /source > /count\n\
                      FROM base\nCOPY --from=make /count /count\nRUN cat /count > /shown\n";
    let bench = Bench::new().base().file("Dockerfile", dockerfile).file("source", "a b");
    bench.build(["-t", "app:1"]).success();
    bench.write("source", "c d");
    let built = bench.build(["-t", "app:1"]);
    built.success().ran("RUN wc -w < /source > /count").cached("RUN cat /count > /shown");
}

#[test]
fn a_comment_or_a_label_costs_no_step() {
    let Some(bench) = bench() else { return };
    bench.build(["-t", "app:1"]).success();
    bench.write("Dockerfile", format!("# a comment\n{DOCKERFILE}LABEL a=b\n"));
    assert_eq!(bench.build(["-t", "app:1"]).success().steps(), all_cached());
}

#[test]
fn a_failed_step_is_not_cached_and_those_before_it_are() {
    if !need(["busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN echo ok > /ok\nRUN exit 7\n");
    for _ in 0..2 {
        bench.build(["-t", "app:1"]).exits(1).says("exit code: 7").ran("RUN exit 7");
    }
    bench.build(["-t", "app:1"]).cached("RUN echo ok > /ok");
}

#[test]
fn a_linked_copy_is_used_again_on_a_changed_base() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = |base: &str, chown: &str| {
        format!(
            "FROM base\nRUN echo {base} > /base\nCOPY --link{chown} a /d/a\nCOPY --link b /b\nRUN cat /base /d/a /b > /all\n"
        )
    };
    let bench = Bench::new().base().file("Dockerfile", dockerfile("one", "")).file("a", "A").file("b", "B");
    bench.build(["-t", "app:1"]).success();
    let layers = bench.image("app:1").manifest.layers;
    let built = bench.write("Dockerfile", dockerfile("two", "")).build(["-t", "app:2"]);
    built.success().ran("RUN echo two > /base").cached("COPY --link a /d/a").cached("COPY --link b /b");
    let image = bench.image("app:2");
    assert_eq!(image.text("all"), "two\nAB");
    assert_eq!(image.manifest.layers[2..4], layers[2..4]);
    // The second build of the same base finds everything without looking below.
    let again = bench.build(["-t", "app:2"]);
    again.success().cached("COPY --link b /b").cached("RUN cat /base /d/a /b > /all");
    let built = bench.write("Dockerfile", dockerfile("three", " --chown=5:6")).build(["-t", "app:3"]);
    built.success().ran("COPY --link --chown=5:6 a /d/a").cached("COPY --link b /b");
}

#[test]
fn spellings_of_a_source_share_a_key() {
    if !need(["busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("dir/a", "x");
    for (source, is_cached) in [("dir/a", false), ("./dir/a", true), ("/dir/../dir//a", true), ("dir/[a]", false)] {
        let built = bench.write("Dockerfile", format!("FROM base\nCOPY {source} /a\n")).build(["-t", "app:1"]);
        let step = format!("COPY {source} /a");
        if is_cached {
            built.success().cached(&step)
        } else {
            built.success().ran(&step)
        };
    }
}
