use super::*;
use rstest::rstest;
use serde_json::json;

/// Plans on busybox and returns the whole config as JSON.
fn config_of(text: &str) -> serde_json::Value {
    serde_json::to_value(plan_of(text).config()).unwrap()
}

fn full() -> ContainerConfig {
    ContainerConfig {
        env: vec!["BASE=1".to_owned()],
        cmd: Some(vec!["base-cmd".to_owned()]),
        entrypoint: Some(vec!["/bin/ep".to_owned()]),
        shell: vec!["/bin/sh".to_owned(), "-xc".to_owned()],
        user: "user".to_owned(),
        working_dir: "/home/user".to_owned(),
        ..ContainerConfig::default()
    }
}

#[test]
fn scratch_has_a_path_and_the_root_as_working_directory() {
    assert_eq!(config_of("FROM scratch\n"), json!({"Env": [PATH], "WorkingDir": "/"}));
    assert_eq!(plan_of("FROM scratch\n").target().root, None);
}

#[test]
fn a_dockerfile_with_only_from_keeps_the_base_as_it_is() {
    let planned = plan_of("FROM busybox\n");
    assert_eq!(serde_json::to_value(planned.config()).unwrap(), json!({"Cmd": ["sh"], "Env": [PATH]}));
    assert!(matches!(planned.target().history.as_slice(), [HistoryItem::Base(entry)] if entry.created_by == "base"));
}

#[test]
fn a_base_without_path_gets_one_behind_its_variables() {
    let planned = Bench::new().image("nopath", full()).plan("FROM nopath\nRUN true\n");
    assert_eq!(planned.config().env, ["BASE=1", PATH]);
    assert_eq!(env(planned.runs()[0], "PATH"), Some(&PATH[5..]));
}

#[rstest]
#[case("ENTRYPOINT [\"/new\"]\n", None, Some("/new"))]
#[case("CMD [\"mine\"]\nENTRYPOINT [\"/new\"]\n", Some("mine"), Some("/new"))]
#[case("CMD [\"mine\"]\n", Some("mine"), Some("/bin/ep"))]
#[case("CMD []\n", None, Some("/bin/ep"))]
#[case("ENTRYPOINT []\n", None, None)]
fn entrypoint_drops_only_the_cmd_of_the_base(
    #[case] text: &str,
    #[case] cmd: Option<&str>,
    #[case] entrypoint: Option<&str>,
) {
    let planned = Bench::new().image("full", full()).plan(&format!("FROM full\n{text}"));
    let list = |word: Option<&str>| word.map(|word| vec![word.to_owned()]);
    assert_eq!(planned.config().cmd, list(cmd));
    assert_eq!(planned.config().entrypoint, list(entrypoint));
}

#[test]
fn the_shell_of_the_base_runs_shell_forms_but_not_health_checks() {
    let planned = Bench::new().image("full", full()).plan("FROM full\nRUN a\nCMD b\nHEALTHCHECK CMD c\n");
    assert_eq!(planned.runs()[0].argv, ["/bin/sh", "-xc", "a"]);
    assert_eq!(planned.config().cmd.as_deref().unwrap(), ["/bin/sh", "-xc", "b"]);
    assert_eq!(planned.config().healthcheck.as_ref().unwrap().test, ["CMD-SHELL", "c"]);
}

#[test]
fn shell_counts_for_what_follows() {
    let planned = plan_of("FROM busybox\nRUN a\nSHELL [\"/bin/bash\", \"-c\"]\nRUN b\n");
    assert_eq!(planned.runs()[0].argv[0], "/bin/sh");
    assert_eq!(planned.runs()[1].argv, ["/bin/bash", "-c", "b"]);
}

