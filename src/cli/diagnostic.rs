//! Diagnostics as text: message, place, source line with caret, notes, hints.

use crate::diag::{Diagnostic, Place, Severity};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Padding, Renderer, Snippet};
use std::fmt::Write;

/// Characters of a source line that are shown; a longer one is cut around the caret.
const LINE_LIMIT: usize = 240;
/// Characters shown before the caret of a line that is cut.
const BEFORE_CARET: usize = 60;
/// Lines of a span that are shown; of a longer one (a heredoc) the first.
const SPAN_LINES: usize = 6;
/// Characters of a message, label, note or hint.
const TEXT_LIMIT: usize = 4000;

/// How standard error is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Whether colours are wanted.
    pub color: bool,
    /// Whether standard error is a terminal whose cursor can be moved.
    pub terminal: bool,
    /// Whether a CI system reads commands out of the log.
    pub ci: bool,
}

impl Style {
    /// Returns the style for standard error of this process: NO_COLOR, TERM and the CI systems' variables count.
    pub fn of_stderr() -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = !is_dumb && std::io::IsTerminal::is_terminal(&std::io::stderr());
        Style { color: terminal && !set("NO_COLOR"), terminal, ci: set("GITHUB_ACTIONS") || set("TF_BUILD") }
    }
}

/// Returns the text of a diagnostic, with a newline at the end.
pub fn render(diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = match diagnostic.rule {
        Some(rule) => format!("{} [{rule}]", clean(&diagnostic.message)),
        None => clean(&diagnostic.message),
    };
    let excerpt = diagnostic.place.as_ref().map(Excerpt::of);
    let label = clean(&diagnostic.label);
    let mut group = Group::with_title(level.primary_title(message));
    if let Some(excerpt) = &excerpt {
        group = excerpt.add_to(group, &label);
    }
    let mut text = renderer(style).render(&[group]);
    text.push('\n');
    add_lines(&mut text, diagnostic);
    if style.ci { crate::progress::without_ci_commands(&text).into_owned() } else { text }
}

/// Returns the place of a diagnostic, its caret and what follows; the message is left out.
pub fn excerpt(diagnostic: &Diagnostic, style: Style) -> String {
    let mut text = String::new();
    if let Some(place) = &diagnostic.place {
        let excerpt = Excerpt::of(place);
        let label = clean(&diagnostic.label);
        let group = Group::with_level(Level::WARNING).element(excerpt.snippet(&label));
        let _ = writeln!(text, "{}:{}:{}", excerpt.name, excerpt.line, excerpt.column);
        let _ = writeln!(text, "{}", renderer(style).render(&[group]));
    }
    add_lines(&mut text, diagnostic);
    if style.ci { crate::progress::without_ci_commands(&text).into_owned() } else { text }
}

fn renderer(style: Style) -> Renderer {
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(LINE_LIMIT * 2)
}

/// Adds notes, then hints: a line each, further lines of one indented below it.
fn add_lines(text: &mut String, diagnostic: &Diagnostic) {
    let mut add = |head: &str, body: &str| {
        for (index, line) in body.lines().enumerate() {
            let indent = " ".repeat(head.len());
            let _ = writeln!(text, "{}{}", if index == 0 { head } else { &indent }, clean(line));
        }
    };
    for note in &diagnostic.notes {
        add("  = ", note);
    }
    if !diagnostic.hints.is_empty() {
        add("", "\n");
    }
    for hint in &diagnostic.hints {
        add("hint: ", hint);
    }
}

/// The lines that a place points into, cut to what fits a screen.
struct Excerpt {
    name: String,
    line: usize,
    column: usize,
    text: String,
    start: usize,
    end: usize,
    is_cut: bool,
}

impl Excerpt {
    fn of(place: &Place) -> Excerpt {
        let source = &place.source.text;
        let start = floor_boundary(source, place.span.start.min(source.len()));
        let end = floor_boundary(source, place.span.end.clamp(start, source.len()));
        let (line, column) = place.source.line_column(start);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = |from: usize| source[from..].find('\n').map_or(source.len(), |newline| from + newline);
        let mut stop = line_end(start);
        for _ in 1..SPAN_LINES {
            if stop + 1 >= end {
                break;
            }
            stop = line_end(stop + 1);
        }
        let lines = &source[line_start..stop];
        let name = clean(&place.source.name);
        let excerpt = |text: String, start, end, is_cut| Excerpt { name, line, column, text, start, end, is_cut };
        if lines.lines().all(|line| line.len() <= LINE_LIMIT) {
            return excerpt(visible(lines), start - line_start, end.min(stop) - line_start, false);
        }
        let first = &source[line_start..line_end(start)];
        let (text, from, to) = cut(first, start - line_start, end.min(line_end(start)) - line_start);
        excerpt(text, from, to, true)
    }

    fn snippet<'a>(&'a self, label: &'a str) -> Snippet<'a, Annotation<'a>> {
        let annotation = AnnotationKind::Primary.span(self.start..self.end);
        let annotation = if label.is_empty() { annotation } else { annotation.label(label) };
        Snippet::source(self.text.as_str()).line_start(self.line).annotation(annotation)
    }

    fn add_to<'a>(&'a self, group: Group<'a>, label: &'a str) -> Group<'a> {
        let snippet = self.snippet(label);
        if self.is_cut {
            // The column is that of the whole line, which the snippet does not have.
            let origin = Origin::path(self.name.as_str()).line(self.line).char_column(self.column);
            group.element(origin).element(Padding).element(snippet)
        } else {
            group.element(snippet.path(self.name.as_str()))
        }
    }
}

