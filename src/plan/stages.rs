//! The stage graph: what each FROM and each `--from` stands for, and which stages the target needs.

use super::graph::ImageFacts;
use super::planner::Planner;
use super::{Options, reference, words};
use crate::diag::{Diagnostic, Exit, Source, Span, nearest};
use crate::dockerfile;
use crate::dockerfile::ast::{self, Instruction, Kind, Spanned, Stage, Word};
use crate::dockerfile::expand::ExpandFailure;
use crate::dockerfile::lint::{self, fix};
use crate::image::Platform;
use std::borrow::Cow;
use std::sync::Arc;

/// How many ONBUILD triggers one image or stage may have.
const MAX_TRIGGERS: usize = 1_000;

/// How many bytes one ONBUILD trigger of an image may have.
const MAX_TRIGGER_BYTES: usize = 1 << 20;

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// A `--build-context`, by its place in the options.
    Context(usize),
    /// An image, by its name as written after expansion.
    Image(String),
}

/// What `--from` names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// Nothing was named: the main context.
    Main,
    /// No files.
    Scratch,
    /// A stage.
    Stage(usize),
    /// A `--build-context`, by its place in the options.
    Context(usize),
    /// An image.
    Image(String),
}

/// An instruction of a stage, its own or a trigger's.
#[derive(Debug, Clone)]
pub(super) struct Command<'a> {
    pub(super) instruction: Cow<'a, Instruction>,
    pub(super) is_trigger: bool,
    /// COPY: the one of `--from`. RUN: one for each mount.
    pub(super) origins: Vec<Origin>,
    spot: Span,
}

impl Command<'_> {
    /// Returns where messages about the instruction point: a trigger's text is not in the Dockerfile, its FROM is.
    pub(super) fn span(&self) -> Span {
        self.spot
    }

    /// Returns the instruction for the lint rules.
    pub(super) fn line(&self) -> lint::Line<'_> {
        lint::Line { instruction: &self.instruction, spot: self.is_trigger.then_some(self.spot) }
    }

    /// Returns where messages about a word of the instruction point.
    pub(super) fn span_of(&self, span: Span) -> Span {
        if self.is_trigger { self.spot } else { span }
    }
}

/// A stage and what its names stand for.
#[derive(Debug)]
pub(super) struct StageNode<'a> {
    pub(super) ast: &'a Stage,
    /// `AS name` in lower case, empty without.
    pub(super) name: String,
    /// Name or number, for people.
    pub(super) title: String,
    /// What progress calls it; empty when there is nothing to tell apart.
    pub(super) progress_name: String,
    pub(super) base: Base,
    pub(super) platform: Option<Platform>,
    /// The `--build-context` of the stage's name.
    pub(super) replaced_by: Option<usize>,
    pub(super) commands: Vec<Command<'a>>,
    /// The image it starts from, once it is known.
    pub(super) facts: Option<Arc<ImageFacts>>,
    pub(super) is_needed: bool,
}

impl StageNode<'_> {
    /// Returns whether a name given by the user means this stage.
    pub(super) fn is_called(&self, name: &str) -> bool {
        !self.name.is_empty() && self.name == name.to_lowercase()
    }
}

/// Returns the `--build-context` of a name: the one for the platform alone, else the one for all.
pub(super) fn context_called(options: &Options, name: &str, platform: &Platform) -> Option<usize> {
    if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
        return None;
    }
    let name = reference::familiar(name);
    let find = |name: &str| options.contexts.iter().rposition(|(known, _)| known == name);
    find(&format!("{name}::{platform}")).or_else(|| find(name))
}

