use super::super::graph::SourceRef;
use super::*;
use rstest::rstest;

#[test]
fn only_what_the_target_needs_is_looked_at() {
    let mut bench = Bench::new().target("A");
    let planned = bench.try_plan("FROM busybox AS a\nRUN a\nFROM nosuchimage AS b\nRUN b\n").unwrap();
    assert_eq!(
        planned.labels(),
        ["[a 1/2] FROM docker.io/library/busybox:latest@".to_owned() + &digest("busybox"), "[a 2/2] RUN a".to_owned()]
    );
    assert_eq!(bench.world.asked, ["busybox"]);
}

fn digest(name: &str) -> String {
    Descriptor::of(media_type::MANIFEST, format!("{name} linux/amd64").as_bytes()).digest.to_string()
}

#[rstest]
#[case("a", 1)]
#[case("A", 1)]
#[case("0", 1)]
#[case("b", 2)]
fn a_target_is_a_name_or_a_number(#[case] target: &str, #[case] runs: usize) {
    let planned = Bench::new().target(target).plan("FROM busybox AS a\nRUN 1\nFROM a AS b\nRUN 2\n");
    assert_eq!(planned.runs().len(), runs);
}

#[test]
fn an_unknown_target_gets_the_nearest_name() {
    let mut bench = Bench::new().target("biuld");
    let error = bench.try_plan("FROM busybox AS build\nFROM busybox AS test\n").unwrap_err();
    assert_eq!(error.to_string(), "target stage `biuld` could not be found");
    assert_eq!(error.hints, ["did you mean `build`?"]);
}

#[rstest]
#[case("FROM busybox AS a\nRUN 1\nFROM scratch\nCOPY --from=a /x /x\n")]
#[case("FROM busybox AS a\nRUN 1\nFROM scratch\nCOPY --from=A /x /x\n")]
#[case("FROM busybox AS A\nRUN 1\nFROM scratch\nCOPY --from=0 /x /x\n")]
fn copy_from_a_stage(#[case] text: &str) {
    let planned = plan_of(text);
    let run = planned.graph.steps.iter().find(|step| matches!(step.op, Op::Run(_))).unwrap().id;
    assert_eq!(planned.graph.steps.last().unwrap().sources(), [SourceRef::Step(run)]);
}

#[test]
fn copy_from_an_image_and_from_scratch() {
    let planned = plan_of("FROM scratch\nCOPY --from=busybox /bin/sh /sh\nCOPY --from=busybox /a /a\n");
    let image = planned.graph.steps[0].id;
    assert!(planned.labels()[0].starts_with("FROM docker.io/library/busybox:latest@sha256:"), "{:?}", planned.labels());
    assert_eq!(
        planned.labels()[1..],
        ["[stage-0 1/2] COPY --from=busybox /bin/sh /sh", "[stage-0 2/2] COPY --from=busybox /a /a"]
    );
    assert!(planned.graph.steps[1..].iter().all(|step| step.sources() == [SourceRef::Step(image)]));
    let planned = plan_of("FROM scratch AS empty\nFROM scratch\nCOPY --from=empty /a /a\n");
    assert_eq!(planned.graph.steps[0].sources(), [SourceRef::Scratch]);
}

#[test]
fn a_stage_called_scratch_is_that_stage() {
    assert_eq!(plan_of("FROM busybox AS scratch\nRUN 1\nFROM scratch\nRUN 2\n").runs().len(), 2);
}

#[test]
fn of_two_stages_with_one_name_the_last_counts() {
    let planned = plan_of("FROM busybox AS a\nRUN 1\nFROM busybox AS a\nRUN 2\nFROM a\n");
    assert_eq!(planned.runs()[0].argv[2], "2");
    assert_eq!(planned.runs().len(), 1);
}

#[test]
fn a_stage_inherits_everything_of_a_stage() {
    let planned = plan_of("FROM busybox AS a\nENV A=1\nCMD [\"a\"]\nWORKDIR /a\nFROM a\nRUN true\n");
    assert_eq!(planned.created_by(), ["ENV A=1", "CMD [\"a\"]", "WORKDIR /a", "RUN /bin/sh -c true # buildkit"]);
    assert_eq!(planned.config().cmd.as_deref().unwrap(), ["a"]);
    assert_eq!(planned.runs()[0].cwd, "/a");
    let planned = plan_of("FROM busybox AS a\nCMD [\"a\"]\nFROM a\nENTRYPOINT [\"e\"]\n");
    assert_eq!(planned.config().cmd, None);
}

