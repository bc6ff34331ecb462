//! A syntax tree as text.  Words stand as they were written, values of flags are quoted anew.

use cooper::diag::Span;
use cooper::dockerfile::ast::{
    Command, Copy, Dockerfile, Heredoc, Instruction, KeyValue, Kind, Run, Spanned, Stage, Word,
};

/// Returns an instruction without places.
pub fn instruction_of(kind: Kind, is_upper: bool, comments: Vec<String>) -> Instruction {
    let name = keyword(&kind);
    let node = if is_upper { name.to_owned() } else { name.to_ascii_lowercase() };
    let keyword = Spanned { node, span: Span::default() };
    Instruction { span: Span::default(), keyword, text: String::new(), comments, kind }
}

fn keyword(kind: &Kind) -> &'static str {
    match kind {
        Kind::From => "FROM",
        Kind::Arg(_) => "ARG",
        Kind::Env(_) => "ENV",
        Kind::Label(_) => "LABEL",
        Kind::Run(_) => "RUN",
        Kind::Cmd(_) => "CMD",
        Kind::Entrypoint(_) => "ENTRYPOINT",
        Kind::Shell(_) => "SHELL",
        Kind::Copy(_) => "COPY",
        Kind::Add(_) => "ADD",
        Kind::Workdir(_) => "WORKDIR",
        Kind::User(_) => "USER",
        Kind::Volume(_) => "VOLUME",
        Kind::Expose(_) => "EXPOSE",
        Kind::StopSignal(_) => "STOPSIGNAL",
        Kind::Healthcheck(_) => "HEALTHCHECK",
        Kind::Onbuild { .. } => "ONBUILD",
        Kind::Maintainer(_) => "MAINTAINER",
    }
}

/// Prints a Dockerfile.
pub fn print(dockerfile: &Dockerfile) -> String {
    let mut printer = Printer { escape: dockerfile.escape, text: String::new() };
    let directives = [("syntax", &dockerfile.syntax), ("check", &dockerfile.check)];
    printer.text.push_str(&format!("# escape={}\n", dockerfile.escape));
    for (name, value) in directives.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        printer.text.push_str(&format!("# {name}={}\n", value.node));
    }
    // What follows is no directive, whatever it looks like.
    printer.text.push('\n');
    dockerfile.global_args.iter().for_each(|one| printer.instruction(one));
    for stage in &dockerfile.stages {
        printer.from(stage);
        stage.instructions.iter().for_each(|one| printer.instruction(one));
    }
    printer.text
}

struct Printer {
    escape: char,
    text: String,
}

impl Printer {
    fn comments(&mut self, instruction: &Instruction) {
        // An empty comment cuts off what may stand above.
        self.text.push_str("#\n");
        instruction.comments.iter().for_each(|comment| self.text.push_str(&format!("# {comment}\n")));
    }

    fn from(&mut self, stage: &Stage) {
        self.comments(&stage.from);
        let platform = stage.platform.as_ref().map(|value| self.flag("platform", &value.node)).unwrap_or_default();
        let name = stage.name.as_ref().map(|name| format!(" AS {}", name.node)).unwrap_or_default();
        self.text.push_str(&format!("{} {platform}{}{name}\n", stage.from.keyword.node, stage.image.node));
    }

    fn instruction(&mut self, instruction: &Instruction) {
        self.comments(instruction);
        let args = self.args(&instruction.kind);
        self.text.push_str(&format!("{} {args}\n", instruction.keyword.node));
    }

