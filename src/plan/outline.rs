//! The parameters of a target: what `--call=outline` lists.
//!
//! Collected while the plan is made, for the values of ARGs depend on what stands above them.

use super::planner::Planner;
use crate::diag::Span;
use crate::dockerfile::ast::{ArgDefinition, Instruction, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// What a target can be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name, empty without one.
    pub name: String,
    /// What the comment above its `FROM` says of it.
    pub description: String,
    /// Build arguments that the target uses, in the order of the file.
    pub args: Vec<OutlineArg>,
    /// Secrets that its RUNs mount.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents that its RUNs mount.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// Its value in this build, empty without one.
    pub value: String,
    /// The `ARG` instruction.
    pub span: Span,
}

/// A secret or an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The `RUN` that mounts it first.
    pub span: Span,
}

/// What has been seen of the stages so far.
#[derive(Debug, Default)]
pub(super) struct Capture {
    stages: BTreeMap<usize, StageCapture>,
    /// The stage that is being lowered.
    pub(super) stage: usize,
}

#[derive(Debug, Default)]
struct StageCapture {
    /// Names of all ARGs of the stage, also of those that only let a global one in.
    used: BTreeSet<String>,
    args: BTreeMap<String, OutlineArg>,
    secrets: Vec<OutlineMount>,
    ssh: Vec<OutlineMount>,
}

impl Capture {
    /// Notes an ARG of the stage at hand; `is_own` where it is more than a global one let in.
    pub(super) fn arg(&mut self, instruction: &Instruction, span: Span, name: &str, value: Option<&str>, is_own: bool) {
        let stage = self.stages.entry(self.stage).or_default();
        stage.used.insert(name.to_owned());
        if is_own {
            let description = description(&instruction.comments, name);
            let value = value.unwrap_or_default().to_owned();
            stage.args.insert(name.to_owned(), OutlineArg { name: name.to_owned(), description, value, span });
        }
    }

    /// Notes a secret of the stage at hand.
    pub(super) fn secret(&mut self, name: &str, required: bool, span: Span) {
        add(&mut self.stages.entry(self.stage).or_default().secrets, name, required, span);
    }

    /// Notes an SSH agent of the stage at hand.
    pub(super) fn ssh(&mut self, name: &str, required: bool, span: Span) {
        add(&mut self.stages.entry(self.stage).or_default().ssh, name, required, span);
    }
}

fn add(list: &mut Vec<OutlineMount>, name: &str, required: bool, span: Span) {
    if list.iter().all(|known| known.name != name) {
        list.push(OutlineMount { name: name.to_owned(), required, span });
    }
}

/// Returns what comments say of a name: the rest of the first line that begins with it.
pub fn description(comments: &[String], name: &str) -> String {
    let of_line = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    comments.iter().filter(|_| !name.is_empty()).find_map(of_line).unwrap_or_default()
}

impl Planner<'_> {
    /// Returns the outline of a target; `in_target` says for each stage whether the target needs it.
    pub(super) fn outline(&self, target: usize, in_target: &[bool]) -> Outline {
        let globals = self.global_args();
        let node = &self.stages[target];
        let mut outline = Outline {
            name: node.name.clone(),
            description: description(&node.ast.from.comments, &node.name),
            ..Outline::default()
        };
        let mut seen = BTreeSet::new();
        let others = (0..in_target.len()).rev().filter(|stage| *stage != target && in_target[*stage]);
        let empty = StageCapture::default();
        for stage in std::iter::once(target).chain(others) {
            let capture = self.capture.stages.get(&stage).unwrap_or(&empty);
            for name in self.used_by(stage, capture, &globals) {
                let arg = capture.args.get(&name).or_else(|| globals.get(&name).map(|(arg, _)| arg));
                outline.args.extend(arg.filter(|_| seen.insert(name.clone())).cloned());
            }
            capture.secrets.iter().for_each(|one| add(&mut outline.secrets, &one.name, one.required, one.span));
            capture.ssh.iter().for_each(|one| add(&mut outline.ssh, &one.name, one.required, one.span));
        }
        outline.args.sort_by_key(|arg| arg.span.start);
        outline.secrets.sort_by_key(|one| one.span.start);
        outline.ssh.sort_by_key(|one| one.span.start);
        outline
    }

    /// Returns the global ARGs, each with the variables of its default.
    fn global_args(&self) -> BTreeMap<String, (OutlineArg, BTreeSet<String>)> {
        let mut found: BTreeMap<String, (OutlineArg, BTreeSet<String>)> = BTreeMap::new();
        for instruction in &self.dockerfile.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let name = arg.name.node.clone();
                let value = self.globals.args.get(&name).unwrap_or_default().to_owned();
                let description = description(&instruction.comments, &name);
                let shown = OutlineArg { name: name.clone(), description, value, span: instruction.span };
                // One that is defined again may use its own value: what that was made of counts too.
                let mut variables = self.variables_of(arg);
                variables.extend(found.remove(&name).map(|(_, before)| before).unwrap_or_default());
                found.insert(name, (shown, variables));
            }
        }
        found
    }

    fn variables_of(&self, arg: &ArgDefinition) -> BTreeSet<String> {
        let default = arg.default.as_ref().filter(|_| !self.build_args.contains_key(&arg.name.node));
        let expanded = default.and_then(|default| self.words.expand(&default.node, &self.globals.args).ok());
        expanded.map(|expanded| expanded.used.into_iter().collect()).unwrap_or_default()
    }

    /// Returns the ARGs that a stage uses: in its FROM, in its own ARGs, and in the defaults of those.
    fn used_by(
        &self,
        stage: usize,
        capture: &StageCapture,
        globals: &BTreeMap<String, (OutlineArg, BTreeSet<String>)>,
    ) -> BTreeSet<String> {
        let ast = self.stages[stage].ast;
        let from = std::iter::once(&ast.image).chain(&ast.platform);
        let in_from = from.filter_map(|word| self.words.expand(&word.node, &self.globals.args).ok());
        let mut open: Vec<String> = in_from.flat_map(|expanded| expanded.used).collect();
        open.extend(capture.used.iter().cloned());
        let mut used = BTreeSet::new();
        while let Some(name) = open.pop() {
            if used.insert(name.clone()) && !capture.args.contains_key(&name) {
                open.extend(globals.get(&name).into_iter().flat_map(|(_, variables)| variables.iter().cloned()));
            }
        }
        used
    }
}