impl<'a> Planner<'a> {
    /// Makes a node of every stage, with the base that its FROM names.
    pub(super) fn name_stages(&mut self) -> Result<(), Diagnostic> {
        let dockerfile = self.dockerfile;
        for ast in &dockerfile.stages {
            self.comments.clear();
            self.lint_default_base(ast);
        }
        for (index, ast) in dockerfile.stages.iter().enumerate() {
            let name = ast.name.as_ref().map(|name| name.node.to_lowercase()).unwrap_or_default();
            self.comments.clone_from(&ast.from.comments);
            let base_name = self.expand_from(&ast.image)?;
            if base_name.is_empty() {
                return Err(self
                    .error(ast.image.span, format!("base name ({}) should not be blank", ast.image.node))
                    .hint("declare the variable above the first FROM with a default, `ARG NAME=image`, or pass `--build-arg`"));
            }
            let platform = self.stage_platform(ast, &name)?;
            let base = match self.by_name.get(&base_name) {
                Some(&stage) => Base::Stage(stage),
                None if base_name == "scratch" => Base::Scratch,
                None => {
                    self.context_called(&base_name, platform.as_ref()).map_or(Base::Image(base_name), Base::Context)
                }
            };
            let title = if name.is_empty() { index.to_string() } else { name.clone() };
            let replaced_by = if name.is_empty() { None } else { self.context_called(&name, platform.as_ref()) };
            if !name.is_empty() {
                self.by_name.insert(name.clone(), index);
            }
            let commands = ast.instructions.iter().map(|instruction| Command {
                spot: instruction.span,
                instruction: Cow::Borrowed(instruction),
                is_trigger: false,
                origins: Vec::new(),
            });
            self.stages.push(StageNode {
                ast,
                name,
                title,
                progress_name: String::new(),
                base,
                platform,
                replaced_by,
                commands: commands.collect(),
                facts: None,
                is_needed: false,
            });
        }
        if self.stages.is_empty() {
            return Err(Diagnostic::error(Exit::Usage, "the Dockerfile contains no stages to build")
                .hint("begin it with `FROM image` or `FROM scratch`"));
        }
        Ok(())
    }

    fn expand_from(&mut self, word: &'a Word) -> Result<String, Diagnostic> {
        let expanded = self
            .words
            .expand(&word.node, &self.globals.args)
            .map_err(|error| self.unexpanded(word.span, word, &error))?;
        self.lint_undefined_in_from(&expanded.unmatched, word.span);
        Ok(expanded.text)
    }

    fn stage_platform(&mut self, ast: &'a Stage, name: &str) -> Result<Option<Platform>, Diagnostic> {
        let Some(word) = &ast.platform else { return Ok(None) };
        let expanded = self
            .words
            .expand(&word.node, &self.globals.args)
            .map_err(|error| self.unexpanded(word.span, word, &error))?;
        self.lint_undefined_in_from(&expanded.unmatched, word.span);
        if expanded.text.is_empty() {
            return Err(self.error(word.span, format!("empty platform value from expression `{}`", word.node)));
        }
        let platform: Platform = expanded.text.parse().map_err(|error: crate::image::PlatformError| {
            self.error(word.span, format!("failed to parse platform `{}`", word.node)).note(error.to_string())
        })?;
        if expanded.used.iter().eq(["TARGETPLATFORM"]) && expanded.unmatched.is_empty() {
            if self.globals.args.get("TARGETPLATFORM") == Some(&expanded.text) {
                let message = format!(
                    "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                    word.node
                );
                let fix = fix::platform_flag(self.source(), ast);
                if let Some(finding) = self.lint("RedundantTargetPlatform", ast.from.span, message) {
                    finding.fix = fix;
                }
            }
        } else if expanded.used.is_empty()
            && expanded.unmatched.is_empty()
            && !name.contains(&platform.os)
            && !name.contains(&platform.architecture)
        {
            let message = format!("FROM --platform flag should not use constant value \"{}\"", expanded.text);
            self.lint("FromPlatformFlagConstDisallowed", ast.from.span, message);
        }
        Ok(Some(platform))
    }

