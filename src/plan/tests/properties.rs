use super::*;
use proptest::prelude::*;

/// Words that instructions are made of, the odd ones included.
const WORDS: &[&str] = &[
    "a",
    "/",
    "..",
    "$A",
    "${A:-b}",
    "${A:?x}",
    "\"",
    "é",
    "--from=a",
    "--from=0",
    "--from=busybox",
    "--chmod=u+x",
    "--chown=$A",
    "--mount=type=cache,target=..",
    "--mount=type=secret,env=E,id=x",
    "--mount=from=a,target=é",
    "A=$A",
    "=",
    "[\"a\"]",
    "<<E",
    "C:",
    "C:é",
    "\\",
    "8000-8001",
    ":",
    "1/",
    "http://h/",
    "git@h:p",
    "AS",
    "busybox",
    "NONE",
    "--network=none",
    "scratch",
    "RUN",
    "9",
];

const KEYWORDS: &[&str] = &[
    "FROM",
    "ARG",
    "ENV",
    "LABEL",
    "RUN",
    "CMD",
    "ENTRYPOINT",
    "COPY",
    "ADD",
    "WORKDIR",
    "USER",
    "VOLUME",
    "EXPOSE",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "SHELL",
    "MAINTAINER",
    "E",
];

fn instruction() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..5);
    (prop::sample::select(KEYWORDS), words).prop_map(|(keyword, words)| format!("{keyword} {}\n", words.join(" ")))
}

proptest! {
    #[test]
    fn no_dockerfile_makes_the_planner_panic(
        lines in prop::collection::vec(instruction(), 0..4),
        windows in any::<bool>(),
    ) {
        // One instruction that does not parse hides the others, so each is planned on its own too.
        let whole = lines.concat();
        for text in lines.iter().chain([&whole]) {
            let bench = Bench::new().arg("A", "b/c").image("a", ContainerConfig::default());
            let mut bench = if windows { bench.platform("windows/amd64") } else { bench };
            let result = bench.try_plan(&format!("FROM busybox AS a\n{text}"));
            if let Ok(planned) = result {
                prop_assert_eq!(planned.graph.targets.len(), 1);
            }
        }
    }

    #[test]
    fn a_plan_depends_on_its_inputs_alone(lines in prop::collection::vec(instruction(), 0..4)) {
        let text = format!("FROM busybox AS a\n{}", lines.concat());
        let plan_once = || Bench::new().try_plan(&text).map(|planned| format!("{:?}", planned.graph)).ok();
        prop_assert_eq!(plan_once(), plan_once());
    }
}
