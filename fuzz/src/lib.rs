//! The targets: each takes any bytes and must return, in time that is linear in their number.

use cooper::context::ignore::IgnoreRules;
use cooper::diag::Diagnostic;
use cooper::dockerfile::expand::Expander;
use cooper::dockerfile::lint::{Checks, fix, stage};
use cooper::image::{Descriptor, ImageConfig, Platform, media_type};
use cooper::layer::{Limits, TarReader};
use cooper::plan::graph::{ImageFacts, Network};
use cooper::plan::inspect::inspect;
use cooper::plan::{Facts, ImageSource, Options};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// Says that every image is there and empty.
struct AnyImage;

impl Facts for AnyImage {
    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic> {
        let (ImageSource::Reference(name) | ImageSource::OciLayout(name)) = source;
        let (os, architecture) = (platform.os.clone(), platform.architecture.clone());
        let config = ImageConfig { os, architecture, ..ImageConfig::default() };
        let manifest = Descriptor::of(media_type::MANIFEST, name.as_bytes());
        Ok(Arc::new(ImageFacts { origin: name.to_owned(), manifest, layers: Vec::new(), config }))
    }
}

/// Checks that places lie in the text, between characters.
fn check_place(diagnostic: &Diagnostic) {
    let Some(place) = &diagnostic.place else { return };
    let (text, span) = (&place.source.text, place.span);
    assert!(text.get(span.start..span.end).is_some(), "{span:?} of {} bytes: {}", text.len(), diagnostic.message);
}

/// A Dockerfile planned, all its stages.
fn plan(data: &[u8]) {
    let options = Options {
        target: None,
        build_args: [("A".to_owned(), "b".to_owned())].into(),
        labels: BTreeMap::new(),
        platform: Platform::host(),
        is_platform_given: false,
        build_platform: Platform::host(),
        contexts: Vec::new(),
        no_cache: false,
        no_cache_filter: Vec::new(),
        network: Network::Default,
        allow: Vec::new(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
        ulimits: Vec::new(),
        all_stages: true,
    };
    let inspected = inspect("Dockerfile", data, &options, &mut AnyImage);
    inspected.findings.iter().chain(&inspected.error).chain(&inspected.violation).for_each(check_place);
    inspected.findings.iter().for_each(|finding| assert!(inspected.lines(finding).is_some(), "{finding}"));
}

/// A Dockerfile: planned, parsed, linted, mended and parsed again.
pub fn parser(data: &[u8]) {
    plan(data);
    let Ok(parsed) = cooper::dockerfile::parse("Dockerfile", data) else { return };
    let Ok(checks) = Checks::of(&parsed.dockerfile) else { return };
    let staged = parsed.dockerfile.stages.iter().flat_map(|one| stage(&parsed.dockerfile, one, &checks, false));
    let findings: Vec<_> = parsed.warnings.iter().cloned().chain(staged).collect();
    if let Some(text) = fix::apply(&parsed.dockerfile.source.text, &findings) {
        let again = cooper::dockerfile::parse("Dockerfile", text.as_bytes());
        let stages = again.map(|again| again.dockerfile.stages.len());
        assert_eq!(stages.ok(), Some(parsed.dockerfile.stages.len()), "a mended Dockerfile has the same stages");
    }
    let text = String::from_utf8_lossy(data);
    let _ = cooper::dockerfile::parse_trigger("ONBUILD", &text);
}

/// A word, the words of a line and the body of a heredoc, with variables set and not.
pub fn expansion(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lookup = |name: &str| (name.len() % 3 != 0).then(|| format!("{name}/*.${name}"));
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape, &lookup);
        let _ = expander.word(&text);
        let _ = expander.words(&text);
        let _ = expander.heredoc(&text);
    }
}

/// An ignore file, and behind a zero byte a path: both ways to ask agree about paths without exceptions.
pub fn ignore(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (rules, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"a/b/c.txt"));
    let Ok(rules) = IgnoreRules::parse(".dockerignore", rules) else { return };
    let path: Vec<u8> = path.iter().copied().filter(|byte| *byte != 0).take(4096).collect();
    let _ = rules.is_ignored(&path);
    let _ = rules.verdict(&path);
    let _ = rules.certainly_ignored(&String::from_utf8_lossy(&path));
}

/// A reference to an image: what is accepted is the same after it was printed.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = text.parse::<cooper::image::Reference>() {
        let again = reference.to_string().parse::<cooper::image::Reference>();
        assert_eq!(again.ok().map(|again| again.to_string()), Some(reference.to_string()), "{text}");
    }
    let _ = text.parse::<cooper::image::Platform>();
    let _ = text.parse::<cooper::image::Digest>();
}

/// A tar from a stranger.
pub fn tar(data: &[u8]) {
    let limits = Limits { total_bytes: 16 << 20, entries: 10_000, ..Limits::default() };
    let mut reader = TarReader::new(data, limits);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(Some(_)) = reader.next() {
        while matches!(reader.read(&mut buffer), Ok(1..)) {}
    }
}
