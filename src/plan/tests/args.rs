use super::*;
use rstest::rstest;

/// Plans a stage with a RUN behind `text` and returns what the RUN sees of a variable.
fn seen(bench: Bench, text: &str, name: &str) -> Option<String> {
    let planned = bench.plan(&format!("{text}\nRUN true\n"));
    env(planned.runs().last().unwrap(), name).map(str::to_owned)
}

#[rstest]
#[case("ARG V=global\nFROM busybox\nARG V", None, Some("global"))]
#[case("ARG V=global\nFROM busybox\nARG V=local", None, Some("local"))]
#[case("ARG V=global\nFROM busybox\nARG V=local", Some("flag"), Some("flag"))]
#[case("ARG V=global\nFROM busybox", None, None)]
#[case("FROM busybox", Some("flag"), None)]
#[case("FROM busybox\nARG V", None, None)]
#[case("FROM busybox\nARG V=", None, Some(""))]
#[case("FROM busybox\nARG V=arg\nENV V=env", Some("flag"), Some("env"))]
#[case("FROM busybox\nENV V=env\nARG V=arg", None, Some("arg"))]
#[case("FROM busybox\nENV X=1\nARG V=$X-2", None, Some("1-2"))]
#[case("FROM busybox AS a\nARG V=a\nFROM a", None, Some("a"))]
#[case("FROM busybox AS a\nENV V=env\nARG V=arg\nFROM a", None, Some("env"))]
fn who_wins(#[case] text: &str, #[case] flag: Option<&str>, #[case] expected: Option<&str>) {
    let bench = flag.into_iter().fold(Bench::new(), |bench, value| bench.arg("V", value));
    assert_eq!(seen(bench, text, "V").as_deref(), expected);
}

#[test]
fn an_env_behind_an_arg_is_in_the_config_the_arg_is_not() {
    let planned = plan_of("FROM busybox\nARG A=1\nENV B=$A\nARG B=3\nRUN true\n");
    assert_eq!(planned.config().env, [PATH, "B=1"]);
    assert_eq!(planned.created_by().last().unwrap(), "RUN |2 A=1 B=3 /bin/sh -c true # buildkit");
}

#[rstest]
#[case("TARGETPLATFORM", "linux/arm/v7")]
#[case("TARGETOS", "linux")]
#[case("TARGETARCH", "arm")]
#[case("TARGETVARIANT", "v7")]
#[case("BUILDPLATFORM", "linux/amd64")]
#[case("BUILDARCH", "amd64")]
#[case("BUILDVARIANT", "")]
#[case("TARGETSTAGE", "default")]
fn predefined(#[case] name: &str, #[case] expected: &str) {
    let bench = Bench::new().platform("linux/arm/v7");
    assert_eq!(seen(bench, &format!("FROM busybox\nARG {name}"), name).as_deref(), Some(expected));
}

#[test]
fn a_global_arg_overrides_a_predefined_one() {
    assert_eq!(seen(Bench::new(), "ARG TARGETARCH=foo\nFROM busybox\nARG TARGETARCH", "TARGETARCH").unwrap(), "foo");
}

#[test]
fn targetstage_is_the_name_of_the_target() {
    let text = "FROM busybox AS a\nARG TARGETSTAGE\nRUN true\nFROM busybox AS B\nARG TARGETSTAGE";
    assert_eq!(seen(Bench::new(), text, "TARGETSTAGE").unwrap(), "b");
    let planned = Bench::new().target("a").plan(text);
    assert_eq!(env(planned.runs()[0], "TARGETSTAGE"), Some("a"));
}

#[test]
fn proxies_need_no_arg_and_are_in_no_key_config_or_history() {
    let planned = Bench::new().arg("http_proxy", "p").arg("NO_PROXY", "n").plan("FROM busybox\nRUN true\n");
    let pairs: Vec<String> =
        planned.runs()[0].unkeyed_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(pairs, ["HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"]);
    assert_eq!(env(planned.runs()[0], "http_proxy"), None);
    assert_eq!(planned.created_by(), ["RUN /bin/sh -c true # buildkit"]);
}

#[test]
fn the_base_image_may_be_an_argument() {
    let text = "ARG IMAGE=nope\nARG TAG\nFROM ${IMAGE}${TAG}\n";
    let mut bench = Bench::new().arg("IMAGE", "busybox");
    bench.try_plan(text).unwrap();
    assert_eq!(bench.world.asked, ["busybox"]);
}

#[test]
fn a_default_that_fails_to_expand_does_not_matter_where_the_flag_is_given() {
    let text = "FROM busybox\nARG FOO=\"${BAR:?foo missing}\"\n";
    assert!(Bench::new().error(text).contains("foo missing"));
    Bench::new().arg("FOO", "x").plan(text);
}

