//! Here documents: which words of a line open one, and the bodies that follow.

use super::fault::{Fault, Result};
use super::logical::Part;
use super::reader::Reader;
use crate::diag::Span;
use crate::dockerfile::ast::Heredoc;
use crate::dockerfile::expand::{heredoc_name, shell_words};

/// A word that opens a here document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// The terminator without quotes.
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
    fd: Option<u32>,
}

/// A here document with its body as written, which a trigger needs.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) heredoc: Heredoc,
    pub(super) raw_body: String,
    /// Where the terminator ends.
    pub(super) end: usize,
}

/// Reads a word of the form `[fd]<<[-]NAME`.
pub(super) fn opening(word: &str) -> Option<Opening> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\x0c', '\r']);
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let (name, is_quoted) = heredoc_name(rest)?;
    Some(Opening { name, expand: !is_quoted, strip_tabs, fd: word[..digits].parse().ok() })
}

/// Returns the here documents that a line opens, in order.
///
/// A `<<` in quotes or in `$((1<<2))` opens none; a line that no shell could split opens none either.
pub(super) fn openings(line: &str) -> Vec<Opening> {
    if !line.contains("<<") {
        return Vec::new();
    }
    shell_words(line).iter().filter_map(|word| opening(word)).collect()
}

/// Reads the bodies of all here documents that a line opens.
pub(super) fn capture(line: Part<'_>, reader: &mut Reader<'_>) -> Result<Vec<Captured>> {
    let mut from = 0;
    let mut captured = Vec::new();
    for opening in openings(line.text()) {
        let at = line.text()[from..].find("<<").map_or(from, |i| from + i);
        let Some(body) = reader.body(&opening.name, opening.strip_tabs) else {
            return Err(unterminated(line, at, &opening));
        };
        from = (at + 2).min(line.text().len());
        let stripped = if opening.strip_tabs { strip_tabs(body.text) } else { body.text.to_owned() };
        captured.push(Captured {
            heredoc: Heredoc {
                name: opening.name,
                expand: opening.expand,
                strip_tabs: opening.strip_tabs,
                fd: opening.fd,
                body: stripped,
                span: body.span,
            },
            raw_body: body.text.to_owned(),
            end: body.end,
        });
    }
    Ok(captured)
}

/// Removes the tabs at the start of every line.
fn strip_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

fn unterminated(line: Part<'_>, at: usize, opening: &Opening) -> Box<Fault> {
    let rest = &line.text()[at..];
    let end = rest.find(char::is_whitespace).map_or(line.text().len(), |i| at + i);
    let span: Span = line.slice(at, end).span();
    Fault::new(span, format!("unterminated heredoc: no line is `{}` alone", opening.name))
        .label("the heredoc starts here")
        .hint(format!("end the heredoc with a line that holds `{}` and nothing else, not even blanks", opening.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        openings(line).into_iter().map(|opening| opening.name).collect()
    }

    #[test]
    fn openings_are_found_where_a_shell_finds_them() {
        for (line, want) in [
            ("RUN cat <<EOF > /x", vec!["EOF"]),
            ("RUN cat <<A <<-'B' 3<<\"C\"", vec!["A", "B", "C"]),
            ("RUN cat << EOF", vec!["EOF"]),
            ("RUN echo $((1<<2))", vec![]),
            ("RUN echo '<<EOF'", vec![]),
            ("RUN cat <<<EOF", vec![]),
            ("RUN cat <<", vec![]),
            ("RUN cat x<<EOF", vec![]),
            ("RUN echo \"open <<EOF", vec![]),
        ] {
            assert_eq!(names(line), want, "{line}");
        }
    }

    #[test]
    fn quotes_and_the_dash_are_noticed() {
        let found = openings("RUN 3<<-'EOF'");
        assert_eq!(found, [Opening { name: "EOF".into(), expand: false, strip_tabs: true, fd: Some(3) }]);
        assert_eq!(openings("RUN <<E\"O\"F")[0].name, "EOF");
        assert!(openings("RUN <<EOF")[0].expand);
    }
}