    fn lint_default_base(&mut self, ast: &'a Stage) {
        let Some(defaults) = &self.globals.defaults else { return };
        let Ok(expanded) = self.words.expand(&ast.image.node, defaults) else { return };
        if reference::check(&expanded.text).is_err() {
            let message =
                format!("Default value for ARG {} results in empty or invalid base image name", ast.image.node);
            self.lint("InvalidDefaultArgInFrom", ast.from.span, message);
        }
    }

    fn context_called(&self, name: &str, platform: Option<&Platform>) -> Option<usize> {
        context_called(self.options, name, platform.unwrap_or(&self.options.platform))
    }

    /// Returns the stage that `--target` asks for.
    pub(super) fn target(&self) -> Result<usize, Diagnostic> {
        let Some(wanted) = self.options.target.as_deref().filter(|wanted| !wanted.is_empty()) else {
            return Ok(self.stages.len() - 1);
        };
        let by_number = || wanted.parse().ok().filter(|index| *index < self.stages.len());
        self.by_name.get(&wanted.to_lowercase()).copied().or_else(by_number).ok_or_else(|| {
            let error = Diagnostic::error(Exit::Usage, format!("target stage `{wanted}` could not be found"));
            let names: Vec<&str> =
                self.stages.iter().map(|stage| stage.name.as_str()).filter(|n| !n.is_empty()).collect();
            match nearest(wanted, names.iter().copied()) {
                Some(name) => error.hint(format!("did you mean `{name}`?")),
                None if names.is_empty() => error.hint("no stage of this Dockerfile has a name"),
                None => error.hint(format!("the stages are: {}", names.join(", "))),
            }
        })
    }

    /// Finds what each `--from` names.
    pub(super) fn resolve_references(&mut self) -> Result<(), Diagnostic> {
        for index in 0..self.stages.len() {
            let mut commands = std::mem::take(&mut self.stages[index].commands);
            for command in &mut commands {
                command.origins = self.origins(command)?;
            }
            self.stages[index].commands = commands;
        }
        Ok(())
    }

    fn origins(&self, command: &Command<'_>) -> Result<Vec<Origin>, Diagnostic> {
        match &command.instruction.kind {
            Kind::Copy(copy) => match &copy.from {
                None => Ok(vec![Origin::Main]),
                Some(from) => self.copy_origin(command, from).map(|origin| vec![origin]),
            },
            Kind::Run(run) => run.mounts.iter().map(|mount| self.mount_origin(command, mount)).collect(),
            _ => Ok(Vec::new()),
        }
    }

    fn copy_origin(&self, command: &Command<'_>, from: &Word) -> Result<Origin, Diagnostic> {
        let span = command.span_of(from.span);
        if from.node.is_empty() {
            return Ok(Origin::Main);
        }
        let expanded =
            self.words.expand(&from.node, &Default::default()).map_err(|error| self.unexpanded(span, from, &error))?;
        if expanded.text != from.node {
            return Err(self
                .error(span, format!("variable expansion is not supported in `--from`: `{}`", from.node))
                .hint("name a stage of its own with `FROM $IMAGE AS name`, its ARG before the first FROM"));
        }
        if let Ok(number) = from.node.parse::<i64>() {
            let index = usize::try_from(number).ok().filter(|index| *index < self.stages.len());
            return index.map(Origin::Stage).ok_or_else(|| {
                let last = self.stages.len() - 1;
                self.error(span, format!("invalid stage index {number}")).hint(format!(
                    "the stages of this Dockerfile are 0 to {last}; better, name one with `FROM ... AS name`"
                ))
            });
        }
        Ok(self.origin_called(&from.node))
    }

