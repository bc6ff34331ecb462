//! The lint rules against a table of findings recorded from BuildKit.

#![allow(clippy::unwrap_used)]

use cooper::context::ignore::IgnoreRules;
use cooper::diag::{Diagnostic, Exit};
use cooper::image::{Descriptor, ImageConfig, Platform, media_type};
use cooper::plan::graph::{ImageFacts, Network};
use cooper::plan::inspect::{Inspected, inspect};
use cooper::plan::{Facts, ImageSource, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const STOPS: &str = "the file has a mistake; cooper goes on with what it can still tell, BuildKit stops at once";

/// Rows where cooper differs on purpose.
const DIFFERENCES: [(&str, &str); 15] = [
    ("case-err-from-toomany", "whether `foo` should have been `AS` is not asked where the line has a mistake"),
    ("case-ignore-bad-pattern", "here the rule is left out: the file is refused before the Dockerfile is looked at"),
    ("descr", "an indented comment is a comment like any other: BuildKit keeps its `#` as a word"),
    ("empty-cont", STOPS),
    ("err-copy-from", STOPS),
    ("err-heredoc", STOPS),
    ("err-many", "BuildKit tells of a variable without value before it refuses `${x:?}`; cooper refuses it"),
    ("err-port", STOPS),
    ("err-sub2", "as err-many"),
    ("expose", STOPS),
    ("expose2", STOPS),
    ("ignored", STOPS),
    ("labels-quote", "a LABEL without a name is an error"),
    ("secrets", "an ENV without a name is an error: BuildKit's image of it cannot run anything"),
    ("target-num", "a target may be named by its number"),
];

/// The images that the recorded builder could pull; all have a PATH, some a bit more.
struct World {
    ignore: Option<IgnoreRules>,
}

impl Facts for World {
    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic> {
        let (ImageSource::Reference(name) | ImageSource::OciLayout(name)) = source;
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        config.config.env = owned(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        let short = name.strip_prefix("docker.io/").unwrap_or(name);
        let short = short.strip_prefix("library/").unwrap_or(short);
        match short.strip_suffix(":latest").unwrap_or(short) {
            "alpine" | "busybox" | "tiny" | "debian" | "layers" | "cfg-full" | "cfg-env" | "cfg-user"
            | "cfg-entrypoint" | "cfg-volume" | "debian:12" => {}
            "multiarch" => config.architecture.clone_from(&platform.architecture),
            "cfg-shell" => config.config.shell = owned(&["/bin/sh", "-ec"]),
            "cfg-workdir" => config.config.working_dir = "/wd/base".into(),
            "onbuild-env" => config.config.on_build = owned(&["ENV ONB=yes", "RUN echo \"$ONB\"", "LABEL onb=1"]),
            "onbuild-arg" => config.config.on_build = owned(&["ARG WHO=nobody", "RUN echo", "CMD [\"/bin/cat\"]"]),
            "onbuild-nested" => config.config.on_build = owned(&["ONBUILD RUN echo never"]),
            _ => return Err(Diagnostic::error(Exit::Network, format!("not found: {name}"))),
        }
        let manifest = Descriptor::of(media_type::MANIFEST, name.as_bytes());
        // A layer, for names of users are not looked up in an image without files.
        let layers = vec![Descriptor::of(media_type::LAYER_GZIP, name.as_bytes())];
        Ok(Arc::new(ImageFacts { origin: name.to_owned(), manifest, layers, config }))
    }

    fn ignored_by(&self, path: &str) -> Option<String> {
        self.ignore.as_ref()?.certainly_ignored(path).map(|verdict| verdict.to_string())
    }
}

fn look(row: &Value) -> Inspected {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let args = row["args"].as_object().into_iter().flatten();
    let build_args: BTreeMap<_, _> = args.map(|(name, value)| (name.clone(), value.as_str().unwrap().into())).collect();
    let target = row["target"].as_str().map(str::to_owned);
    let options = Options {
        capabilities: cooper::sys::capability::Capabilities::DOCKER,
        all_stages: target.is_none(),
        target,
        build_args,
        labels: BTreeMap::new(),
        platform: platform.clone(),
        is_platform_given: false,
        build_platform: platform,
        contexts: Vec::new(),
        no_cache: false,
        no_cache_filter: Vec::new(),
        network: Network::Default,
        allow: ["network.host", "security.insecure", "device"].map(str::to_owned).to_vec(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
        ulimits: Vec::new(),
    };
    let parse = |text: &str| IgnoreRules::parse(".dockerignore", text.as_bytes()).ok();
    let mut world = World { ignore: row["ignore"].as_str().and_then(parse) };
    inspect("Dockerfile", row["text"].as_str().unwrap().as_bytes(), &options, &mut world)
}

/// Rule, text and lines of each finding, those of one line in the order of the alphabet.
fn found(inspected: &Inspected) -> Value {
    let mut found: Vec<_> = inspected
        .findings
        .iter()
        .filter_map(|finding| Some((inspected.lines(finding)?, finding.rule?, finding.message.as_str())))
        .collect();
    found.sort_by_key(|((first, _), rule, message)| (*first, *rule, *message));
    let row = |((first, last), rule, message): &((usize, usize), &str, &str)| {
        let words = [json!(rule), json!(message)].into_iter();
        Value::Array(words.chain((*first..=*last).map(|line| json!(line))).collect())
    };
    Value::Array(found.iter().map(row).collect())
}

#[test]
fn findings_are_those_of_buildkit() {
    let table: Value = serde_json::from_str(include_str!("data/lint.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let inspected = look(row);
        let failed = inspected.error.is_some() || inspected.violation.is_some();
        let is_same = found(&inspected) == row["found"] && failed == row.get("error").is_some();
        let is_meant = DIFFERENCES.iter().any(|(different, _)| *different == name);
        if name.starts_with("case-") {
            cases += 1;
        }
        if is_same == is_meant {
            wrong.push(format!("{name}: {failed} {}\n    not {} {}", found(&inspected), row["found"], row["error"]));
        }
    }
    assert!(cases > 250, "{cases}");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_violation_names_the_rules() {
    let table: Value = serde_json::from_str(include_str!("data/lint.json")).unwrap();
    let mut count = 0;
    for row in table["rows"].as_array().unwrap() {
        let Some(rules) =
            row["error"].as_str().and_then(|error| error.strip_prefix("lint violation found for rules: "))
        else {
            continue;
        };
        let violation = look(row).violation.unwrap().message;
        let mut sorted: Vec<_> = rules.split(", ").collect();
        sorted.sort_unstable();
        assert_eq!(violation, format!("lint violation found for rules: {}", sorted.join(", ")));
        count += 1;
    }
    assert!(count > 10, "{count}");
}
