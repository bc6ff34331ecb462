//! What stands below a stage: images, contexts, nothing.

use super::graph::{ContextId, ImageFacts, ImageOp, Op, SourceRef, StepId};
use super::label::Progress;
use super::planner::{Planner, StepInfo};
use super::stages::{Base, Origin};
use super::state::{State, bare_config, empty_config};
use super::{ImageSource, NamedContext, reference};
use crate::diag::{Diagnostic, Place, Span, nearest};
use crate::image::{ImageConfig, Platform};
use std::sync::Arc;

impl Planner<'_> {
    /// Asks for the image that a needed stage starts from.
    pub(super) fn look_up_base(&mut self, index: usize) -> Result<(), Diagnostic> {
        let node = &self.stages[index];
        let span = node.ast.image.span;
        let platform = node.platform.clone().unwrap_or_else(|| self.options.platform.clone());
        self.stages[index].facts = match node.base.clone() {
            Base::Scratch | Base::Stage(_) => None,
            Base::Context(context) => self.context_image(context, &platform, span)?,
            Base::Image(name) => {
                let facts = self.image(&name, &platform, span)?;
                let actual = facts.config.platform();
                if actual.os != platform.os || actual.architecture != platform.architecture {
                    let message = format!(
                        "Base image {name} was pulled with platform \"{actual}\", expected \"{platform}\" for current build"
                    );
                    self.comments.clone_from(&self.stages[index].ast.from.comments);
                    self.lint("InvalidBaseImagePlatform", self.stages[index].ast.from.span, message);
                }
                Some(facts)
            }
        };
        Ok(())
    }

    /// Returns the image that `--from` names, which may have been meant for a stage.
    fn image_of_from(&mut self, name: &str, platform: &Platform, span: Span) -> Result<Arc<ImageFacts>, Diagnostic> {
        self.image(name, platform, span)
            .map_err(|error| error.note(format!("no stage above is called `{name}`, so it was taken for an image")))
    }

    fn image(&mut self, name: &str, platform: &Platform, span: Span) -> Result<Arc<ImageFacts>, Diagnostic> {
        if let Err(message) = reference::check(name) {
            let error = self.error(span, format!("failed to parse stage name `{name}`")).note(message);
            let error = self.with_stage_hint(error, name);
            let lower = name.to_lowercase();
            let is_only_case = lower != name && reference::check(&lower).is_ok();
            return Err(if is_only_case { error.hint(format!("write it in lower case: `{lower}`")) } else { error });
        }
        let wanted = (name.to_owned(), platform.clone());
        if let Some(facts) = self.known_images.get(&wanted) {
            return Ok(facts.clone());
        }
        let source = self.source();
        let facts = match self.facts.image(ImageSource::Reference(name), platform) {
            Ok(facts) => facts,
            Err(error) => return Err(self.with_stage_hint(error.at(source, span), name)),
        };
        self.known_images.insert(wanted, facts.clone());
        Ok(facts)
    }

    /// Adds the stage that may have been meant; looked for only when there is an error, for it compares all names.
    fn with_stage_hint(&self, error: Diagnostic, name: &str) -> Diagnostic {
        let names = self.stages.iter().map(|stage| stage.name.as_str()).filter(|stage| !stage.is_empty());
        match nearest(name, names) {
            Some(stage) => error.hint(format!("did you mean the stage `{stage}`?")),
            None => error,
        }
    }

    /// Returns the image that a `--build-context` names; `None` for files and for `docker-image://scratch`.
    fn context_image(
        &mut self,
        context: usize,
        platform: &Platform,
        span: Span,
    ) -> Result<Option<Arc<ImageFacts>>, Diagnostic> {
        let options = self.options;
        let source = match &options.contexts[context].1 {
            NamedContext::Files(_) => return Ok(None),
            NamedContext::Image(name) if name == "scratch" => return Ok(None),
            NamedContext::Image(name) => ImageSource::Reference(name),
            NamedContext::OciLayout(path) => ImageSource::OciLayout(path),
        };
        let text = self.source();
        self.facts.image(source, platform).map(Some).map_err(|error| error.at(text, span))
    }

    /// Returns the state of a stage right behind its FROM.
    pub(super) fn base_state(&mut self, index: usize, progress: &mut Progress) -> Result<State, Diagnostic> {
        let node = &self.stages[index];
        let platform = node.platform.clone().unwrap_or_else(|| self.options.platform.clone());
        if let Some(context) = node.replaced_by {
            return self.replaced_state(index, context, platform);
        }
        let mut state = match node.base.clone() {
            // What the child says of platforms does not count, its base has one.
            Base::Stage(base) => {
                let span = node.ast.image.span;
                self.inherit(base).ok_or_else(|| self.error(span, "the base stage was not planned"))?
            }
            // Scratch has no platform of its own to choose: it is the target's.
            Base::Scratch => State::scratch(self.options.platform.clone()),
            Base::Context(context) => {
                let facts = node.facts.clone();
                match &facts {
                    Some(facts) => {
                        let root = self.image_step(index, facts, &platform, None);
                        State::new(root, facts.config.clone(), platform)
                    }
                    None => self.tree_state(index, context, empty_config(&platform), platform),
                }
            }
            Base::Image(name) => match node.facts.clone() {
                Some(facts) => {
                    let label = progress.next(&format!("FROM {}", image_title(&name, &facts)));
                    let root = self.image_step(index, &facts, &platform, Some(label));
                    State::new(root, facts.config.clone(), platform)
                }
                None => return Err(self.error(node.ast.image.span, "the base image was not looked up")),
            },
        };
        if !self.facts.knows_images() && self.stages[index].facts.is_some() {
            state.has_unknown_base = true;
        }
        state.begin();
        Ok(state)
    }

    /// The files of a local directory as a base: a layer, which has its entry in the history like any other.
    fn tree_state(&mut self, index: usize, context: usize, config: ImageConfig, platform: Platform) -> State {
        let root = self.tree(index, context, &platform);
        let name = self.options.contexts[context].0.clone();
        let is_empty = root.is_none();
        let mut state = State::new(root, config, platform);
        if !is_empty {
            state.record_layer(format!("[context {name}] load from client"));
        }
        state
    }

    /// A stage whose name is a `--build-context`: that is its result, none of its instructions count.
    fn replaced_state(&mut self, index: usize, context: usize, platform: Platform) -> Result<State, Diagnostic> {
        let span = self.stages[index].ast.from.span;
        let Some(facts) = self.context_image(context, &platform, span)? else {
            return Ok(self.tree_state(index, context, bare_config(&platform), platform));
        };
        let root = self.image_step(index, &facts, &platform, None);
        let actual = facts.config.platform();
        let platform = if actual.os.is_empty() || actual.architecture.is_empty() { platform } else { actual };
        let mut state = State::new(root, facts.config.clone(), platform);
        state.config.config.on_build.clear();
        Ok(state)
    }

    /// Returns the step that has the layers of an image, one for each image; none where there are no layers.
    fn image_step(
        &mut self,
        index: usize,
        facts: &Arc<ImageFacts>,
        platform: &Platform,
        label: Option<String>,
    ) -> Option<StepId> {
        if facts.layers.is_empty() {
            return None;
        }
        if let Some(step) = self.images.get(&facts.manifest.digest) {
            return Some(*step);
        }
        let node = &self.stages[index];
        let info = StepInfo {
            label: label.unwrap_or_else(|| format!("[context {}] {}", node.ast.image.node, facts.origin)),
            stage: node.title.clone(),
            place: Some(Place { source: self.source().clone(), span: node.ast.from.span }),
            no_cache: false,
            platform: platform.clone(),
        };
        let op = Op::Image(ImageOp { name: facts.origin.clone(), facts: facts.clone() });
        let step = self.push(info, op);
        self.images.insert(facts.manifest.digest, step);
        Some(step)
    }

    /// Returns the step that has the files of a context; none for `docker-image://scratch`.
    fn tree(&mut self, index: usize, context: usize, platform: &Platform) -> Option<StepId> {
        let (name, kind) = &self.options.contexts[context];
        if !matches!(kind, NamedContext::Files(_)) {
            return None;
        }
        let node = &self.stages[index];
        let info = StepInfo {
            label: format!("[context {name}] load files"),
            stage: node.title.clone(),
            place: Some(Place { source: self.source().clone(), span: node.ast.from.span }),
            no_cache: false,
            platform: platform.clone(),
        };
        Some(self.push(info, Op::Tree(context_id(context))))
    }

    /// Returns where the files of a `--from` are.
    pub(super) fn source_ref(&mut self, index: usize, origin: &Origin, span: Span) -> Result<SourceRef, Diagnostic> {
        let of_step = |step: Option<StepId>| step.map_or(SourceRef::Scratch, SourceRef::Step);
        if let Some(known) = self.outside.get(origin) {
            return Ok(*known);
        }
        let platform = self.options.platform.clone();
        let found = match origin {
            Origin::Main => return Ok(SourceRef::Context(ContextId(0))),
            Origin::Scratch => return Ok(SourceRef::Scratch),
            Origin::Stage(stage) => {
                return self.roots[*stage]
                    .ok_or_else(|| self.error(span, "the stage named by `--from` was not planned"));
            }
            Origin::Context(context) => match (&self.options.contexts[*context].1, *context) {
                (NamedContext::Files(_), context) => SourceRef::Context(context_id(context)),
                (_, context) => match self.context_image(context, &platform, span)? {
                    Some(facts) => of_step(self.image_step(index, &facts, &platform, None)),
                    None => SourceRef::Scratch,
                },
            },
            Origin::Image(name) => {
                let facts = self.image_of_from(name, &platform, span)?;
                let label = format!("FROM {}", image_title(name, &facts));
                of_step(self.image_step(index, &facts, &platform, Some(label)))
            }
        };
        self.outside.insert(origin.clone(), found);
        Ok(found)
    }
}

fn context_id(context: usize) -> ContextId {
    ContextId(u32::try_from(context + 1).unwrap_or(u32::MAX))
}

/// `docker.io/library/busybox:latest@sha256:..`.
fn image_title(name: &str, facts: &ImageFacts) -> String {
    let Ok(reference) = reference::check(name) else { return name.to_owned() };
    match reference.digest {
        Some(_) => reference.to_string(),
        None => format!("{reference}@{}", facts.manifest.digest),
    }
}