    fn mount_origin(&self, command: &Command<'_>, mount: &Word) -> Result<Origin, Diagnostic> {
        let Some(from) = super::mount::from_of(&mount.node) else { return Ok(Origin::Main) };
        if from.find('$').is_some_and(|at| at + 1 != from.len()) {
            return Err(self
                .error(
                    command.span_of(mount.span),
                    format!("variable expansion is not supported in `from` of `--mount`: `{from}`"),
                )
                .hint("name a stage of its own with `FROM $IMAGE AS name`, its ARG before the first FROM"));
        }
        if from.is_empty() {
            return Ok(Origin::Main);
        }
        let origin = self.origin_called(&from);
        if matches!(origin, Origin::Image(_)) && from.parse().is_ok_and(|index: usize| index < self.stages.len()) {
            let span = command.span_of(mount.span);
            return Err(self
                .error(span, format!("`from={from}` names an image: in `--mount` stages have names and no numbers"))
                .hint(format!(
                    "name the stage with `FROM ... AS name` and write `from=name` instead of `from={from}`"
                )));
        }
        Ok(origin)
    }

    fn origin_called(&self, name: &str) -> Origin {
        if let Some(&stage) = self.by_name.get(&name.to_lowercase()) {
            return Origin::Stage(stage);
        }
        if name == "scratch" {
            return Origin::Scratch;
        }
        self.context_called(name, None).map_or_else(|| Origin::Image(name.to_owned()), Origin::Context)
    }

