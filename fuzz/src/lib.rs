//! The targets: each takes any bytes and must return, in time that is linear in their number.

use cooper::context::ignore::IgnoreRules;
use cooper::dockerfile::expand::Expander;
use cooper::dockerfile::lint::{Checks, fix, stage};
use cooper::layer::{Limits, TarReader};
use std::io::Read;

/// A Dockerfile: parsed, linted, mended and parsed again.
pub fn parser(data: &[u8]) {
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
