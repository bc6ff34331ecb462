//! What a stage has become after some of its instructions.

use super::environment::{ConfigPlaces, Environment, split_pair};
use super::graph::{HistoryItem, StepId};
use super::path;
use crate::image::{ContainerConfig, History, ImageConfig, Platform};
use std::collections::HashMap;

/// `PATH` where the image has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What BuildKit writes into every history entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// A stage part-way.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The last step that made a file system; `None` is empty.
    pub(super) root: Option<StepId>,
    /// The image config; its history is in [`State::history`].
    pub(super) config: ImageConfig,
    /// The history so far.
    pub(super) history: Vec<HistoryItem>,
    /// The variables that instructions and RUN see: ENV and ARG.
    pub(super) env: Environment,
    /// Where the variables of the config stand.
    pub(super) env_places: ConfigPlaces,
    /// The ARGs declared, each once, with the last value, in the order of their first.
    pub(super) args: Vec<(String, Option<String>)>,
    /// Where each of them stands.
    arg_places: HashMap<String, usize>,
    /// Platform of the stage.
    pub(super) platform: Platform,
    /// Whether a WORKDIR of this Dockerfile is in force.
    pub(super) has_workdir: bool,
    /// Whether a variable may come from a base image that nothing is known of.
    pub(super) has_unknown_base: bool,
    /// Whether this very stage has a CMD.
    pub(super) has_cmd: bool,
}

impl State {
    /// Returns the state right behind a FROM.
    pub(super) fn new(root: Option<StepId>, mut config: ImageConfig, platform: Platform) -> State {
        let history = super::planner::base_history(&mut config);
        config.created = None;
        State {
            root,
            config,
            history,
            env: Environment::default(),
            env_places: ConfigPlaces::default(),
            args: Vec::new(),
            arg_places: HashMap::new(),
            platform,
            has_workdir: false,
            has_unknown_base: false,
            has_cmd: false,
        }
    }

    /// Returns the state of `FROM scratch`.
    pub(super) fn scratch(platform: Platform) -> State {
        State::new(None, empty_config(&platform), platform)
    }

    /// Begins a stage: a PATH for images without, the image's variables over ARGs inherited, and no CMD of its own yet.
    pub(super) fn begin(&mut self) {
        let config = &mut self.config.config;
        if self.platform.os != "windows" && !config.env.iter().any(|pair| split_pair(pair).0 == "PATH") {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for pair in &config.env {
            let (name, value) = split_pair(pair);
            self.env.set(name, value);
        }
        self.env_places = ConfigPlaces::of(&config.env);
        if !config.working_dir.is_empty() {
            config.working_dir = path::working_dir("", &config.working_dir, &self.platform.os);
        }
        config.on_build.clear();
        self.has_cmd = false;
    }

    /// Whether an ARG of this name was declared, with a value or without.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.arg_places.contains_key(name)
    }

    /// Notes an ARG.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        match self.arg_places.get(name) {
            Some(place) => self.args[*place].1 = value,
            None => {
                self.arg_places.insert(name.to_owned(), self.args.len());
                self.args.push((name.to_owned(), value));
            }
        }
    }

    /// Returns the working directory, absolute and cleaned, with forward slashes.
    pub(super) fn cwd(&self) -> String {
        path::join("/", &path::to_slash(&self.config.config.working_dir, &self.platform.os))
    }

    /// Returns the shell that shell forms are run by.
    pub(super) fn shell(&self) -> Vec<String> {
        let words: &[&str] = match self.config.config.shell.as_slice() {
            [] if self.config.os == "windows" => &["cmd", "/S", "/C"],
            [] => &["/bin/sh", "-c"],
            shell => return shell.to_vec(),
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Writes a history entry of an instruction that makes no layer.
    pub(super) fn record(&mut self, created_by: impl Into<String>) {
        self.add_history(created_by.into(), true);
    }

    /// Writes a history entry of an instruction that makes a layer.
    pub(super) fn record_layer(&mut self, created_by: impl Into<String>) {
        self.add_history(created_by.into(), false);
    }

    fn add_history(&mut self, created_by: String, empty_layer: bool) {
        self.history.push(HistoryItem::New(History {
            created_by,
            empty_layer,
            comment: COMMENT.to_owned(),
            ..History::default()
        }));
    }
}

/// Returns the config of an image that was made from nothing.
pub(super) fn empty_config(platform: &Platform) -> ImageConfig {
    ImageConfig {
        config: ContainerConfig { working_dir: "/".to_owned(), ..ContainerConfig::default() },
        ..bare_config(platform)
    }
}

/// Returns a config that says nothing but the platform.
pub(super) fn bare_config(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}
