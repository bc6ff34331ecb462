use super::super::graph::SourceRef;
use super::*;
use rstest::rstest;

fn base(triggers: &[&str]) -> Bench {
    let config = ContainerConfig {
        env: vec![PATH.to_owned()],
        on_build: triggers.iter().map(|trigger| (*trigger).to_owned()).collect(),
        ..ContainerConfig::default()
    };
    Bench::new().image("parent", config)
}

#[test]
fn triggers_of_the_base_run_behind_from_and_are_gone() {
    let planned = base(&["ARG WHO=me", "RUN echo $WHO", "CMD [\"x\"]"]).plan("FROM parent\nRUN again\n");
    assert_eq!(
        planned.created_by(),
        [
            "ARG WHO=me",
            "RUN |1 WHO=me /bin/sh -c echo $WHO # buildkit",
            "CMD [\"x\"]",
            "RUN |1 WHO=me /bin/sh -c again # buildkit"
        ]
    );
    assert!(planned.config().on_build.is_empty());
    assert_eq!(planned.labels()[1..], ["[2/5] ONBUILD RUN echo me", "[3/5] RUN again"]);
}

#[test]
fn triggers_of_the_dockerfile_go_into_the_config_without_history() {
    let planned = plan_of("FROM busybox\nONBUILD COPY . /src\nonbuild RUN make\n");
    assert_eq!(planned.config().on_build, ["COPY . /src", "RUN make"]);
    assert!(planned.created_by().is_empty() && planned.labels().len() == 1);
}

#[test]
fn a_trigger_that_will_fail_is_told_and_fails_where_it_runs() {
    let planned = plan_of("FROM busybox\nONBUILD COPY nothing\n");
    assert_eq!(planned.config().on_build, ["COPY nothing"]);
    assert!(planned.warnings[0].message.contains("COPY requires at least two arguments"), "{:?}", planned.warnings);
    let error = Bench::new().error("FROM busybox AS a\nONBUILD COPY nothing\nFROM a\n");
    assert!(error.contains("invalid ONBUILD trigger of the base: `COPY nothing`"), "{error}");
}

#[test]
fn a_stage_triggers_in_its_children_but_not_in_theirs() {
    let planned = plan_of("FROM busybox AS a\nONBUILD RUN hook\nFROM a AS b\nRUN b\nFROM b\nRUN c\n");
    let commands: Vec<&str> = planned.runs().iter().map(|run| run.argv[2].as_str()).collect();
    assert_eq!(commands, ["hook", "b", "c"]);
    assert!(planned.config().on_build.is_empty());
}

#[test]
fn triggers_run_again_at_every_from_of_the_image() {
    let planned = base(&["RUN hook"]).plan("FROM parent AS a\nFROM parent AS b\nCOPY --from=a /x /x\n");
    assert_eq!(planned.runs().len(), 2);
}

#[test]
fn a_trigger_for_the_grandchildren_becomes_the_childs_trigger() {
    let planned = base(&["ONBUILD RUN later"]).plan("FROM parent\n");
    assert_eq!(planned.config().on_build, ["RUN later"]);
    assert!(planned.created_by().is_empty());
    let planned = base(&["ONBUILD RUN later"]).plan("FROM parent AS a\nFROM a\n");
    assert_eq!(planned.runs()[0].argv[2], "later");
}

#[test]
fn a_trigger_may_bring_in_images_and_stages() {
    let planned = base(&["COPY --from=busybox /bin/sh /sh"]).plan("FROM parent\n");
    assert!(matches!(planned.graph.steps.last().unwrap().sources()[..], [SourceRef::Step(_)]));
    let bench = base(&["RUN --mount=from=tools,target=/t /t/x"]);
    let planned = bench.plan("FROM busybox AS tools\nRUN make\nFROM parent\n");
    assert_eq!(planned.runs().len(), 2);
}

#[rstest]
#[case("FROM busybox")]
#[case("ONBUILD ONBUILD RUN x")]
#[case("NONSENSE")]
#[case("")]
#[case("RUN a\nRUN b")]
fn bad_triggers_of_an_image_point_at_its_from(#[case] trigger: &str) {
    let error = base(&[trigger]).error("FROM parent\n");
    assert!(error.starts_with("Dockerfile:1:1: invalid ONBUILD trigger of the base"), "{error}");
}

#[test]
fn too_many_triggers_are_refused() {
    let triggers = vec!["RUN true"; 1001];
    assert!(base(&triggers).error("FROM parent\n").contains("more than 1000 ONBUILD triggers"));
}
