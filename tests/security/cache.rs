//! The cache gives what a build without it would give, and nothing that was pulled.

use super::bench::Bench;
use super::layout::Image;
use super::layout::busybox;
use super::rungs::{WITH_RUN, any_account, on};
use super::tar::Tar;
use serde_json::json;

/// Pairs of instructions that differ in one thing; each must make its own step or its own config.
const CHANGES: &[(&str, &str)] = &[
    ("RUN echo a > /x", "RUN echo b > /x"),
    ("RUN [\"touch\", \"/x\"]", "RUN touch /x"),
    ("RUN [\"touch\", \"a\", \"bc\"]", "RUN [\"touch\", \"ab\", \"c\"]"),
    ("RUN touch /x", "RUN --network=none touch /x"),
    ("RUN touch /x", "RUN --mount=type=tmpfs,target=/t touch /x"),
    ("RUN --mount=type=tmpfs,target=/t touch /x", "RUN --mount=type=tmpfs,target=/u touch /x"),
    ("RUN --mount=type=tmpfs,target=/t touch /x", "RUN --mount=type=tmpfs,target=/t,size=1m touch /x"),
    ("RUN --mount=type=cache,target=/t touch /x", "RUN --mount=type=cache,target=/u touch /x"),
    ("RUN --mount=type=bind,source=f,target=/t touch /x", "RUN --mount=type=bind,source=g,target=/t touch /x"),
    ("RUN --mount=type=bind,source=f,target=/t touch /x", "RUN --mount=type=bind,source=f,target=/u touch /x"),
    ("RUN <<E\ntouch /x\nE", "RUN <<E\ntouch /y\nE"),
    ("ENV A=1\nRUN touch /x", "ENV A=2\nRUN touch /x"),
    ("ENV A=1 B=\nRUN touch /x", "ENV A= B=1\nRUN touch /x"),
    ("ARG A=1\nRUN touch /x", "ARG A=2\nRUN touch /x"),
    ("USER root\nRUN touch /tmp/x", "USER app\nRUN touch /tmp/x"),
    ("WORKDIR /a\nRUN touch x", "WORKDIR /b\nRUN touch x"),
    ("SHELL [\"/bin/sh\", \"-c\"]\nRUN touch /x", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN touch /x"),
    ("COPY f /x", "COPY g /x"),
    ("COPY f /x", "COPY f /y"),
    ("COPY f /x", "COPY --chmod=600 f /x"),
    ("COPY --chown=1 f /x", "COPY --chown=2 f /x"),
    ("COPY --chown=1:1 f /x", "COPY --chown=1:2 f /x"),
    ("COPY d /x", "COPY --exclude=g d /x"),
    ("COPY --parents d/g /x/", "COPY d/g /x/"),
    ("COPY <<E /x\na\nE", "COPY <<E /x\nb\nE"),
    ("COPY <<E /x\n$A\nE", "COPY <<\"E\" /x\n$A\nE"),
    ("ADD a.tar /x/", "COPY a.tar /x/"),
    ("ADD a.tar /x/", "ADD --unpack=false a.tar /x/"),
    ("HEALTHCHECK NONE", "HEALTHCHECK CMD true"),
    ("HEALTHCHECK CMD true", "HEALTHCHECK CMD false"),
    ("HEALTHCHECK CMD true", "HEALTHCHECK --interval=5s CMD true"),
    ("HEALTHCHECK --timeout=1s CMD true", "HEALTHCHECK --timeout=2s CMD true"),
    ("HEALTHCHECK --retries=1 CMD true", "HEALTHCHECK --retries=2 CMD true"),
    ("HEALTHCHECK --start-period=1s CMD true", "HEALTHCHECK --start-period=2s CMD true"),
    ("ONBUILD RUN a", "ONBUILD RUN b"),
    ("CMD a", "CMD b"),
    ("CMD a", "CMD [\"a\"]"),
    ("ENTRYPOINT [\"a\"]", "ENTRYPOINT [\"b\"]"),
    ("EXPOSE 1", "EXPOSE 1/udp"),
    ("VOLUME /a", "VOLUME /b"),
    ("STOPSIGNAL 1", "STOPSIGNAL 2"),
    ("LABEL a=1", "LABEL a=2"),
    ("MAINTAINER a", "MAINTAINER b"),
    ("USER root", "USER app"),
];

/// Returns the digest of the image, and whether the step ran instead of being taken from the cache.
fn built(bench: &Bench, instruction: &str) -> (String, bool) {
    let result = bench.build(&format!("FROM base\n{instruction}\n"), &["--build-arg=SOURCE_DATE_EPOCH=1"]).succeeded();
    let digest = result.text.lines().find_map(|line| line.strip_prefix("digest")).unwrap().trim().to_owned();
    let has_run = result.text.lines().any(|line| line.starts_with("steps") && !line.ends_with(" 0 run"));
    (digest, has_run)
}

#[test]
fn every_change_of_an_instruction_is_noticed() {
    let bench = Bench::new(any_account());
    bench.write("f", "1");
    bench.write("g", "2");
    bench.write("d/f", "1");
    bench.write("d/g", "2");
    bench.write("a.tar", Tar::new().file("inner", b"1").end());
    for (first, second) in CHANGES {
        let a = built(&bench, first);
        let again = built(&bench, first);
        assert_eq!(a.0, again.0, "{first}");
        let b = built(&bench, second);
        // Two steps may leave the same files; then it counts that the second one ran.
        assert!(a.0 != b.0 || b.1, "{first} | {second}");
        let same = built(&bench, first);
        assert_eq!(a.0, same.0, "{first} after {second}");
    }
}

#[test]
fn a_changed_file_is_noticed_whatever_its_time_says() {
    let bench = Bench::new(any_account());
    let path = bench.path("context/f");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let mut seen = std::collections::HashSet::new();
    for content in ["one", "two", "six"] {
        std::fs::write(&path, content).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert!(seen.insert(built(&bench, "COPY f /f").0), "{content}");
    }
}

#[test]
fn a_pulled_image_is_no_cache() {
    on(WITH_RUN, |bench| {
        // What the build below would make, as a stranger says: history and config match, the file does not.
        let mut image = Image::of([busybox().end(), Tar::new().file("result", b"poisoned").end()]);
        image.config = json!({"Env": ["PATH=/bin"]});
        bench.evil(&image);
        bench.build("FROM evil\nRUN test -f /result\n", &[]).succeeded();
        let result = bench.build(
            "FROM base\nRUN ! test -e /result && echo honest > /result && echo ran-$((40+2))\nRUN test $(cat /result) = honest\n",
            &[],
        );
        assert!(result.succeeded().text.contains("ran-42"));
    });
}

#[test]
fn two_images_by_one_name_are_two_bases() {
    on(WITH_RUN, |bench| {
        for content in ["one", "two"] {
            bench.evil(&Image::of([busybox().file("f", content.as_bytes()).end()]));
            let text = format!(
                "FROM evil\nRUN cp /f /g && test $(cat /g) = {content}\nCOPY --from=evil /f /h\nRUN test $(cat /h) = {content}\n"
            );
            bench.build(&text, &[]).succeeded();
        }
    });
}
