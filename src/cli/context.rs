//! `cooper context`: the files that a build would see, and which ignore rule decided about one.

use super::build::dockerfile_source;
use super::diagnostic::clean;
use super::lint::report::to_json;
use crate::context::local::LocalContext;
use crate::context::select::{SelectOptions, select};
use crate::context::selection::{Entry, EntryKind};
use crate::diag::{Diagnostic, Exit};
use crate::exec::request::DockerfileSource;
use crate::progress::format_bytes;
use serde::Serialize;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// Lists what a build sees of a directory, ignore rules applied
#[derive(Debug, clap::Args)]
pub struct ContextArgs {
    /// Directory that is the build context
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Path of the Dockerfile: an ignore file beside it wins [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<String>,

    /// Says which rule decided about this path of the context (several)
    #[arg(long, value_name = "PATH")]
    pub why: Vec<PathBuf>,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: super::lint::ReportFormat,
}

/// One node of the context.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Node {
    path: String,
    kind: &'static str,
    size_bytes: u64,
}

/// What decided about a path.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reason {
    path: String,
    exists: bool,
    ignored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
}

#[derive(Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_file: Option<String>,
    files: usize,
    directories: usize,
    size_bytes: u64,
    entries: Vec<Node>,
}

/// Runs the command.
pub fn run(args: &ContextArgs, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let file = match dockerfile_source(args.file.as_deref()) {
        Ok(DockerfileSource::Path(file)) => Some(file),
        Ok(DockerfileSource::Default) => Some(args.path.join("Dockerfile")),
        Ok(DockerfileSource::Stdin) => None,
        Err(reason) => {
            return Err(Diagnostic::error(Exit::Usage, format!("invalid value for `--file`: {reason}")));
        }
    };
    let context = LocalContext::open(&args.path, file.as_deref())?;
    let is_json = args.format == super::lint::ReportFormat::Json;
    let text = if !args.why.is_empty() {
        let reasons: Vec<Reason> = args.why.iter().map(|path| why(&context, path)).collect::<Result<_, _>>()?;
        if is_json { to_json(&reasons)? } else { reasons.iter().map(told).collect() }
    } else {
        let listing = list(&context)?;
        if is_json { to_json(&listing)? } else { table(&listing) }
    };
    out.write_all(text.as_bytes()).map_err(|error| Diagnostic::from_error(Exit::Step, &error))
}

fn list(context: &LocalContext) -> Result<Listing, Diagnostic> {
    let selected = select(context.tree(), &["/"], SelectOptions::default()).map_err(|error| error.to_diagnostic())?;
    let entries = selected.selection.items.iter().flat_map(|item| &item.entries);
    let nodes: Vec<Node> = entries.filter(|entry| !entry.path.as_os_str().is_empty()).map(node).collect();
    Ok(Listing {
        ignore_file: context.ignore.as_ref().map(|rules| rules.name().to_owned()),
        files: nodes.iter().filter(|node| node.kind != "directory").count(),
        directories: nodes.iter().filter(|node| node.kind == "directory").count(),
        size_bytes: nodes.iter().map(|node| node.size_bytes).sum(),
        entries: nodes,
    })
}

fn node(entry: &Entry) -> Node {
    let (kind, size_bytes) = match &entry.kind {
        EntryKind::Directory => ("directory", 0),
        EntryKind::File { size_bytes } => ("file", *size_bytes),
        EntryKind::Symlink { .. } => ("symlink", 0),
        EntryKind::Fifo => ("fifo", 0),
        EntryKind::Socket => ("socket", 0),
        EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => ("device", 0),
    };
    Node { path: entry.path.display().to_string(), kind, size_bytes }
}

/// Returns a line for each node, its size in front, and the sum.
fn table(listing: &Listing) -> String {
    let mut text = String::new();
    for Node { path, kind, size_bytes } in &listing.entries {
        let (size, mark) = match *kind {
            "file" => (format_bytes(*size_bytes), ""),
            "directory" => (String::new(), "/"),
            other => (other.to_owned(), ""),
        };
        text.push_str(&format!("{size:>10}  {}{mark}\n", clean(path)));
    }
    let rules = match &listing.ignore_file {
        Some(file) => format!("rules of {}", clean(file)),
        None => "no ignore file".to_owned(),
    };
    let (files, directories) = (listing.files, listing.directories);
    text + &format!("{files} files, {directories} directories, {}; {rules}\n", format_bytes(listing.size_bytes))
}

