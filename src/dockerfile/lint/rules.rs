//! The table of rules: names as in BuildKit, what each is about, where it is described.

/// What is known of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleInfo {
    /// The name, as in `# check=skip=`.
    pub name: &'static str,
    /// What it asks for, one sentence.
    pub description: &'static str,
    /// Whether it runs only when `# check=experimental=` names it.
    pub is_experimental: bool,
    /// Whether `cooper lint --fix` can mend what it finds, at least in plain cases.
    pub can_fix: bool,
}

const fn rule(name: &'static str, description: &'static str) -> RuleInfo {
    RuleInfo { name, description, is_experimental: false, can_fix: false }
}

const fn fixed(name: &'static str, description: &'static str) -> RuleInfo {
    RuleInfo { can_fix: true, ..rule(name, description) }
}

/// All rules, by name.
pub const RULES: [RuleInfo; 22] = [
    fixed("ConsistentInstructionCasing", "All instructions are written in the same case"),
    rule("CopyIgnoredFile", "The sources of COPY and ADD are not excluded by the ignore file"),
    rule("DuplicateStageName", "Every stage has a name of its own"),
    rule("ExposeInvalidFormat", "EXPOSE names ports of the container, no address and no host port"),
    fixed("ExposeProtoCasing", "The protocol in EXPOSE is in lower case"),
    fixed("FromAsCasing", "AS is written in the same case as FROM"),
    rule(
        "FromPlatformFlagConstDisallowed",
        "--platform of FROM is not a constant, so that other platforms can be built",
    ),
    rule("InvalidBaseImagePlatform", "The base image is there for the platform that is built"),
    rule("InvalidDefaultArgInFrom", "FROM names an image also when no build argument is given"),
    RuleInfo {
        is_experimental: true,
        ..rule("InvalidDefinitionDescription", "The comment above an ARG or FROM starts with the name it describes")
    },
    fixed("JSONArgsRecommended", "CMD and ENTRYPOINT are JSON arrays, so that signals reach the program"),
    fixed("LegacyKeyValueFormat", "ENV and LABEL are written with `=` between name and value"),
    fixed("MaintainerDeprecated", "The author is told by a label, not by MAINTAINER"),
    rule("MultipleInstructionsDisallowed", "A stage has one CMD, one ENTRYPOINT and one HEALTHCHECK: the last counts"),
    fixed("NoEmptyContinuation", "An instruction that goes over several lines has no empty line in it"),
    fixed("RedundantTargetPlatform", "FROM does not say --platform=$TARGETPLATFORM, which is the default"),
    rule("ReservedStageName", "No stage is called `context` or `scratch`"),
    rule(
        "SecretsUsedInArgOrEnv",
        "Secrets are not handed over in ARG or ENV, where everyone with the image reads them",
    ),
    fixed("StageNameCasing", "Names of stages are in lower case"),
    rule("UndefinedArgInFrom", "Variables in FROM are ARGs from above the first FROM"),
    rule("UndefinedVar", "Variables are defined before they are used"),
    rule(
        "WorkdirRelativePath",
        "The first WORKDIR of a stage is absolute, so that it does not depend on the base image",
    ),
];

/// Returns what is known of the rule with this name.
pub fn rule_info(name: &str) -> Option<&'static RuleInfo> {
    RULES.iter().find(|rule| rule.name == name)
}

/// Where the rules are described.
const RULES_URL: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// Returns the address of the description of the rule with this name.
pub fn rule_url(name: &str) -> String {
    let mut url = RULES_URL.to_owned();
    // Each run of capitals starts a word: `JSONArgsRecommended` is `json-args-recommended`.
    let letters: Vec<char> = name.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let starts_word = letter.is_uppercase()
            && at > 0
            && (letters[at - 1].is_lowercase() || letters.get(at + 1).is_some_and(|next| next.is_lowercase()));
        url.extend(starts_word.then_some('-'));
        url.push(letter.to_ascii_lowercase());
    }
    url.push('/');
    url
}