#[rstest]
#[case("FROM busybox", Some("5"), Some(5), None)]
#[case("ARG SOURCE_DATE_EPOCH=7\nFROM busybox", None, Some(7), None)]
#[case("ARG SOURCE_DATE_EPOCH=7\nFROM busybox\nARG SOURCE_DATE_EPOCH", Some("5"), Some(5), Some("5"))]
#[case("ARG SOURCE_DATE_EPOCH\nFROM busybox", None, None, None)]
#[case("FROM busybox\nARG SOURCE_DATE_EPOCH=9", None, None, Some("9"))]
#[case("FROM busybox", Some(""), None, None)]
fn source_date_epoch(
    #[case] text: &str,
    #[case] flag: Option<&str>,
    #[case] epoch: Option<i64>,
    #[case] variable: Option<&str>,
) {
    let bench = flag.into_iter().fold(Bench::new(), |bench, value| bench.arg("SOURCE_DATE_EPOCH", value));
    let planned = bench.plan(&format!("{text}\nRUN true\nWORKDIR /w\n"));
    assert_eq!(planned.target().epoch, epoch);
    assert_eq!(env(planned.runs()[0], "SOURCE_DATE_EPOCH"), variable);
    let Op::Workdir(workdir) = &planned.graph.steps.last().unwrap().op else { panic!("no WORKDIR") };
    assert_eq!(workdir.epoch, epoch);
}

#[test]
fn source_date_epoch_must_be_a_number() {
    let error = Bench::new().arg("SOURCE_DATE_EPOCH", "not-a-timestamp").error("FROM busybox\n");
    assert_eq!(error, "invalid `SOURCE_DATE_EPOCH`: `not-a-timestamp`");
}

#[rstest]
#[case("context", "FROM busybox\n", Some(11))]
#[case("Src", "FROM scratch AS src\nADD https://example.com/a.tar /\nFROM busybox\n", Some(13))]
#[case(
    "src",
    "ARG V=1\nFROM scratch AS src\nARG V\nADD --checksum=$C https://example.com/a.git#v$V /\nFROM busybox\n",
    Some(13)
)]
#[case("files", "FROM busybox\n", Some(12))]
#[case("files:latest", "FROM busybox AS files\nFROM busybox\n", Some(12))]
fn source_date_epoch_may_name_what_has_a_time(#[case] value: &str, #[case] text: &str, #[case] expected: Option<i64>) {
    let mut bench = Bench::new().arg("SOURCE_DATE_EPOCH", value).context("files", NamedContext::Files("/d".into()));
    bench.world.times = true;
    let planned = bench.plan(&format!("{text}ARG SOURCE_DATE_EPOCH\nRUN true\n"));
    assert_eq!(planned.target().epoch, expected);
    let text = expected.map(|seconds| seconds.to_string());
    assert_eq!(env(planned.runs()[0], "SOURCE_DATE_EPOCH"), text.as_deref());
    assert!(planned.warnings.is_empty(), "{:?}", planned.warnings);
}

#[test]
fn a_source_without_a_time_leaves_source_date_epoch_unset_with_a_warning() {
    let planned = Bench::new().arg("SOURCE_DATE_EPOCH", "context").plan("FROM busybox\n");
    assert_eq!(planned.target().epoch, None);
    assert!(planned.warnings[0].message.contains("the context has no time of its own"), "{:?}", planned.warnings);
}

#[rstest]
#[case("FROM busybox AS src\nADD https://example.com/a /\n", "must be `FROM scratch`")]
#[case(
    "FROM scratch AS src\nADD https://example.com/a /\nADD https://example.com/b /\n",
    "one remote ADD and nothing else"
)]
#[case("FROM scratch AS src\nADD https://example.com/a /\nRUN true\n", "one remote ADD and nothing else")]
#[case("FROM scratch AS src\nADD file /\n", "must have one remote source")]
#[case("FROM scratch AS src\nADD https://example.com/a https://example.com/b /\n", "must have one remote source")]
#[case("FROM scratch AS src\n", "has no remote ADD")]
fn a_stage_that_source_date_epoch_names_is_one_remote_source(#[case] text: &str, #[case] expected: &str) {
    let error = Bench::new().arg("SOURCE_DATE_EPOCH", "src").error(&format!("{text}FROM busybox\n"));
    assert!(error.contains(expected), "{error}");
}

#[test]
fn arguments_that_steer_the_builder() {
    let bench = Bench::new().arg("BUILDKIT_SANDBOX_HOSTNAME", "box").arg("BUILDKIT_CACHE_MOUNT_NS", "ns");
    let planned = bench.plan("FROM busybox\nRUN --mount=type=cache,target=/c true\n");
    assert_eq!(planned.runs()[0].hostname.as_deref(), Some("box"));
    assert!(matches!(&planned.runs()[0].mounts[0], super::super::graph::RunMount::Cache { id, .. } if id == "ns//c"));
    let args = [("BUILDKIT_MULTI_PLATFORM", "1"), ("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "true")];
    let args = args.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let builder = crate::plan::BuilderArgs::of(&args);
    assert_eq!((builder.multi_platform, builder.keep_git_dir), (Some(true), true));
}

#[test]
fn texts_are_limited_together() {
    let doubled = "ENV A=$A$A$A$A\n".repeat(10);
    let text = format!("FROM busybox\nENV A=abcd\n{doubled}{}", "LABEL a=$A\n".repeat(20));
    for text in [text, format!("FROM busybox\n{}", "WORKDIR some/longer/path/name\n".repeat(3000))] {
        let error = Bench::new().error(&text);
        assert!(error.contains("texts of the Dockerfile are larger than 67108864 bytes together"), "{error}");
    }
}