/// Returns what decided about a path: one of the context, or one of this machine that is in the context.
fn why(context: &LocalContext, path: &Path) -> Result<Reason, Diagnostic> {
    let relative = relative(context, path)?;
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(relative.as_os_str());
    let state = context.ignore.as_ref().map(|rules| (rules, rules.descend(bytes)));
    let verdict = state.as_ref().and_then(|(rules, state)| rules.verdict_of(state));
    let stat = context.root.stat(&relative, false).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    Ok(Reason {
        path: relative.display().to_string(),
        exists: stat.is_some(),
        ignored: state.is_some_and(|(_, state)| state.is_ignored()),
        file: verdict.as_ref().map(|verdict| verdict.file.to_string()),
        line: verdict.as_ref().map(|verdict| verdict.line),
        pattern: verdict.map(|verdict| verdict.pattern),
    })
}

fn relative(context: &LocalContext, path: &Path) -> Result<PathBuf, Diagnostic> {
    let inside = if path.is_absolute() { path.strip_prefix(&context.path).unwrap_or(path) } else { path };
    let mut relative = PathBuf::new();
    for component in inside.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::CurDir | Component::RootDir => {}
            _ if relative.pop() => {}
            _ => {
                let message = format!("`{}` is not in the context `{}`", path.display(), context.path.display());
                return Err(Diagnostic::error(Exit::Usage, message).hint("give a path relative to the context"));
            }
        }
    }
    Ok(relative)
}

fn told(reason: &Reason) -> String {
    let path = clean(&reason.path);
    let rule = match (&reason.file, reason.line, &reason.pattern) {
        (Some(file), Some(line), Some(pattern)) => format!(" by {}:{line} `{}`", clean(file), clean(pattern)),
        _ => String::new(),
    };
    let what = match (reason.ignored, rule.is_empty()) {
        (true, _) => format!("ignored{rule}"),
        (false, true) => "in the context: no rule matches it".to_owned(),
        (false, false) => format!("in the context{rule}"),
    };
    let absent = if reason.exists { "" } else { " (there is no such file)" };
    format!("{path}: {what}{absent}\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::lint::ReportFormat;
    use std::fs;

    fn shown(path: &Path, why: &[&str], format: ReportFormat) -> String {
        let why = why.iter().map(PathBuf::from).collect();
        let mut out = Vec::new();
        run(&ContextArgs { path: path.to_owned(), file: None, why, format }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn project() -> tempfile::TempDir {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir(project.path().join("src")).unwrap();
        fs::create_dir(project.path().join("dist")).unwrap();
        fs::write(project.path().join("src/main.c"), "int main;").unwrap();
        fs::write(project.path().join("dist/app"), "x").unwrap();
        fs::write(project.path().join("keep.log"), "").unwrap();
        fs::write(project.path().join(".dockerignore"), "# made by hand\ndist\n*.log\n!keep.log\n").unwrap();
        project
    }

    #[test]
    fn what_a_build_sees_is_listed_with_sizes_and_a_sum() {
        let project = project();
        let text = shown(project.path(), &[], ReportFormat::Text);
        assert_eq!(
            text,
            "       46B  .dockerignore\n        0B  keep.log\n            src/\n        9B  src/main.c\n\
             3 files, 1 directories, 55B; rules of .dockerignore\n"
                .replace("46B", &format!("{}B", "# made by hand\ndist\n*.log\n!keep.log\n".len()))
                .replace("55B", &format!("{}B", 9 + "# made by hand\ndist\n*.log\n!keep.log\n".len()))
        );
        let json: serde_json::Value = serde_json::from_str(&shown(project.path(), &[], ReportFormat::Json)).unwrap();
        assert_eq!(json["files"], 3);
        assert_eq!(json["entries"][3]["path"], "src/main.c");
    }

    #[test]
    fn the_rule_that_decided_is_named() {
        let project = project();
        let text = shown(project.path(), &["dist/app", "keep.log", "./src/../src/main.c", "none"], ReportFormat::Text);
        assert_eq!(
            text,
            "dist/app: ignored by .dockerignore:2 `dist`\n\
             keep.log: in the context by .dockerignore:4 `!keep.log`\n\
             src/main.c: in the context: no rule matches it\n\
             none: in the context: no rule matches it (there is no such file)\n"
        );
        let json = shown(project.path(), &["dist"], ReportFormat::Json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["line"], 2);
    }

    #[test]
    fn a_path_outside_of_the_context_is_refused() {
        let project = project();
        let args = ContextArgs {
            path: project.path().to_owned(),
            file: None,
            why: vec!["../x".into()],
            format: ReportFormat::Text,
        };
        assert!(run(&args, &mut Vec::new()).is_err());
    }
}