#[rstest]
#[case("ENV A=1 B=\\$A C='$A' D=\"\\$A\" G=a$\n", json!(["A=1", "B=$A", "C=$A", "D=$A", "G=a$"]))]
#[case("ENV A=1\nENV A=2 B=$A\n", json!(["A=2", "B=1"]))]
#[case("ENV N=x\nENV $N=y\n", json!(["N=x", "x=y"]))]
#[case("ENV A b c\n", json!(["A=b c"]))]
#[case("ENV A=$NOPE.\n", json!(["A=."]))]
fn env_is_expanded(#[case] text: &str, #[case] expected: serde_json::Value) {
    let config = config_of(&format!("FROM busybox\n{text}"));
    assert_eq!(config["Env"].as_array().unwrap()[1..], expected.as_array().unwrap()[..]);
}

#[rstest]
#[case("LABEL a=b \"c d\"=e json={\"a\":1}\n", json!({"a": "b", "c d": "e", "json": "{a:1}"}))]
#[case("LABEL old style value\n", json!({"old": "style value"}))]
#[case("ENV V=1\nLABEL v=$V w=$NOPE\n", json!({"v": "1", "w": ""}))]
fn labels(#[case] text: &str, #[case] expected: serde_json::Value) {
    assert_eq!(config_of(&format!("FROM busybox\n{text}"))["Labels"], expected);
}

#[test]
fn labels_of_the_command_line_win_and_leave_no_history() {
    let mut bench = Bench::new();
    bench.options.labels.insert("a".to_owned(), "flag".to_owned());
    let planned = bench.plan("FROM busybox\nLABEL a=b c=d\n");
    assert_eq!(planned.config().labels["a"], "flag");
    assert_eq!(planned.config().labels["c"], "d");
    assert_eq!(planned.created_by(), ["LABEL a=b c=d"]);
}

#[rstest]
#[case("EXPOSE 80 53/UDP\n", json!({"53/udp": {}, "80/tcp": {}}))]
#[case("EXPOSE 8000-8002\n", json!({"8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}))]
#[case("ENV P=\"1 2/udp\"\nEXPOSE $P\n", json!({"1/tcp": {}, "2/udp": {}}))]
fn exposed_ports(#[case] text: &str, #[case] expected: serde_json::Value) {
    assert_eq!(config_of(&format!("FROM busybox\n{text}"))["ExposedPorts"], expected);
}

#[rstest]
#[case("WORKDIR a\nWORKDIR b\n", "/a/b")]
#[case("WORKDIR //double//slash\n", "//double//slash")]
#[case("WORKDIR /abs/sub/../x\n", "/abs/sub/../x")]
#[case("WORKDIR /a\nWORKDIR ../..\n", "/")]
#[case("ENV D=/d\nWORKDIR $D/e\n", "/d/e")]
fn working_directories(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(config_of(&format!("FROM busybox\n{text}"))["WorkingDir"], expected);
}

#[test]
fn workdir_makes_the_cleaned_directory_for_the_user_in_force() {
    let planned = plan_of("FROM busybox\nUSER u:g\nWORKDIR /abs/sub/../x\n");
    let Op::Workdir(workdir) = &planned.graph.steps[1].op else { panic!("no WORKDIR") };
    assert_eq!((workdir.path.as_str(), workdir.user.as_str()), ("/abs/x", "u:g"));
}

#[test]
fn workdir_of_the_root_makes_no_layer() {
    let planned = plan_of("FROM busybox\nWORKDIR /\nWORKDIR /w\nWORKDIR /w\n");
    assert_eq!(planned.created_by(), ["WORKDIR /", "WORKDIR /w", "WORKDIR /w"]);
    assert_eq!(planned.with_layer(), ["WORKDIR /w", "WORKDIR /w"]);
}

