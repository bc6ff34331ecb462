//! The planner from Dockerfile text to graph, with images that only exist here.

#![allow(clippy::unwrap_used)]

mod args;
mod config;
mod contexts;
mod copies;
mod onbuild;
mod properties;
mod runs;
mod stages;
mod warnings;

use super::graph::{CopyOp, HistoryItem, ImageFacts, Network, Op, RunOp, Target};
use super::{Facts, FoundDevice, ImageSource, NamedContext, Options, Planned, TimeSource, plan};
use crate::diag::{Diagnostic, Exit};
use crate::dockerfile;
use crate::image::{ContainerConfig, Descriptor, Digest, History, ImageConfig, Platform, RootFs, media_type};
use std::collections::BTreeMap;
use std::sync::Arc;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A build to be planned: options, and the images that there are.
struct Bench {
    options: Options,
    world: World,
}

#[derive(Default)]
struct World {
    images: BTreeMap<String, ImageConfig>,
    asked: Vec<String>,
    /// Whether sources have times: 11 the main context, 12 the first named one, 13 remote ones.
    times: bool,
    /// Devices of the machine, those of the kind `v.c/free` for all; `None` where nothing is known of them.
    devices: Option<Vec<&'static str>>,
}

impl Facts for World {
    fn time(&mut self, source: TimeSource<'_>) -> Result<Option<i64>, Diagnostic> {
        let time = match source {
            TimeSource::Main => 11,
            TimeSource::Named(context) => 12 + i64::try_from(context).unwrap(),
            TimeSource::Remote(_) => 13,
        };
        Ok(self.times.then_some(time))
    }

    fn devices(&mut self, name: &str) -> Result<Option<Vec<FoundDevice>>, Diagnostic> {
        let is_wanted =
            |known: &&&str| **known == name || name.strip_suffix('*').is_some_and(|kind| known.starts_with(kind));
        let found =
            |name: &&str| FoundDevice { name: (*name).to_owned(), is_auto_allowed: name.starts_with("v.c/free") };
        Ok(self.devices.as_ref().map(|devices| devices.iter().filter(is_wanted).map(found).collect()))
    }

    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic> {
        let name = match source {
            ImageSource::Reference(name) => name.to_owned(),
            ImageSource::OciLayout(path) => format!("oci:{path}"),
        };
        self.asked.push(name.clone());
        let config = self.images.get(&name).cloned();
        let mut config = config.ok_or_else(|| Diagnostic::error(Exit::Network, format!("no such image: `{name}`")))?;
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        let layer = Digest::of(name.as_bytes());
        config.rootfs = RootFs { diff_ids: vec![layer], ..RootFs::default() };
        let manifest = Descriptor::of(media_type::MANIFEST, format!("{name} {platform}").as_bytes());
        let layers = vec![Descriptor::new(media_type::LAYER_GZIP, layer, 1)];
        Ok(Arc::new(ImageFacts { origin: name, manifest, layers, config }))
    }
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

impl Bench {
    /// Knows `busybox`, which has CMD `sh`, a PATH and one history entry.
    fn new() -> Bench {
        let options = Options {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: amd64(),
            is_platform_given: false,
            build_platform: amd64(),
            contexts: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            network: Network::Default,
            allow: Vec::new(),
            extra_hosts: Vec::new(),
            shm_size_bytes: None,
            ulimits: Vec::new(),
            capabilities: crate::sys::capability::Capabilities::DOCKER,
            all_stages: false,
        };
        let config = ContainerConfig {
            env: vec![PATH.to_owned()],
            cmd: Some(vec!["sh".to_owned()]),
            ..ContainerConfig::default()
        };
        Bench { options, world: World::default() }.image("busybox", config)
    }

    fn image(mut self, name: &str, config: ContainerConfig) -> Bench {
        let history = vec![History { created_by: "base".to_owned(), ..History::default() }];
        self.world.images.insert(name.to_owned(), ImageConfig { config, history, ..ImageConfig::default() });
        self
    }

    fn arg(mut self, name: &str, value: &str) -> Bench {
        self.options.build_args.insert(name.to_owned(), value.to_owned());
        self
    }

    fn target(mut self, name: &str) -> Bench {
        self.options.target = Some(name.to_owned());
        self
    }

    fn platform(mut self, platform: &str) -> Bench {
        self.options.platform = platform.parse().unwrap();
        self.options.is_platform_given = true;
        self
    }

    fn context(mut self, name: &str, context: NamedContext) -> Bench {
        self.options.contexts.push((name.to_owned(), context));
        self
    }

    fn try_plan(&mut self, text: &str) -> Result<Planned, Diagnostic> {
        let parsed = dockerfile::parse("Dockerfile", text.as_bytes())?;
        plan(&parsed.dockerfile, &self.options, &mut self.world).map_err(|failure| failure.error)
    }

    fn plan(mut self, text: &str) -> Planned {
        let planned = self.try_plan(text).unwrap_or_else(|error| panic!("{error}"));
        for step in &planned.graph.steps {
            let inputs = step.base().into_iter().chain(step.sources().into_iter().filter_map(|source| match source {
                super::graph::SourceRef::Step(id) => Some(id),
                _ => None,
            }));
            inputs.for_each(|input| assert!(input < step.id, "{} comes before its input", step.label));
        }
        planned
    }

    /// Returns the message of the error, with its place and notes.
    fn error(mut self, text: &str) -> String {
        self.try_plan(text).map(|_| ()).unwrap_err().to_string()
    }
}

fn plan_of(text: &str) -> Planned {
    Bench::new().plan(text)
}

impl Planned {
    fn target(&self) -> &Target {
        &self.graph.targets[0]
    }

    fn config(&self) -> &ContainerConfig {
        &self.target().config.config
    }

    fn created_by(&self) -> Vec<String> {
        self.history(|_| true)
    }

    fn with_layer(&self) -> Vec<String> {
        self.history(|entry| !entry.empty_layer)
    }

    /// This build's entries.
    fn history(&self, filter: impl Fn(&History) -> bool) -> Vec<String> {
        let new = self.target().history.iter().filter_map(|item| match item {
            HistoryItem::New(entry) => Some(entry),
            HistoryItem::Base(_) => None,
        });
        new.filter(|entry| filter(entry)).map(|entry| entry.created_by.clone()).collect()
    }

    fn labels(&self) -> Vec<&str> {
        self.graph.steps.iter().map(|step| step.label.as_str()).collect()
    }

    fn runs(&self) -> Vec<&RunOp> {
        self.graph
            .steps
            .iter()
            .filter_map(|step| if let Op::Run(run) = &step.op { Some(&**run) } else { None })
            .collect()
    }

    fn copies(&self) -> Vec<&CopyOp> {
        self.graph
            .steps
            .iter()
            .filter_map(|step| if let Op::Copy(copy) = &step.op { Some(&**copy) } else { None })
            .collect()
    }

    fn rules(&self) -> Vec<(&str, &str)> {
        self.warnings.iter().map(|warning| (warning.rule.unwrap_or(""), warning.message.as_str())).collect()
    }
}

/// Returns the value that a RUN sees.
fn env<'a>(run: &'a RunOp, name: &str) -> Option<&'a str> {
    run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