    /// Marks a stage and all that it builds on, looking up base images on the way: their ONBUILD may need more.
    pub(super) fn need(&mut self, target: usize) -> Result<(), Diagnostic> {
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            // Bases first: their ONBUILD instructions are commands of the stages on top of them.
            for stage in self.unmarked_bases(index).into_iter().rev() {
                self.stages[stage].is_needed = true;
                if self.stages[stage].replaced_by.is_none() {
                    self.look_up_base(stage)?;
                    self.add_triggers(stage)?;
                    self.push_sources(stage, &mut open)?;
                }
            }
        }
        Ok(())
    }

    /// Returns a stage and the stages below it that are not marked yet, the lowest last.
    fn unmarked_bases(&self, index: usize) -> Vec<usize> {
        let below = |index: &usize| match self.stages[*index].base {
            Base::Stage(base) if self.stages[*index].replaced_by.is_none() => Some(base),
            _ => None,
        };
        std::iter::successors(Some(index), below).take_while(|index| !self.stages[*index].is_needed).collect()
    }

    fn push_sources(&self, index: usize, open: &mut Vec<usize>) -> Result<(), Diagnostic> {
        for command in &self.stages[index].commands {
            for origin in &command.origins {
                if let Origin::Stage(source) = origin {
                    self.check_order(index, *source, command)?;
                    open.push(*source);
                }
            }
        }
        Ok(())
    }

    fn check_order(&self, index: usize, source: usize, command: &Command<'_>) -> Result<(), Diagnostic> {
        let span = match &command.instruction.kind {
            Kind::Copy(ast::Copy { from: Some(from), .. }) => command.span_of(from.span),
            _ => command.span(),
        };
        if self.stages[source].replaced_by.is_some() {
            return Ok(());
        }
        let (this, other) = (&self.stages[index].title, &self.stages[source].title);
        if source == index {
            return Err(self
                .error(span, format!("circular dependency detected on stage: {this}"))
                .hint("a stage cannot copy from itself: name another stage, or use `RUN cp`"));
        }
        if source > index {
            let verb = if matches!(command.instruction.kind, Kind::Run(_)) { "mount" } else { "copy" };
            return Err(self
                .error(
                    span,
                    format!("cannot {verb} from stage `{other}`, it needs to be defined before current stage `{this}`"),
                )
                .hint(format!("move the stage `{other}` in front of this one")));
        }
        Ok(())
    }

    fn add_triggers(&mut self, index: usize) -> Result<(), Diagnostic> {
        let triggers: Vec<String> = match &self.stages[index].base {
            // Nothing of a replaced stage counts, its triggers neither.
            Base::Stage(base) if self.stages[*base].replaced_by.is_some() => Vec::new(),
            Base::Stage(base) => {
                let of_command = |command: &Command<'_>| match &command.instruction.kind {
                    Kind::Onbuild { trigger, .. } => Some(trigger.clone()),
                    _ => None,
                };
                self.stages[*base].commands.iter().filter_map(of_command).collect()
            }
            _ => self.stages[index].facts.as_ref().map(|f| f.config.config.on_build.clone()).unwrap_or_default(),
        };
        let span = self.stages[index].ast.from.span;
        if triggers.len() > MAX_TRIGGERS {
            return Err(self.error(span, format!("the base has more than {MAX_TRIGGERS} ONBUILD triggers")));
        }
        let mut commands = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            let instruction = self.parse_trigger(trigger, span)?;
            let mut command =
                Command { instruction: Cow::Owned(instruction), is_trigger: true, origins: Vec::new(), spot: span };
            command.origins = self.origins(&command)?;
            commands.push(command);
        }
        self.stages[index].commands.splice(0..0, commands);
        Ok(())
    }

    fn parse_trigger(&self, trigger: &str, span: Span) -> Result<Instruction, Diagnostic> {
        let fail = |reason: String| {
            let shown: String = trigger.chars().take(200).collect();
            self.error(span, format!("invalid ONBUILD trigger of the base: `{shown}`")).note(reason)
        };
        if trigger.len() > MAX_TRIGGER_BYTES {
            return Err(fail(format!("it has more than {MAX_TRIGGER_BYTES} bytes")));
        }
        // A base may hand on a trigger for the children of its children; a Dockerfile could not have written it.
        let (inner, is_nested) = match nested_trigger(trigger) {
            Some(inner) => (inner, true),
            None => (trigger, false),
        };
        let parsed = dockerfile::parse_trigger("ONBUILD", inner).map_err(|error| fail(error.to_string()))?;
        Ok(if is_nested { onbuild(inner, parsed) } else { parsed })
    }

    /// Gives the stages their names for progress: none when there is but one thing to build.
    pub(super) fn name_for_progress(&mut self) {
        let is_outside = |origin: &Origin| !matches!(origin, Origin::Main | Origin::Stage(_));
        let has_outside =
            |stage: &StageNode<'_>| stage.commands.iter().any(|command| command.origins.iter().any(is_outside));
        if self.stages.len() == 1 && !has_outside(&self.stages[0]) {
            return;
        }
        for (index, stage) in self.stages.iter_mut().enumerate() {
            stage.progress_name = if stage.name.is_empty() { format!("stage-{index}") } else { stage.name.clone() };
        }
    }

    /// Returns an error that points into the Dockerfile.
    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(Exit::Usage, message).at(self.source(), span)
    }

    /// Returns the error for a word that cannot be expanded.
    pub(super) fn unexpanded(&self, span: Span, word: &Word, error: &ExpandFailure) -> Diagnostic {
        words::failure(self.source(), span, &word.node, error)
    }

    /// Returns the text that spans point into.
    pub(super) fn source(&self) -> &'a Arc<Source> {
        &self.dockerfile.source
    }
}

/// Returns what stands behind the `ONBUILD` of a trigger that begins with one.
fn nested_trigger(trigger: &str) -> Option<&str> {
    let (keyword, rest) = trigger.trim_start().split_once(char::is_whitespace)?;
    keyword.eq_ignore_ascii_case("ONBUILD").then(|| rest.trim_start())
}

/// Returns the `ONBUILD` instruction of a trigger.
fn onbuild(trigger: &str, instruction: Instruction) -> Instruction {
    Instruction {
        span: instruction.span,
        keyword: Spanned { node: "ONBUILD".to_owned(), span: instruction.keyword.span },
        text: format!("ONBUILD {}", instruction.text),
        comments: Vec::new(),
        kind: Kind::Onbuild { trigger: trigger.to_owned(), instruction: Ok(Box::new(instruction)) },
    }
}
