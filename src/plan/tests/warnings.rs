use super::*;
use rstest::rstest;

#[rstest]
#[case(
    "FROM busybox\nARG VERSION=1\nLABEL v=$VERSOIN\n",
    "UndefinedVar",
    "Usage of undefined variable '$VERSOIN' (did you mean $VERSION?)"
)]
#[case("FROM busybox\nCOPY $Q /\n", "UndefinedVar", "Usage of undefined variable '$Q'")]
#[case("FROM busybox\nCOPY <<E /f\n$Q\nE\n", "UndefinedVar", "Usage of undefined variable '$Q'")]
#[case(
    "ARG IMAGE=busybox\nFROM ${IMGE:-busybox}\n",
    "UndefinedArgInFrom",
    "FROM argument 'IMGE' is not declared (did you mean IMAGE?)"
)]
#[case(
    "FROM busybox\nENV API_KEY=x\n",
    "SecretsUsedInArgOrEnv",
    "Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\")"
)]
#[case(
    "FROM busybox\nARG GITHUB_TOKEN\n",
    "SecretsUsedInArgOrEnv",
    "Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\")"
)]
#[case(
    "FROM --platform=linux/amd64 busybox\n",
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use constant value \"linux/amd64\""
)]
#[case(
    "FROM --platform=$TARGETPLATFORM busybox\n",
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
)]
#[case(
    "FROM busybox\nWORKDIR a\nWORKDIR b\n",
    "WorkdirRelativePath",
    "Relative workdir \"a\" can have unexpected results if the base image changes"
)]
fn a_finding(#[case] text: &str, #[case] rule: &str, #[case] message: &str) {
    assert_eq!(plan_of(text).rules(), [(rule, message)]);
}

#[rstest]
#[case("FROM busybox\nARG A\nLABEL v=$A\n")]
#[case("FROM busybox\nRUN echo $UNDEFINED\n")]
#[case("FROM --platform=$BUILDPLATFORM busybox\n")]
#[case("FROM --platform=linux/amd64 busybox AS build-amd64\n")]
#[case("FROM busybox\nWORKDIR /a\nWORKDIR b\n")]
#[case("FROM busybox AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n")]
#[case("ARG TAG\nFROM busybox$TAG\n")]
fn nothing_to_find(#[case] text: &str) {
    assert_eq!(plan_of(text).rules(), []);
}

#[test]
fn an_argument_without_a_usable_default() {
    let planned = Bench::new().arg("IMAGE", "busybox").plan("ARG IMAGE\nFROM $IMAGE\n");
    let message = "Default value for ARG $IMAGE results in empty or invalid base image name";
    assert_eq!(planned.rules(), [("InvalidDefaultArgInFrom", message)]);
}

#[test]
fn a_base_for_another_platform() {
    let mut bench = Bench::new();
    let config = bench.world.images.get_mut("busybox").unwrap();
    (config.os, config.architecture) = ("linux".into(), "arm64".into());
    let planned = bench.plan("FROM busybox\n");
    let message =
        "Base image busybox was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build";
    assert_eq!(planned.rules(), [("InvalidBaseImagePlatform", message)]);
}

#[rstest]
#[case("# check=skip=UndefinedVar\nFROM busybox\nLABEL a=$Q\n")]
#[case("FROM busybox\n# check=skip=UndefinedVar\nLABEL a=$Q\n")]
#[case("# check=skip=all\nFROM --platform=linux/amd64 busybox\nCMD a\n")]
fn rules_that_are_skipped(#[case] text: &str) {
    assert_eq!(plan_of(text).rules(), []);
}

#[test]
fn the_command_line_overrides_the_directive() {
    let bench = Bench::new().arg("BUILDKIT_DOCKERFILE_CHECK", "skip=UndefinedVar");
    assert_eq!(bench.plan("# check=error=true\nFROM busybox\nLABEL a=$Q\n").rules(), []);
}

#[test]
fn rules_of_the_text_are_asked_for_needed_stages_only() {
    let planned = plan_of("FROM busybox AS a\nCMD a\nFROM busybox AS b\nSHELL [\"/x\"]\nFROM b\nCMD b\nENTRYPOINT b\n");
    assert_eq!(planned.rules(), []);
    let planned = plan_of("FROM busybox\nCMD $A\nWORKDIR a\n");
    let rules: Vec<&str> = planned.rules().iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["JSONArgsRecommended", "WorkdirRelativePath"]);
}

#[test]
fn findings_fail_the_build_where_the_directive_says_so() {
    let planned = plan_of("# check=error=true\nFROM busybox\nWORKDIR a\n");
    let error = super::super::fail_on_findings(&planned.checks, &planned.warnings).unwrap_err();
    assert_eq!(error.to_string(), "Dockerfile:3:1: lint violation found for rules: WorkdirRelativePath");
    let planned = plan_of("FROM busybox\nWORKDIR a\n");
    assert!(super::super::fail_on_findings(&planned.checks, &planned.warnings).is_ok());
}

#[test]
fn ports_are_looked_at_when_they_are_expanded() {
    let planned = plan_of("FROM busybox\nARG P=80\nEXPOSE $P/TCP 1:$P\n");
    let rules: Vec<&str> = planned.rules().iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["ExposeProtoCasing", "ExposeInvalidFormat"]);
}

#[test]
fn the_outline_of_a_target_has_what_it_can_be_given() {
    let planned = Bench::new().target("app").arg("B", "2").plan(
        "ARG TAG=busybox\nARG UNUSED=1\nFROM $TAG AS base\n# A says a\nARG A=1\nRUN --mount=type=secret,id=key,required x\n\
         FROM busybox AS other\nARG C=3\nRUN --mount=type=ssh x\n# app is it\nFROM base AS app\nARG B\n",
    );
    let outline = planned.outline;
    assert_eq!((outline.name.as_str(), outline.description.as_str()), ("app", "is it"));
    let args: Vec<_> = outline.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str())).collect();
    assert_eq!(args, [("TAG", "busybox"), ("A", "1"), ("B", "2")]);
    assert_eq!(outline.args[1].description, "says a");
    assert!(outline.secrets.len() == 1 && outline.secrets[0].required && outline.ssh.is_empty());
}

#[test]
fn the_outline_has_what_an_earlier_definition_used() {
    let planned = plan_of("ARG A=1\nARG B=2\nARG C=$A\nARG C=x$C\nFROM busybox\nARG C\n");
    let args: Vec<_> = planned.outline.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str())).collect();
    assert_eq!(args, [("A", "1"), ("C", "x1")]);
}

#[test]
fn progress_shows_values_of_variables() {
    let planned = plan_of("FROM busybox\nENV D=/d\nCOPY \"a\" $D\nRUN echo \"$D\" $X\nWORKDIR $D/e\n");
    assert_eq!(planned.labels()[1..], ["[2/4] COPY a /d", "[3/4] RUN echo \"/d\" $X", "[4/4] WORKDIR /d/e"]);
}
