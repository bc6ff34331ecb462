//! A panic is a defect of cooper: it is said so, and the exit code is 5.

use super::diagnostic::{Style, render};
use crate::diag::{Diagnostic, Exit};
use crate::sys::interrupt;
use std::io::Write;

/// Replaces the message of panics.  The process ends: threads that wait for the one that panicked would hang.
pub fn install(style: Style) {
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let diagnostic = diagnostic(message, info.location().map(ToString::to_string));
        interrupt::show_cursor();
        let _ = std::io::stderr().write_all(render(&diagnostic, style).as_bytes());
        std::process::exit(Exit::Bug as i32);
    }));
}

fn diagnostic(message: &str, location: Option<String>) -> Diagnostic {
    let location = location.unwrap_or_else(|| "an unknown place".to_owned());
    Diagnostic::error(Exit::Bug, format!("this is a bug in cooper: {message}"))
        .note(format!("at {location}, version {}", env!("CARGO_PKG_VERSION")))
        .hint("please report it with the Dockerfile and the lines above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_that_it_is_a_bug() {
        let shown = render(&diagnostic("index out of bounds", Some("src/a.rs:1:2".into())), Style::default());
        assert!(
            shown.starts_with("error: this is a bug in cooper: index out of bounds\n  = at src/a.rs:1:2, version ")
        );
    }
}
