//! Output of programs made fit to be shown: lines, without what could take over a terminal or a CI system.
//!
//! Output of a RUN is written by strangers.  Escape sequences can set the clipboard, the title or answer as if the
//! user had typed; CI systems read commands out of logs.

use std::borrow::Cow;

/// Bytes of a line that has not ended; longer ones are shown in pieces.
const LINE_LIMIT: usize = 16 << 10;

/// Cuts bytes as they come into lines.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and calls `take` for each line that ended.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = piece.strip_suffix(b"\n")
                && self.partial.is_empty()
                && line.len() <= LINE_LIMIT
            {
                take(last_segment(line));
                continue;
            }
            for part in piece.chunks(LINE_LIMIT) {
                self.partial.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    self.partial.pop();
                } else if self.partial.len() <= LINE_LIMIT || self.drop_overwritten() {
                    continue;
                }
                take(last_segment(&self.partial));
                self.partial.clear();
            }
        }
    }

    /// Calls `take` for a last line that did not end.
    pub fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !last_segment(&self.partial).is_empty() {
            take(last_segment(&self.partial));
        }
        self.partial.clear();
    }

    /// Returns what stands on the line that has not ended.
    pub fn partial(&self) -> &[u8] {
        last_segment(&self.partial)
    }

    /// Drops what a carriage return has overwritten; tells whether that made the line short again.
    fn drop_overwritten(&mut self) -> bool {
        let keep = last_segment(&self.partial);
        let (keep, ends_in_return) = (keep.to_vec(), self.partial.ends_with(b"\r"));
        self.partial = keep;
        if ends_in_return {
            self.partial.push(b'\r');
        }
        self.partial.len() <= LINE_LIMIT
    }
}

/// Returns what a terminal shows of a line with carriage returns: the last segment that is not empty.
fn last_segment(line: &[u8]) -> &[u8] {
    line.rsplit(|byte| *byte == b'\r').find(|segment| !segment.is_empty()).unwrap_or_default()
}

/// What is left of escape sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    /// Nothing.
    None,
    /// Colours and other attributes of characters (SGR).
    Colors,
}

/// Returns one line as text without control characters and escape sequences, other than those of `keep`.
pub fn sanitise(line: &[u8], keep: Escapes) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::with_capacity(text.len());
    let mut colored = false;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => {
                if let Some(color) = skip_escape(&mut rest)
                    && keep == Escapes::Colors
                {
                    shown.push_str("\x1b[");
                    shown.push_str(color);
                    shown.push('m');
                    colored = true;
                }
            }
            '\t' => shown.push_str("    "),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    if colored {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// Moves past an escape sequence (ECMA-48); returns the parameters if it sets attributes of characters.
fn skip_escape<'a>(rest: &mut std::str::Chars<'a>) -> Option<&'a str> {
    let start = rest.as_str();
    match rest.next()? {
        '[' => {
            let body = rest.as_str();
            // A control sequence ends at its first byte of the range 0x40 to 0x7e, or at a byte that it cannot have.
            let end = body.find(|c| !matches!(c, '\u{20}'..='\u{3f}')).unwrap_or(body.len());
            let last = body[end..].chars().next();
            let is_final = last.is_some_and(|c| matches!(c, '\u{40}'..='\u{7e}'));
            *rest = body[end + usize::from(is_final)..].chars();
            let parameters = &body[..end];
            let is_color = last == Some('m')
                && parameters.len() <= 32
                && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':');
            is_color.then_some(parameters)
        }
        // Strings: operating system command, device control, start of string, privacy message, application.
        ']' | 'P' | 'X' | '^' | '_' => {
            let body = rest.as_str();
            let bell = body.find('\x07').map(|at| (at, at + 1));
            let terminator = body.find("\x1b\\").map(|at| (at, at + 2));
            let end = [bell, terminator].into_iter().flatten().min().map_or(body.len(), |(_, after)| after);
            *rest = body[end..].chars();
            None
        }
        // Two and more characters: intermediates, then one final.
        '\u{20}'..='\u{2f}' => {
            let body = rest.as_str().trim_start_matches(|c| matches!(c, '\u{20}'..='\u{2f}'));
            *rest = body.chars();
            rest.next();
            None
        }
        c if c.is_control() => {
            *rest = start.chars();
            None
        }
        _ => None,
    }
}

/// Breaks what GitHub Actions and Azure Pipelines would take for a command in a log: `::`, `##[`, `##vso[`.
pub fn without_ci_commands(text: &str) -> Cow<'_, str> {
    if !text.contains("##") && !text.contains("::") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive('\n') {
        let body = line.trim_start();
        let (indent, body) = line.split_at(line.len() - body.len());
        shown.push_str(indent);
        let body = match body.strip_prefix("::") {
            Some(rest) => {
                shown.push_str(": :");
                rest
            }
            None => body,
        };
        push_without_hashes(&mut shown, body);
    }
    Cow::Owned(shown)
}