    fn args(&self, kind: &Kind) -> String {
        match kind {
            Kind::From => String::new(),
            Kind::Arg(args) => join(args.iter().map(|arg| match &arg.default {
                Some(default) => format!("{}={}", arg.name.node, default.node),
                None => arg.name.node.clone(),
            })),
            Kind::Env(pairs) | Kind::Label(pairs) => join(pairs.iter().map(pair)),
            Kind::Run(run) => self.run(run),
            Kind::Cmd(command) | Kind::Entrypoint(command) => shell_or_json(command),
            Kind::Shell(words) => json(words.iter().map(String::as_str)),
            Kind::Copy(copy) | Kind::Add(copy) => self.copy(copy),
            Kind::Volume(words) => fields(words),
            Kind::Expose(words) => join(words.iter().map(|word| word.node.clone())),
            Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => word.node.clone(),
            Kind::Maintainer(name) => name.clone(),
            Kind::Onbuild { trigger, .. } => trigger.clone(),
            Kind::Healthcheck(check) => {
                let Some(command) = &check.command else { return "NONE".to_owned() };
                let mut text = String::new();
                let times = [
                    ("interval", check.interval_ns),
                    ("timeout", check.timeout_ns),
                    ("start-period", check.start_period_ns),
                    ("start-interval", check.start_interval_ns),
                ];
                times.iter().for_each(|(name, ns)| text.push_str(&format!("--{name}={ns}ns ")));
                format!("{text}--retries={} CMD {}", check.retries, shell_or_json(command))
            }
        }
    }

    fn run(&self, run: &Run) -> String {
        let mut text = self.flags("mount", &run.mounts) + &self.flags("device", &run.devices);
        text.push_str(&self.flags("network", run.network.as_slice()));
        text.push_str(&self.flags("security", run.security.as_slice()));
        text.push_str(&shell_or_json(&run.command));
        text + &bodies(&run.heredocs)
    }

    fn copy(&self, copy: &Copy) -> String {
        let flags =
            [("from", &copy.from), ("chown", &copy.chown), ("chmod", &copy.chmod), ("checksum", &copy.checksum)];
        let mut text: String = flags.iter().map(|(name, value)| self.flags(name, value.as_slice())).collect();
        text.push_str(&self.flags("exclude", &copy.exclude));
        let booleans = [
            ("link", Some(copy.link)),
            ("parents", Some(copy.parents).filter(|parents| *parents)),
            ("keep-git-dir", copy.keep_git_dir),
            ("unpack", copy.unpack),
        ];
        for (name, value) in booleans.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            text.push_str(&format!("--{name}={value} "));
        }
        let documents = copy.heredocs.iter().map(|heredoc| {
            let (dash, quote) = (if heredoc.strip_tabs { "-" } else { "" }, if heredoc.expand { "" } else { "'" });
            format!("<<{dash}{quote}{}{quote}", heredoc.name)
        });
        let mut words: Vec<Word> = copy.sources.clone();
        words.extend(documents.map(|node| Spanned { node, span: Span::default() }));
        words.push(copy.destination.clone());
        text + &fields(&words) + &bodies(&copy.heredocs)
    }

    fn flags(&self, name: &str, values: &[Word]) -> String {
        values.iter().map(|value| self.flag(name, &value.node)).collect()
    }

    /// `--name="value" `, quotes and escapes in the value escaped.
    fn flag(&self, name: &str, value: &str) -> String {
        let mut quoted = String::new();
        for c in value.chars() {
            if c == '"' || c == self.escape {
                quoted.push(self.escape);
            }
            quoted.push(c);
        }
        format!("--{name}=\"{quoted}\" ")
    }
}

fn pair(pair: &KeyValue) -> String {
    format!("{}{}{}", pair.key.node, if pair.is_legacy { " " } else { "=" }, pair.value.node)
}

fn shell_or_json(command: &Command) -> String {
    match command {
        Command::Shell(text) => text.node.clone(),
        Command::Exec(words) => json(words.iter().map(String::as_str)),
    }
}

fn json<'a>(words: impl Iterator<Item = &'a str>) -> String {
    serde_json::to_string(&words.collect::<Vec<_>>()).unwrap()
}

/// Words between blanks, or a JSON array where one has a blank in it.
fn fields(words: &[Word]) -> String {
    let needs_json = |word: &Word| word.node.is_empty() || word.node.contains(|c: char| c.is_whitespace() || c == '[');
    if words.iter().any(needs_json) {
        return json(words.iter().map(|word| word.node.as_str()));
    }
    join(words.iter().map(|word| word.node.clone()))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn bodies(heredocs: &[Heredoc]) -> String {
    heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.body, heredoc.name)).collect()
}