#[rstest]
#[case(
    "FROM busybox AS a\nCOPY --from=b x x\nFROM busybox AS b\nFROM a\n",
    "cannot copy from stage `b`, it needs to be defined before current stage `a`"
)]
#[case(
    "FROM busybox AS a\nRUN --mount=from=b,target=/b x\nFROM busybox AS b\nFROM a\n",
    "cannot mount from stage `b`, it needs to be defined before current stage `a`"
)]
#[case("FROM busybox AS a\nCOPY --from=a x x\n", "circular dependency detected on stage: a")]
#[case("FROM busybox\nCOPY --from=7 x x\n", "invalid stage index 7")]
#[case("FROM busybox\nCOPY --from=-1 x x\n", "invalid stage index -1")]
#[case("FROM busybox\nARG F=x\nCOPY --from=$F x x\n", "variable expansion is not supported")]
#[case("FROM busybox\nRUN --mount=from=$F,target=/x x\n", "from")]
#[case("FROM $NOPE\n", "base name ($NOPE) should not be blank")]
#[case("FROM --platform=$NOPE busybox\n", "empty platform value")]
#[case("FROM --platform=a/b/c/d busybox\n", "failed to parse platform")]
#[case("FROM busybox AS bug_stage\nFROM BUG_stage\n", "repository name must be lowercase")]
#[case("FROM nosuch\n", "no such image: `nosuch`")]
#[case("FROM scratch\nCOPY --from=nosuch a b\n", "no such image: `nosuch`")]
#[case("FROM scratch AS a\nFROM busybox\nRUN --mount=from=0,target=/x x\n", "no such image: `0`")]
fn mistakes(#[case] text: &str, #[case] expected: &str) {
    let error = Bench::new().error(text);
    assert!(error.starts_with("Dockerfile:") && error.contains(expected), "{error}");
}

#[test]
fn a_missing_image_that_is_nearly_a_stage_gets_a_hint() {
    let error = Bench::new()
        .try_plan("FROM busybox AS builder\nFROM scratch\nCOPY --from=biulder a b\n")
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.hints, ["did you mean the stage `builder`?"]);
}

#[test]
fn labels_number_what_makes_layers() {
    let planned = plan_of(
        "FROM busybox AS build\nENV A=1\nRUN make\nWORKDIR /w\nFROM busybox\nCOPY --from=build /a /a\nLABEL a=b\nADD x /\n",
    );
    assert_eq!(
        planned.labels()[1..],
        [
            "[build 2/3] RUN make",
            "[build 3/3] WORKDIR /w",
            "[stage-1 2/3] COPY --from=build /a /a",
            "[stage-1 3/3] ADD x /"
        ]
    );
    assert_eq!(plan_of("FROM busybox\nRUN a\n").labels()[1], "[2/2] RUN a");
    let stages: Vec<&str> = planned.graph.steps.iter().map(|step| step.stage.as_str()).collect();
    assert_eq!(stages, ["build", "build", "build", "1", "1"]);
}

#[rstest]
#[case(true, &[], &[true, true])]
#[case(false, &["B"], &[false, true])]
#[case(false, &[], &[false, false])]
fn no_cache(#[case] all: bool, #[case] filter: &[&str], #[case] expected: &[bool]) {
    let mut bench = Bench::new();
    bench.options.no_cache = all;
    bench.options.no_cache_filter = filter.iter().map(|name| (*name).to_owned()).collect();
    let planned = bench.plan("FROM busybox AS a\nRUN a\nFROM a AS b\nRUN b\n");
    let found: Vec<bool> =
        planned.graph.steps.iter().filter(|step| matches!(step.op, Op::Run(_))).map(|step| step.no_cache).collect();
    assert_eq!(found, expected);
    assert!(!planned.graph.steps[0].no_cache);
}

#[test]
fn one_image_used_twice_is_one_step() {
    let planned = plan_of("FROM busybox AS a\nRUN a\nFROM busybox\nCOPY --from=a /a /a\n");
    assert_eq!(planned.graph.steps.iter().filter(|step| matches!(step.op, Op::Image(_))).count(), 1);
}

#[test]
fn a_long_chain_of_stages_is_planned() {
    let mut text = "FROM busybox AS s0\n".to_owned();
    (1..2_000).for_each(|n| text.push_str(&format!("FROM s{} AS s{n}\n", n - 1)));
    text.push_str("RUN true\n");
    assert_eq!(plan_of(&text).graph.steps.len(), 2);
}

#[test]
fn an_image_is_asked_for_once() {
    let mut bench = Bench::new();
    bench.try_plan("FROM busybox AS a\nFROM busybox\nCOPY --from=a /a /a\nCOPY --from=busybox /b /b\n").unwrap();
    assert_eq!(bench.world.asked, ["busybox"]);
}

#[test]
fn two_stages_on_one_base_do_not_see_each_other() {
    let text = "FROM busybox AS a\nENV A=1\nFROM a AS b\nENV B=1\nRUN b\nFROM a\nENV C=1\nCOPY --from=b / /\n";
    assert_eq!(plan_of(text).config().env, [PATH, "A=1", "C=1"]);
}