#[test]
fn the_other_metadata_instructions() {
    let config = config_of(
        "FROM busybox\nENV U=me S=9 V=/v\nUSER $U\nSTOPSIGNAL $S\nVOLUME $V /w\nVOLUME [\"/x y\"]\nHEALTHCHECK NONE\n",
    );
    assert_eq!(
        (config["User"].as_str(), config["StopSignal"].as_str(), &config["Volumes"], &config["Healthcheck"]),
        (Some("me"), Some("9"), &json!({"/v": {}, "/w": {}, "/x y": {}}), &json!({"Test": ["NONE"]}))
    );
    assert_eq!(plan_of("FROM busybox\nMAINTAINER John <j@x>\n").target().config.author, "John <j@x>");
}

#[test]
fn history_has_the_texts_of_buildkit() {
    let planned = plan_of(concat!(
        "FROM busybox\nLABEL lbl=val\nARG WHO=me\nARG NONE\nRUN echo $WHO\nRUN [\"ls\", \"-l\"]\nEXPOSE 2375 5000 1234/udp\n",
        "COPY --link --chown=1:2 --chmod=644 a b /c/\nADD f /a/f\nCOPY <<X /h\nx\nX\nENV A=1 B=\"c d\"\nCMD [\"/bin/cat\", \"a\\\"b\"]\n",
        "ENTRYPOINT foo bar\nUSER u\nVOLUME /v /w\nSTOPSIGNAL 9\nSHELL [\"/bin/bash\", \"-c\"]\nHEALTHCHECK NONE\nONBUILD RUN true\n",
        "MAINTAINER John\n",
    ));
    assert_eq!(
        planned.created_by(),
        [
            "LABEL lbl=val",
            "ARG WHO=me",
            "ARG NONE",
            "RUN |2 WHO=me NONE= /bin/sh -c echo $WHO # buildkit",
            "RUN |2 WHO=me NONE= ls -l # buildkit",
            "EXPOSE [1234/udp 2375/tcp 5000/tcp]",
            "COPY --chown=1:2 --chmod=644 a b /c/ # buildkit",
            "ADD f /a/f # buildkit",
            "COPY <<X /h # buildkit",
            "ENV A=1 B=c d",
            "CMD [\"/bin/cat\" \"a\\\"b\"]",
            "ENTRYPOINT [\"/bin/sh\" \"-c\" \"foo bar\"]",
            "USER u",
            "VOLUME [/v /w]",
            "STOPSIGNAL 9",
            "SHELL [/bin/bash -c]",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            "MAINTAINER John",
        ]
    );
    assert_eq!(planned.with_layer().len(), 5);
}

#[rstest]
#[case("STOPSIGNAL nonsense\n", "invalid signal")]
#[case("VOLUME [\"\"]\n", "VOLUME specified can not be an empty string")]
#[case("EXPOSE 80/http\n", "invalid port")]
#[case("ENV A=\"${B:?missing b}\"\n", "missing b")]
fn mistakes_that_need_the_values(#[case] text: &str, #[case] expected: &str) {
    let error = Bench::new().error(&format!("FROM busybox\n{text}"));
    assert!(error.starts_with("Dockerfile:2:") && error.contains(expected), "{error}");
}

#[test]
fn a_windows_target_has_its_own_shell_and_separators() {
    let planned = Bench::new().platform("windows/amd64").plan("FROM scratch\nENTRYPOINT foo bar\nCOPY a .\n");
    let config = serde_json::to_value(planned.config()).unwrap();
    assert_eq!(config, json!({"Entrypoint": ["cmd", "/S", "/C", "foo bar"], "WorkingDir": "\\"}));
    assert_eq!(planned.copies()[0].destination, "/");
}

#[test]
fn from_platform_decides_the_config_but_not_the_descriptor() {
    let planned = plan_of("FROM --platform=linux/arm64/v8 busybox\n");
    assert_eq!(planned.target().config.platform().to_string(), "linux/arm64");
    assert_eq!(planned.target().platform.to_string(), "linux/amd64");
    let planned = Bench::new().platform("linux/amd64").plan("FROM --platform=linux/arm64 busybox\n");
    assert_eq!(planned.target().config.platform().to_string(), "linux/amd64");
}