fn push_without_hashes(shown: &mut String, mut body: &str) {
    while let Some(at) = body.find("##") {
        // In `###[` the last two count.
        let hashes = body[at..].len() - body[at..].trim_start_matches('#').len();
        let (before, after) = body.split_at(at + hashes);
        shown.push_str(before);
        let word = after.as_bytes();
        if word.starts_with(b"[") || word.len() >= 4 && word[..4].eq_ignore_ascii_case(b"vso[") {
            shown.push(' ');
        }
        body = after;
    }
    shown.push_str(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = Lines::default();
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| lines.push(sanitise(line, Escapes::None));
        chunks.iter().for_each(|chunk| cutter.feed(chunk, &mut take));
        cutter.finish(take);
        lines
    }

    #[test]
    fn lines_are_cut_wherever_chunks_end() {
        assert_eq!(lines(&[b"a\nb", b"c\n", b"\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(lines(&[b"windows\r\n"]), ["windows"]);
        assert_eq!(lines(&["é".as_bytes().split_at(1).0, "é".as_bytes().split_at(1).1]), ["é"]);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(lines(&[b"10%\r50%\r", b"100%\n"]), ["100%"]);
        assert_eq!(lines(&[b"10%\r50%\r"]), ["50%"]);
        let bar: Vec<u8> = (0..20_000).flat_map(|n| format!("{n}\r").into_bytes()).collect();
        assert_eq!(lines(&[&bar, b"\n"]), ["19999"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let pieces = lines(&[&[b'x'; 100_000]]);
        assert_eq!(pieces.iter().map(String::len).sum::<usize>(), 100_000);
        assert!(pieces.iter().all(|piece| piece.len() <= 2 * LINE_LIMIT));
    }

    #[test]
    fn only_colors_pass() {
        for (raw, plain) in [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[2J\x1b[Hgone", "gone"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]52;c;aGk=\x07", ""),
            ("\x1bP+q\x1b\\a", "a"),
            ("\x1b(Bb", "b"),
            ("\x1bcreset", "reset"),
            ("a\x08b\x07c\u{9b}d", "abcd"),
            ("\x1b[31", ""),
            ("\x1b[3\x1b[31mx", "x"),
            ("\x1b", ""),
            ("\x1b]unterminated", ""),
            ("a\tb", "a    b"),
            ("\x1b[é", "é"),
        ] {
            assert_eq!(sanitise(raw.as_bytes(), Escapes::None), plain, "{raw:?}");
        }
        assert_eq!(sanitise(b"\x1b[1;31mred\x1b[2J", Escapes::Colors), "\x1b[1;31mred\x1b[0m");
        assert_eq!(sanitise(b"\x1b[?25lx\x1b[>4;2my", Escapes::Colors), "xy");
    }

    #[test]
    fn commands_of_ci_systems_are_broken() {
        for (raw, shown) in [
            ("::set-output name=a::b", ": :set-output name=a::b"),
            ("  ::error::x\n::stop", "  : :error::x\n: :stop"),
            ("x ##vso[task.setvariable]", "x ## vso[task.setvariable]"),
            ("##[error]##VSO[", "## [error]## VSO["),
            ("### heading ## text", "### heading ## text"),
            ("std::vector", "std::vector"),
        ] {
            assert_eq!(without_ci_commands(raw), shown);
        }
        assert_eq!(without_ci_commands("###[x]"), "### [x]");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_a_control_character_through(bytes in hostile_bytes()) {
            let mut cutter = Lines::default();
            let check = |line: &[u8]| {
                assert!(!sanitise(line, Escapes::None).contains(char::is_control));
                let colored = sanitise(line, Escapes::Colors);
                for sequence in colored.split('\x1b').skip(1) {
                    let end = sequence.find('m').expect("a colour ends");
                    assert!(sequence[..end].starts_with('['));
                    assert!(sequence[1..end].bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'));
                }
                assert!(!colored.replace('\x1b', "").contains(char::is_control));
            };
            bytes.chunks(7).for_each(|chunk| cutter.feed(chunk, check));
            cutter.finish(check);
        }
    }

    /// Bytes in which those that begin, fill and end escape sequences are frequent.
    fn hostile_bytes() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        let byte = proptest::prop_oneof![
            proptest::sample::select(b"\x1b\x1b\x1b[[]PX^_;:0123mmHJ\r\n\x07\\ ?>\x9b\xc2\xe2".to_vec()),
            proptest::num::u8::ANY,
        ];
        proptest::collection::vec(byte, 0..200)
    }
}
