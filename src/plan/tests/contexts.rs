use super::super::graph::{ContextId, RunMount, SourceRef};
use super::*;
use rstest::rstest;

fn image(name: &str) -> NamedContext {
    NamedContext::Image(name.to_owned())
}

fn files() -> NamedContext {
    NamedContext::Files("/dir".to_owned())
}

fn other() -> ContainerConfig {
    ContainerConfig { env: vec!["OTHER=1".to_owned()], ..ContainerConfig::default() }
}

#[rstest]
#[case("busybox")]
#[case("busybox:latest")]
#[case("docker.io/library/busybox")]
fn a_context_replaces_an_image(#[case] name: &str) {
    let mut bench = Bench::new().image("other", other()).context("busybox", image("other"));
    let planned = bench.try_plan(&format!("FROM {name}\n")).unwrap();
    assert_eq!(planned.config().env, ["OTHER=1", PATH]);
    assert_eq!(bench.world.asked, ["other"]);
}

#[rstest]
#[case("FROM busybox\n", "for amd64")]
#[case("FROM --platform=linux/arm64/v8 busybox\n", "for arm64")]
#[case("FROM --platform=linux/s390x busybox\n", "for all")]
#[case("FROM --platform=linux/arm64 x AS busybox\nRUN never\nFROM busybox\n", "for arm64")]
#[case("FROM scratch\nCOPY --from=busybox / /\n", "for amd64")]
fn a_context_may_be_for_one_platform(#[case] text: &str, #[case] expected: &str) {
    let mut bench = Bench::new();
    for (name, image) in
        [("busybox", "for all"), ("busybox::linux/arm64", "for arm64"), ("busybox::linux/amd64", "for amd64")]
    {
        bench = bench.context(name, self::image(image)).image(image, other());
    }
    bench.try_plan(text).unwrap();
    assert_eq!(bench.world.asked, [expected]);
}

#[test]
fn the_last_context_of_a_name_counts() {
    let mut bench = Bench::new().image("two", other()).context("a", image("one")).context("a", image("two"));
    bench.try_plan("FROM a\n").unwrap();
    assert_eq!(bench.world.asked, ["two"]);
}

#[test]
fn a_context_replaces_a_stage_whose_instructions_are_not_run() {
    let mut bench = Bench::new().image("other", other()).context("a", image("other"));
    let planned = bench.try_plan("FROM busybox AS a\nRUN never\nFROM a\nRUN true\n").unwrap();
    assert_eq!(planned.runs().len(), 1);
    assert_eq!(planned.config().env, ["OTHER=1", PATH]);
    assert_eq!(bench.world.asked, ["other"]);
}

#[test]
fn a_replaced_stage_may_come_later_and_triggers_nothing() {
    let text =
        "FROM busybox AS a\nCOPY --from=b x /x\nFROM busybox AS b\nONBUILD RUN never\nFROM b AS c\nCOPY --from=a / /\n";
    let planned = Bench::new().context("b", files()).plan(text);
    assert!(planned.runs().is_empty());
    assert_eq!(planned.copies().len(), 2);
}

#[test]
fn files_replace_what_copy_and_mount_read() {
    let bench = Bench::new().context("unused", files()).context("foo", files());
    let planned = bench.plan("FROM busybox\nCOPY --from=foo a /a\nRUN --mount=from=foo,target=/in true\nCOPY b /b\n");
    let context = SourceRef::Context(ContextId(2));
    let sources: Vec<_> = planned.graph.steps.iter().flat_map(|step| step.sources()).collect();
    assert_eq!(sources, [context, context, SourceRef::Context(ContextId(0))]);
    assert!(matches!(&planned.runs()[0].mounts[0], RunMount::Bind { source, .. } if source == "/"));
}

#[test]
fn from_files_is_like_scratch_with_files() {
    let planned = Bench::new().context("foo", files()).plan("FROM foo\nCOPY a /a\n");
    assert!(matches!(planned.graph.steps[0].op, Op::Tree(ContextId(1))));
    assert_eq!(planned.graph.steps[1].base(), Some(planned.graph.steps[0].id));
    assert_eq!((planned.config().working_dir.as_str(), planned.config().env.as_slice()), ("/", &[PATH.to_owned()][..]));
    // As many entries with a layer as there are layers.
    assert_eq!(planned.with_layer(), ["[context foo] load from client", "COPY a /a # buildkit"]);
}

#[test]
fn an_image_context_may_be_scratch_or_an_oci_layout() {
    let planned = Bench::new().context("busybox", image("scratch")).plan("FROM busybox\nCOPY a /a\n");
    assert_eq!((planned.graph.steps.len(), planned.graph.steps[0].base()), (1, None));
    let layout = NamedContext::OciLayout("/l:t".to_owned());
    let planned = Bench::new().image("oci:/l:t", other()).context("foo", layout).plan("FROM foo\n");
    assert_eq!(planned.config().env, ["OTHER=1", PATH]);
}

#[test]
fn unused_contexts_are_never_loaded() {
    let mut bench = Bench::new().context("foo", image("nosuch"));
    bench.try_plan("FROM busybox\n").unwrap();
    assert_eq!(bench.world.asked, ["busybox"]);
}

#[test]
fn scratch_and_context_are_no_names_for_contexts() {
    let bench = Bench::new().context("scratch", image("busybox")).context("context", files());
    assert!(bench.plan("FROM scratch\nCOPY a /a\n").graph.steps[0].base().is_none());
}