/// Returns the part of a line around `start..end` between `...`, and where the span is in it.
fn cut(line: &str, start: usize, end: usize) -> (String, usize, usize) {
    let from = line[..start].char_indices().rev().take(BEFORE_CARET).last().map_or(start, |(at, _)| at);
    let to = line[from..].char_indices().nth(LINE_LIMIT).map_or(line.len(), |(at, _)| from + at);
    let head = if from > 0 { "..." } else { "" };
    let tail = if to < line.len() { "..." } else { "" };
    let text = visible(&format!("{head}{}{tail}", &line[from..to]));
    (text, head.len() + start - from, head.len() + end.min(to) - from)
}

/// Replaces control characters, but for tabs and line ends, by a question mark of the same length.
///
/// Spans stay right, for control characters of ASCII are one byte; those of Latin-1 have two.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            // The end of a line in a file from Windows.
            '\r' => shown.push(' '),
            c if c.is_control() => (0..c.len_utf8()).for_each(|_| shown.push('?')),
            c => shown.push(c),
        }
    }
    shown
}

/// Returns one line of text without control characters, cut to a length that can be read.
pub fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_LIMIT));
    for (count, c) in text.chars().enumerate() {
        match c {
            _ if count == TEXT_LIMIT => {
                line.push_str("...");
                break;
            }
            '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            // Marks that reorder text make a path look like another one (CVE-2021-42574).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Exit, Source, Span};

    fn at(text: &str, needle: &str) -> Diagnostic {
        let start = text.find(needle).map_or(0, |start| start);
        Diagnostic::error(Exit::Usage, "COPY failed: `dist/app.js` is not in the build context")
            .at(&Source::new("Dockerfile", text), Span::new(start, start + needle.len()))
    }

    #[test]
    fn a_diagnostic_has_place_caret_note_and_hint() {
        let diagnostic = at("FROM a\nCOPY dist/app.js /srv/\n", "dist/app.js")
            .label("excluded by .dockerignore:4 `dist`")
            .note("the file is there")
            .hint("add `!dist/app.js` after line 4 of `.dockerignore`, or remove the pattern");
        assert_eq!(
            render(&diagnostic, Style::default()),
            "\
error: COPY failed: `dist/app.js` is not in the build context
 --> Dockerfile:2:6
  |
2 | COPY dist/app.js /srv/
  |      ^^^^^^^^^^^ excluded by .dockerignore:4 `dist`
  = the file is there

hint: add `!dist/app.js` after line 4 of `.dockerignore`, or remove the pattern
"
        );
    }

    #[test]
    fn a_diagnostic_without_a_place_is_its_message() {
        let diagnostic = Diagnostic::error(Exit::Network, "no \x1b]0;title\x07 registry").note("first\nsecond");
        assert_eq!(
            render(&diagnostic, Style::default()),
            "error: no \\u{1b}]0;title\\u{7} registry\n  = first\n    second\n"
        );
        let warning = Diagnostic { rule: Some("Rule"), ..Diagnostic::warning("odd") };
        assert_eq!(render(&warning, Style::default()), "warning: odd [Rule]\n");
        assert!(render(&warning, Style { color: true, ..Style::default() }).contains("\x1b["));
    }

    #[test]
    fn a_line_of_a_mebibyte_is_cut_around_the_caret() {
        let text = format!("RUN {}here{}\n", "a".repeat(600_000), "b".repeat(448_000));
        let shown = render(&at(&text, "here"), Style::default());
        assert!(shown.contains(" --> Dockerfile:1:600005\n"), "{shown}");
        let caret = shown.lines().find_map(|line| line.find("^^^^"));
        let word = shown.lines().find_map(|line| line.find("here"));
        assert!(caret.is_some() && caret == word, "{shown}");
        assert!(shown.len() < 1000, "{shown}");
    }

    #[test]
    fn control_characters_of_the_source_are_not_written() {
        let shown = render(&at("RUN \x1b[2J here\u{9b}\n", "here"), Style::default());
        assert_eq!(shown.lines().nth(3), Some("1 | RUN ?[2J here??"));
        assert_eq!(shown.lines().nth(4), Some("  |          ^^^^"));
    }

    #[test]
    fn a_span_over_many_lines_shows_its_head_and_odd_spans_do_not_panic() {
        let text = "RUN <<E\n".to_owned() + &"line\n".repeat(100) + "E\n";
        assert!(render(&at(&text, &text.clone()), Style::default()).lines().count() < 14);
        let source = Source::new("Dockerfile", "é");
        for (start, end) in [(0, 1), (1, 1), (1, 9), (7, 3), (2, 2)] {
            let odd = Diagnostic::error(Exit::Usage, "odd").at(&source, Span { start, end });
            assert!(render(&odd, Style::default()).starts_with("error: odd\n"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_span_can_be_shown(text in "(?s).{0,400}", start in 0usize..500, end in 0usize..500) {
            let source = Source::new("Docker\nfile", text.clone());
            let diagnostic = Diagnostic::error(Exit::Usage, text.clone())
                .at(&source, Span { start, end })
                .label(text.clone())
                .note(text.clone())
                .hint(text);
            let shown = render(&diagnostic, Style::default());
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}
