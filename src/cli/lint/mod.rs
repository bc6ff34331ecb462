//! `cooper lint`: what the lint rules say of a Dockerfile, and `--fix` for what can be mended without thought.
//!
//! Reads the Dockerfile and the ignore file and nothing else: no store, no registry, no network.  What only a base
//! image can tell is therefore not said; `cooper build --check` asks for it.

mod mend;
pub mod report;

use super::build::{dockerfile_source, parse_build_arg};
use super::diagnostic::Style;
use crate::context::ignore::IgnoreRules;
use crate::context::local::LocalContext;
use crate::diag::{Diagnostic, Exit};
use crate::exec::request::DockerfileSource;
use crate::exec::{DockerfileText, read_dockerfile};
use crate::image::{Descriptor, ImageConfig, Platform, media_type};
use crate::plan::graph::{ImageFacts, Network};
use crate::plan::inspect::{Inspected, inspect};
use crate::plan::{Facts, ImageSource, Options};
use crate::sys::capability::Capabilities;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// The JSON of `docker buildx build --call=check,format=json`.
    Json,
}

/// Checks a Dockerfile by BuildKit's rules; exits with 1 if there are findings
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// Directory that is the build context
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Path of the Dockerfile, `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<String>,

    /// Mends in place what can be mended without thought; CMD and ENTRYPOINT become JSON arrays where a shell
    /// would only split them
    #[arg(long)]
    pub fix: bool,

    /// How findings are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,

    /// Looks at what this stage needs only [default: all stages]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// Value of an ARG; BUILDKIT_DOCKERFILE_CHECK is used instead of `# check=` (several)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = parse_build_arg)]
    pub build_args: Vec<(String, Option<String>)>,
}

/// Says that every image is there and nothing is known of it.
struct NoImages<'a> {
    ignore: Option<&'a IgnoreRules>,
}

impl Facts for NoImages<'_> {
    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic> {
        let (ImageSource::Reference(name) | ImageSource::OciLayout(name)) = source;
        let config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        let manifest = Descriptor::of(media_type::MANIFEST, name.as_bytes());
        Ok(Arc::new(ImageFacts { origin: name.to_owned(), manifest, layers: Vec::new(), config }))
    }

    fn knows_images(&self) -> bool {
        false
    }

    fn ignored_by(&self, path: &str) -> Option<String> {
        self.ignore?.certainly_ignored(path).map(|verdict| verdict.to_string())
    }
}

/// Runs the command.
pub fn run(args: &LintArgs, style: Style, out: &mut dyn Write) -> Result<ExitCode, Diagnostic> {
    let wanted = dockerfile_source(args.file.as_deref())
        .map_err(|reason| Diagnostic::error(Exit::Usage, format!("invalid value for `--file`: {reason}")))?;
    let read = read_dockerfile(&args.path, &wanted)?;
    let context = context(&args.path, &wanted, read.file.as_deref())?;
    let ignore = context.as_ref().and_then(|context| context.ignore.as_ref());
    let look = |text: &[u8]| inspect(&read.name, text, &options(args), &mut NoImages { ignore });
    let mut inspected = look(&read.text);
    if args.fix {
        inspected = fix(&read, inspected, &look)?;
    }
    let shown = match args.format {
        ReportFormat::Json => report::json(&inspected)?,
        ReportFormat::Text => report::text(&inspected, Style { color: false, ..style }),
    };
    out.write_all(shown.as_bytes()).map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
    let has_findings = report::rules(&inspected).next().is_some();
    match inspected.error.or(inspected.violation) {
        Some(error) => Err(error),
        None => Ok(ExitCode::from(u8::from(has_findings))),
    }
}

/// Opens the context for its ignore file; a Dockerfile alone can be checked without one.
fn context(path: &Path, wanted: &DockerfileSource, file: Option<&Path>) -> Result<Option<LocalContext>, Diagnostic> {
    if *wanted != DockerfileSource::Default && !path.is_dir() {
        return Ok(None);
    }
    LocalContext::open(path, file).map(Some)
}

fn fix(
    read: &DockerfileText,
    inspected: Inspected,
    look: &dyn Fn(&[u8]) -> Inspected,
) -> Result<Inspected, Diagnostic> {
    let Some(file) = &read.file else {
        return Err(Diagnostic::error(Exit::Usage, "`--fix` changes a file, and the Dockerfile is standard input")
            .hint("name the file with `-f`"));
    };
    // Text that is not UTF-8 was changed by reading it: writing it back would change bytes that nobody asked about.
    let has_mark = read.text.starts_with(b"\xef\xbb\xbf");
    let body = &read.text[if has_mark { 3 } else { 0 }..];
    if std::str::from_utf8(body).is_err() {
        return Err(Diagnostic::error(Exit::Usage, format!("`--fix` changes UTF-8 only: `{}`", read.name)));
    }
    let Some((text, inspected)) = mend::mend(inspected, look) else { return Ok(look(&read.text)) };
    let mark: &[u8] = if has_mark { b"\xef\xbb\xbf" } else { b"" };
    mend::write(file, &[mark, text.as_bytes()].concat())?;
    Ok(inspected)
}

fn options(args: &LintArgs) -> Options {
    let value = |(name, value): &(String, Option<String>)| {
        Some((name.clone(), value.clone().or_else(|| std::env::var(name).ok())?))
    };
    Options {
        all_stages: args.target.is_none(),
        target: args.target.clone(),
        build_args: args.build_args.iter().filter_map(value).collect(),
        labels: BTreeMap::new(),
        platform: Platform::host(),
        is_platform_given: false,
        build_platform: Platform::host(),
        contexts: Vec::new(),
        no_cache: false,
        no_cache_filter: Vec::new(),
        network: Network::Default,
        // What a RUN may do is a matter of the build, not of the text.
        allow: ["network.host", "security.insecure", "device"].map(str::to_owned).to_vec(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
        ulimits: Vec::new(),
        capabilities: Capabilities::DOCKER,
    }
}

#[cfg(test)]
mod tests;
